//! What the engine counts. The number of label sets is bounded.
//!
//! Upstream: storage/value/metrics.go, encrypt/envelope/metrics/metrics.go.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::num::NonZeroUsize;

use crate::map::{RecentlyUsed, SortedMap};
use crate::provider::error::TransformError;
use crate::provider::kms::call::CallError;
use crate::provider::kms::message::key_id_hash;
use crate::provider::routing::split;
use crate::provider::transformer::UNKNOWN;
use crate::time::Timestamp;

/// The maximum number of series of each key ID metric, 100: upstream's cacheSize.
const KEY_ID_SERIES_MAX: NonZeroUsize = NonZeroUsize::new(100).unwrap();
/// The maximum number of combinations of resource, direction, prefix and status, 1000. Callers may name any number of resources, and reloads may
/// bring any number of prefixes.
const TRANSFORMATION_SERIES_MAX: usize = 1000;
/// The number of combinations that are reserved for the resource and prefix `other`, 36: two directions and 18 statuses.
const OTHER_SERIES: usize = 36;
/// The number of combinations, 900, after which a new one is counted under the resource `other`.
const NAMED_RESOURCE_SERIES_MAX: usize = 900;
/// The number of combinations of provider and error code, 100, after which an invalid key ID of a new combination is counted under the provider
/// `other`.
const INVALID_KEY_ID_SERIES_MAX: usize = 100;
/// Upstream's status label of a success.
pub(super) const OK: &str = "OK";
/// Upstream's status label of an error without a gRPC code.
pub(super) const NON_GRPC: &str = "unknown-non-grpc";
/// The label of everything beyond a limit.
const OTHER: &str = "other";

/// The upper bound of the first bucket, 1 minute in milliseconds. It doubles for each further bucket: upstream's ExponentialBuckets(60, 2, 10).
const FIRST_ARRIVAL_BOUND: u64 = 60_000;
/// The upper bounds of the buckets in seconds, as Go prints them.
pub(super) const ARRIVAL_BOUNDS: [&str; 11] =
    ["60", "120", "240", "480", "960", "1920", "3840", "7680", "15360", "30720", "+Inf"];

/// The direction in which a value is transformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Direction {
    /// Decryption.
    FromStorage,
    /// Encryption.
    ToStorage,
}

impl Direction {
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::FromStorage => "from_storage",
            Self::ToStorage => "to_storage",
        }
    }
}

pub(super) struct Use {
    pub(super) count: u64,
    pub(super) last: Timestamp,
}

/// The times between successive KMS v1 operations in one direction.
#[derive(Clone, Copy)]
pub(super) struct Arrivals {
    pub(super) last: Timestamp,
    /// The number of times in each bucket; not cumulative.
    pub(super) buckets: [u64; ARRIVAL_BOUNDS.len()],
    pub(super) sum_millis: u64,
}

/// The labels of a count of transformations, in the order in which they are compared.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TransformationLabels {
    pub(super) resource: String,
    pub(super) direction: Direction,
    pub(super) prefix: Arc<str>,
    pub(super) status: &'static str,
}

/// The labels of the uses of a key ID.
pub(super) struct KeyIdLabels {
    pub(super) direction: Direction,
    pub(super) provider: Arc<str>,
    pub(super) hash: Arc<str>,
}

/// The labels of a key ID in a Status answer.
pub(super) struct StatusLabels {
    pub(super) provider: Arc<str>,
    pub(super) hash: Arc<str>,
}

/// The labels of a Status answer without a valid key ID.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct InvalidKeyIdLabels {
    pub(super) provider: Arc<str>,
    pub(super) code: &'static str,
}

/// The counters of one engine.
pub(super) struct Counts {
    pub(super) apiserver_id_hash: String,
    /// The label under which reads of plaintext are counted.
    identity: Arc<str>,
    /// The label under which values that no prefix matches are counted.
    unknown: Arc<str>,
    /// The index of each count.
    transformations: SortedMap<TransformationLabels, usize>,
    transformation_counts: Vec<u64>,
    memos: Memos,
    pub(super) key_ids: RecentlyUsed<KeyIdLabels, Use>,
    pub(super) key_ids_from_status: RecentlyUsed<StatusLabels, Timestamp>,
    pub(super) invalid_key_ids: SortedMap<InvalidKeyIdLabels, u64>,
    /// Indexed by direction.
    pub(super) arrivals: [Option<Arrivals>; 2],
    pub(super) v1_cache_fill: f64,
    pub(super) cache_misses: u64,
    pub(super) data_key_failures: u64,
}

impl Counts {
    pub(super) fn new(apiserver_id: &str) -> Self {
        Self {
            apiserver_id_hash: key_id_hash(apiserver_id),
            identity: "identity".into(),
            transformations: SortedMap::new(),
            transformation_counts: Vec::new(),
            memos: Memos::default(),
            unknown: UNKNOWN.into(),
            key_ids: RecentlyUsed::new(KEY_ID_SERIES_MAX),
            key_ids_from_status: RecentlyUsed::new(KEY_ID_SERIES_MAX),
            invalid_key_ids: SortedMap::new(),
            arrivals: [None; 2],
            v1_cache_fill: 0.0,
            cache_misses: 0,
            data_key_failures: 0,
        }
    }

