//! The engine's metrics. Names and labels are upstream's; the number of label sets is bounded.
//!
//! Upstream: storage/value/metrics.go, encrypt/envelope/metrics/metrics.go.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::ops::Deref;

use super::Engine;
use crate::map::{RecentlyUsed, SortedMap};
use crate::provider::error::TransformError;
use crate::provider::kms::Kms;
use crate::provider::kms::call::CallError;
use crate::provider::kms::message::key_id_hash;
use crate::time::Timestamp;

/// The maximum number of series of each key ID metric, 100: upstream's cacheSize.
const KEY_ID_SERIES_MAX: usize = 100;
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
const ARRIVAL_BOUNDS: [&str; 11] =
    ["60", "120", "240", "480", "960", "1920", "3840", "7680", "15360", "30720", "+Inf"];

/// The direction in which a value is transformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Decryption.
    FromStorage,
    /// Encryption.
    ToStorage,
}

impl Direction {
    const fn label(self) -> &'static str {
        match self {
            Self::FromStorage => "from_storage",
            Self::ToStorage => "to_storage",
        }
    }
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Only increases, until the engine is replaced by a new one.
    Counter,
    /// Increases and decreases.
    Gauge,
    /// Samples with the label `le` are cumulative buckets, the last of which is `+Inf`. The sample without that label is the sum.
    Histogram,
}

/// A metric and all its samples.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricFamily {
    /// The full name, as Prometheus shows it.
    pub name: &'static str,
    /// A description of one sentence.
    pub help: &'static str,
    /// The kind of the metric.
    pub kind: MetricKind,
    /// The samples, in no particular order. No two have the same labels.
    pub samples: Vec<Sample>,
}

/// One sample of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The names and values of the labels.
    pub labels: Vec<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

struct Use {
    count: u64,
    last: Timestamp,
}

/// The times between successive KMS v1 operations in one direction.
#[derive(Clone, Copy)]
struct Arrivals {
    last: Timestamp,
    /// The number of times in each bucket; not cumulative.
    buckets: [u64; ARRIVAL_BOUNDS.len()],
    sum_millis: u64,
}