    pub(super) fn unknown(&self) -> Arc<str> {
        self.unknown.clone()
    }

    pub(super) fn identity(&self) -> Arc<str> {
        self.identity.clone()
    }

    /// Counts a transformation. `resource` is the label of [`resource_label`]. Like upstream, the engine counts a local provider's value twice: under
    /// the provider's prefix, and under the prefix of each key that was tried.
    pub(super) fn transformation(
        &mut self,
        resource: &Arc<str>,
        direction: Direction,
        prefix: &Arc<str>,
        status: &'static str,
    ) {
        self.count(resource, direction, prefix, status, 1);
    }

    /// Counts successful transformations.
    pub(super) fn transformations_done(
        &mut self,
        resource: &Arc<str>,
        direction: Direction,
        prefix: &Arc<str>,
        times: u64,
    ) {
        self.count(resource, direction, prefix, OK, times);
    }

    fn count(
        &mut self,
        resource: &Arc<str>,
        direction: Direction,
        prefix: &Arc<str>,
        status: &'static str,
        times: u64,
    ) {
        let at = self.memos.find(resource, direction, prefix, status);
        let at = match at {
            Some(at) => at,
            None => {
                let at = self.series(resource, direction, prefix, status);
                self.memos.keep(resource, direction, prefix, status, at);
                at
            }
        };
        if let Some(count) = self.transformation_counts.get_mut(at) {
            *count += times;
        }
    }

    /// Returns the index of the count with these labels, or with those that replace them beyond a limit.
    fn series(
        &mut self,
        resource: &str,
        direction: Direction,
        prefix: &Arc<str>,
        status: &'static str,
    ) -> usize {
        let mut labels = TransformationLabels {
            resource: resource.to_string(),
            direction,
            prefix: prefix.clone(),
            status,
        };
        if let Some(at) = self.transformations.get(&labels) {
            return *at;
        }
        let series = self.transformations.len();
        if series >= NAMED_RESOURCE_SERIES_MAX {
            labels.resource = OTHER.to_string();
            if series >= TRANSFORMATION_SERIES_MAX - OTHER_SERIES
                && !self.transformations.contains_key(&labels)
            {
                labels.prefix = OTHER.into();
            }
        }
        if let Some(at) = self.transformations.get(&labels) {
            return *at;
        }
        let at = self.transformation_counts.len();
        self.transformation_counts.push(0);
        self.transformations.insert(labels, at);
        at
    }

    /// Returns the counts of transformations.
    pub(super) fn transformations(&self) -> impl Iterator<Item = (&TransformationLabels, u64)> {
        self.transformations
            .iter()
            .map(|(labels, at)| (labels, self.transformation_counts.get(*at).copied().unwrap_or(0)))
    }

    /// Records that KMS v1 received a value to encrypt or decrypt.
    pub(super) fn v1_arrival(&mut self, direction: Direction, now: Timestamp) {
        let arrivals = self.arrivals[direction as usize].get_or_insert(Arrivals {
            last: now,
            buckets: [0; ARRIVAL_BOUNDS.len()],
            sum_millis: 0,
        });
        let idle = now.as_millis().saturating_sub(arrivals.last.as_millis());
        arrivals.last = now;
        arrivals.sum_millis += idle;
        let mut bucket = 0;
        while bucket + 1 < ARRIVAL_BOUNDS.len() && idle > FIRST_ARRIVAL_BOUND << bucket {
            bucket += 1;
        }
        arrivals.buckets[bucket] += 1;
    }

    /// Records how full the cache of a KMS v1 provider is after a DEK was added. Like upstream's, the gauge is shared by all these providers: the
    /// last value counts.
    pub(super) fn v1_cache_fill(&mut self, fill: f64) {
        self.v1_cache_fill = fill;
    }

    pub(super) fn key_id_used(
        &mut self,
        direction: Direction,
        provider: &Arc<str>,
        hash: &Arc<str>,
        now: Timestamp,
        times: u64,
    ) {
        let is = |labels: &KeyIdLabels| {
            labels.direction == direction
                && order(&labels.provider, provider).is_eq()
                && order(&labels.hash, hash).is_eq()
        };
        let new = || {
            let key = KeyIdLabels { direction, provider: provider.clone(), hash: hash.clone() };
            let unused = Use { count: 0, last: now };
            (key, unused)
        };
        if let Some(entry) = self.key_ids.get_or_insert(is, new) {
            entry.count += times;
            entry.last = now;
        }
    }