type TransformationLabels = (String, Direction, Arc<str>, &'static str);

/// The counters of one engine.
pub(super) struct Counts {
    apiserver_id_hash: String,
    /// The label under which reads of plaintext are counted.
    identity: Arc<str>,
    transformations: SortedMap<TransformationLabels, u64>,
    key_ids: RecentlyUsed<(Direction, Arc<str>, Arc<str>), Use>,
    key_ids_from_status: RecentlyUsed<(Arc<str>, Arc<str>), Timestamp>,
    invalid_key_ids: SortedMap<(Arc<str>, &'static str), u64>,
    /// Indexed by direction.
    arrivals: [Option<Arrivals>; 2],
    v1_cache_fill: f64,
    cache_misses: u64,
    data_key_failures: u64,
    /// Whether the engine is a worker. A worker counts only the operations that it completes itself.
    worker: bool,
    /// Whether the current operation met something that a worker does not count.
    tripped: bool,
}

impl Counts {
    pub(super) fn new(apiserver_id: &str) -> Self {
        Self {
            apiserver_id_hash: key_id_hash(apiserver_id),
            identity: "identity".into(),
            transformations: SortedMap::new(),
            key_ids: RecentlyUsed::new(KEY_ID_SERIES_MAX),
            key_ids_from_status: RecentlyUsed::new(KEY_ID_SERIES_MAX),
            invalid_key_ids: SortedMap::new(),
            arrivals: [None; 2],
            v1_cache_fill: 0.0,
            cache_misses: 0,
            data_key_failures: 0,
            worker: false,
            tripped: false,
        }
    }

    /// Makes these the counters of a worker: after the first error of an operation, nothing is counted until [`Self::were_faultless`] is called.
    pub(super) fn be_worker(&mut self) {
        self.worker = true;
    }

    pub(super) fn is_worker(&self) -> bool {
        self.worker
    }

    /// Returns whether everything was counted since the previous call.
    pub(super) fn were_faultless(&mut self) -> bool {
        !core::mem::take(&mut self.tripped)
    }

    /// Returns whether counting is suspended. On a worker, `is_fault` suspends it for the rest of the operation.
    fn trips(&mut self, is_fault: bool) -> bool {
        self.tripped |= self.worker && is_fault;
        self.tripped
    }

    pub(super) fn identity(&self) -> Arc<str> {
        self.identity.clone()
    }

    /// Counts a transformation. Like upstream, the engine counts a local provider's value twice: under the provider's prefix, and under the prefix of
    /// each key that was tried.
    pub(super) fn transformation(
        &mut self,
        resource: &str,
        direction: Direction,
        prefix: impl Deref<Target = str> + Into<Arc<str>>,
        status: &'static str,
    ) {
        if !self.trips(status != OK) && !self.counted(resource, direction, &prefix, status) {
            self.new_series(resource, direction, prefix.into(), status);
        }
    }

    fn counted(
        &mut self,
        resource: &str,
        direction: Direction,
        prefix: &str,
        status: &'static str,
    ) -> bool {
        let is = |(of, towards, with, ended): &TransformationLabels| {
            of.as_str()
                .cmp(resource)
                .then_with(|| towards.cmp(&direction))
                .then_with(|| order(with, prefix))
                .then_with(|| order(ended, status))
        };
        let Some(count) = self.transformations.get_mut_by(is) else {
            return false;
        };
        *count += 1;
        true
    }

    fn new_series(
        &mut self,
        resource: &str,
        direction: Direction,
        prefix: Arc<str>,
        status: &'static str,
    ) {
        let series = self.transformations.len();
        let mut labels = (resource.to_string(), direction, prefix, status);
        if series >= NAMED_RESOURCE_SERIES_MAX {
            labels.0 = OTHER.to_string();
            if series >= TRANSFORMATION_SERIES_MAX - OTHER_SERIES
                && !self.transformations.contains_key(&labels)
            {
                labels.2 = OTHER.into();
            }
        }
        self.transformations.count(labels);
    }

    /// Records that KMS v1 received a value to encrypt or decrypt.
    pub(super) fn v1_arrival(&mut self, direction: Direction, now: Timestamp) {
        // The value needs the plugin, or a cache that workers do not have.
        if self.trips(true) {
            return;
        }
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
    ) {
        if self.trips(false) {
            return;
        }
        let is = |(towards, of, with): &(Direction, Arc<str>, Arc<str>)| {
            *towards == direction && order(of, provider).is_eq() && order(with, hash).is_eq()
        };
        let new = || {
            let key = (direction, provider.clone(), hash.clone());
            let unused = Use { count: 0, last: now };
            (key, unused)
        };
        if let Some(entry) = self.key_ids.get_or_insert(is, new) {
            entry.count += 1;
            entry.last = now;
        }
    }

    pub(super) fn key_id_from_status(
        &mut self,
        provider: &Arc<str>,
        hash: &Arc<str>,
        now: Timestamp,
    ) {
        let is = |(of, with): &(Arc<str>, Arc<str>)| (of, with) == (provider, hash);
        let new = || ((provider.clone(), hash.clone()), now);
        if let Some(at) = self.key_ids_from_status.get_or_insert(is, new) {
            *at = now;
        }
    }

    pub(super) fn invalid_key_id_from_status(&mut self, provider: &Arc<str>, code: &'static str) {
        let mut labels = (provider.clone(), code);
        if self.invalid_key_ids.len() >= INVALID_KEY_ID_SERIES_MAX
            && !self.invalid_key_ids.contains_key(&labels)
        {
            labels.0 = OTHER.into();
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

impl Counts {
    fn arrival_samples(&self) -> Vec<Sample> {
        let mut samples = Vec::new();
        for direction in [Direction::FromStorage, Direction::ToStorage] {
            let Some(arrivals) = &self.arrivals[direction as usize] else {
                continue;
            };
            let label = || ("transformation_type", direction.label().to_string());
            let mut count = 0;
            for (bound, bucket) in ARRIVAL_BOUNDS.iter().zip(arrivals.buckets) {
                count += bucket;
                samples.push(Sample {
                    labels: vec![label(), ("le", (*bound).to_string())],
                    value: count as f64,
                });
            }
            samples
                .push(Sample { labels: vec![label()], value: arrivals.sum_millis as f64 / 1000.0 });
        }
        samples
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

impl Engine {
    /// Returns the engine's metrics. They contain no secrets and no key IDs.
    pub fn metrics(&self) -> Vec<MetricFamily> {
        let counts = &self.counts;
        let apiserver = || ("apiserver_id_hash", counts.apiserver_id_hash.clone());
        let key_id_samples = |value: fn(&Use) -> f64| {
            let sample =
                |((direction, provider, hash), used): &((Direction, Arc<str>, Arc<str>), Use)| {
                    Sample {
                        labels: vec![
                            ("transformation_type", direction.label().to_string()),
                            ("provider_name", provider.to_string()),
                            ("key_id_hash", hash.to_string()),
                            apiserver(),
                        ],
                        value: value(used),
                    }
                };
            counts.key_ids.iter().map(sample).collect()
        };
        vec![
            MetricFamily {
                name: "apiserver_storage_transformation_operations_total",
                help: "Reads and writes, by resource, transformer and outcome. Those with a named key are counted for both the provider and the key.",
                kind: MetricKind::Counter,
                samples: counts.transformations.iter().map(transformation_sample).collect(),
            },
            MetricFamily {
                name: "apiserver_storage_envelope_transformation_cache_misses_total",
                help: "Reads whose DEK was not cached and had to be decrypted by the plugin.",
                kind: MetricKind::Counter,
                samples: vec![Sample { labels: Vec::new(), value: counts.cache_misses as f64 }],
            },
            MetricFamily {
                name: "apiserver_storage_data_key_generation_failures_total",
                help: "DEKs and seeds that could not be generated.",
                kind: MetricKind::Counter,
                samples: vec![Sample {
                    labels: Vec::new(),
                    value: counts.data_key_failures as f64,
                }],
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_key_id_hash_total",
                help: "Uses of a key ID, by direction, provider and API server.",
                kind: MetricKind::Counter,
                samples: key_id_samples(|used| used.count as f64),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_key_id_hash_last_timestamp_seconds",
                help: "When a key ID was last used, in seconds since the Unix epoch.",
                kind: MetricKind::Gauge,
                samples: key_id_samples(|used| used.last.as_secs_f64()),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_key_id_hash_status_last_timestamp_seconds",
                help: "When the plugin's Status last named a key ID, in seconds since the Unix epoch.",
                kind: MetricKind::Gauge,
                samples: counts
                    .key_ids_from_status
                    .iter()
                    .map(|((provider, hash), at): &((Arc<str>, Arc<str>), Timestamp)| Sample {
                        labels: vec![
                            ("provider_name", provider.to_string()),
                            ("key_id_hash", hash.to_string()),
                            apiserver(),
                        ],
                        value: at.as_secs_f64(),
                    })
                    .collect(),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_invalid_key_id_from_status_total",
                help: "Status answers without a valid key ID, by provider and error.",
                kind: MetricKind::Counter,
                samples: counts
                    .invalid_key_ids
                    .iter()
                    .map(|((provider, error), count)| Sample {
                        labels: vec![
                            ("provider_name", provider.to_string()),
                            ("error", (*error).to_string()),
                        ],
                        value: *count as f64,
                    })
                    .collect(),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_dek_source_cache_size",
                help: "Decrypted DEKs in the cache of a KMS v2 provider.",
                kind: MetricKind::Gauge,
                samples: self.cache_sizes(),
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_dek_cache_fill_percent",
                help: "Fill level, from 0 to 1, of the KMS v1 cache to which a DEK was added last.",
                kind: MetricKind::Gauge,
                samples: vec![Sample { labels: Vec::new(), value: counts.v1_cache_fill }],
            },
            MetricFamily {
                name: "apiserver_envelope_encryption_dek_cache_inter_arrival_time_seconds",
                help: "Time between consecutive reads or writes with KMS v1.",
                kind: MetricKind::Histogram,
                samples: counts.arrival_samples(),
            },
        ]
    }

    /// Returns one sample per provider name. While a reload replaces a provider with another one of the same name, their sizes are added.
    fn cache_sizes(&self) -> Vec<Sample> {
        let mut sizes: Vec<(&str, usize)> = Vec::new();
        for provider in self.providers.values() {
            // Upstream reports only the caches of KMS v2, and only those that are not empty.
            let Kms::V2(provider) = provider else {
                continue;
            };
            if provider.cache.is_empty() {
                continue;
            }
            match sizes.iter_mut().find(|(name, _)| **name == *provider.info.name) {
                Some((_, size)) => *size += provider.cache.len(),
                None => sizes.push((&provider.info.name, provider.cache.len())),
            }
        }
        let sample = |(name, size): (&str, usize)| Sample {
            labels: vec![("provider_name", name.to_string())],
            value: size as f64,
        };
        sizes.into_iter().map(sample).collect()
    }
}

fn transformation_sample(
    ((resource, direction, prefix, status), count): (&TransformationLabels, &u64),
) -> Sample {
    Sample {
        labels: vec![
            ("resource", resource.clone()),
            ("transformation_type", direction.label().to_string()),
            ("transformer_prefix", prefix.to_string()),
            ("status", (*status).to_string()),
        ],
        value: *count as f64,
    }
}