    pub(super) fn key_id_from_status(
        &mut self,
        provider: &Arc<str>,
        hash: &Arc<str>,
        now: Timestamp,
    ) {
        let is = |labels: &StatusLabels| (&labels.provider, &labels.hash) == (provider, hash);
        let new = || (StatusLabels { provider: provider.clone(), hash: hash.clone() }, now);
        if let Some(at) = self.key_ids_from_status.get_or_insert(is, new) {
            *at = now;
        }
    }

    pub(super) fn invalid_key_id_from_status(&mut self, provider: &Arc<str>, code: &'static str) {
        let mut labels = InvalidKeyIdLabels { provider: provider.clone(), code };
        if self.invalid_key_ids.len() >= INVALID_KEY_ID_SERIES_MAX
            && !self.invalid_key_ids.contains_key(&labels)
        {
            labels.provider = OTHER.into();
        }
        self.invalid_key_ids.count(labels);
    }

    pub(super) fn cache_miss(&mut self) {
        self.cache_misses += 1;
    }

    pub(super) fn data_key_generation_failed(&mut self) {
        self.data_key_failures += 1;
    }
}

/// The labels of recent counts, compared by their addresses, with the index of each count.
#[derive(Default)]
struct Memos([Option<Memo>; 16]);

struct Memo {
    /// Kept, so that no other text gets its address.
    resource: Arc<str>,
    prefix: Arc<str>,
    direction: Direction,
    status: &'static str,
    at: usize,
}

impl Memos {
    fn place(resource: &Arc<str>, direction: Direction, prefix: &Arc<str>) -> usize {
        let address = |text: &Arc<str>| Arc::as_ptr(text).cast::<u8>() as usize;
        // Allocations are 8 bytes apart or more.
        (address(resource) >> 3 ^ address(prefix) >> 4 ^ (direction as usize) << 2) & 15
    }

    fn find(
        &self,
        resource: &Arc<str>,
        direction: Direction,
        prefix: &Arc<str>,
        status: &'static str,
    ) -> Option<usize> {
        let place = Self::place(resource, direction, prefix);
        let memo = self.0.get(place)?.as_ref()?;
        let is_it = Arc::ptr_eq(&memo.resource, resource)
            && Arc::ptr_eq(&memo.prefix, prefix)
            && memo.direction == direction
            && core::ptr::eq(memo.status, status);
        is_it.then_some(memo.at)
    }

    fn keep(
        &mut self,
        resource: &Arc<str>,
        direction: Direction,
        prefix: &Arc<str>,
        status: &'static str,
        at: usize,
    ) {
        let place = Self::place(resource, direction, prefix);
        let (resource, prefix) = (resource.clone(), prefix.clone());
        if let Some(memo) = self.0.get_mut(place) {
            *memo = Some(Memo { resource, prefix, direction, status, at });
        }
    }
}

/// Compares two strings. It compares their addresses first, because most equal strings here share one allocation.
fn order(a: &str, b: &str) -> Ordering {
    if core::ptr::eq(a, b) {
        return Ordering::Equal;
    }
    a.cmp(b)
}

/// Returns the status label of an outcome: `OK`, the name of the error's gRPC code or, as in upstream, one label for all errors without a code.
pub(super) fn status(error: Option<&TransformError>) -> &'static str {
    error.map_or(OK, |error| error.grpc_code.map_or(NON_GRPC, CallError::code_name))
}

/// Returns a resource as upstream's metrics label it: `secrets`, `deployments.apps`. This is also how [`GroupResource`] is displayed.
///
/// [`GroupResource`]: crate::config::resource::GroupResource
pub(super) fn resource_label(resource: &str) -> &str {
    match split(resource) {
        None if resource == "*" => "*.",
        Some(("*", "")) | None => resource,
        Some((name, "")) => name,
        Some(_) => resource,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::resource::GroupResource;
    use alloc::string::ToString;

    #[test]
    fn each_event_adds_to_its_counter() {
        let mut counts = Counts::new("apiserver");
        for at in [1000, 1000, 6000, 6500] {
            counts.v1_arrival(Direction::ToStorage, Timestamp::from_millis(at));
        }
        let arrivals = counts.arrivals[Direction::ToStorage as usize].unwrap();
        assert_eq!(arrivals.sum_millis, 5500);
        assert_eq!(arrivals.buckets.iter().sum::<u64>(), 4);
        assert!(counts.arrivals[Direction::FromStorage as usize].is_none());
        for _ in 0..3 {
            counts.data_key_generation_failed();
        }
        assert_eq!(counts.data_key_failures, 3);
    }

    #[test]
    fn the_label_of_a_resource_is_its_displayed_form() {
        for resource in [
            "secrets",
            "secrets.",
            "deployments.apps",
            "x.y.apps",
            "*",
            "*.",
            "*.*",
            "*.apps",
            "",
            ".",
            ".apps",
            "..",
            "a..",
        ] {
            let shown = GroupResource::parse(resource).to_string();
            assert_eq!(resource_label(resource), shown, "{resource:?}");
        }
    }
}
