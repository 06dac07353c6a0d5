//! Several values in one call.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt, stream};
use zeroize::Zeroizing;

use super::Host;
use super::help::LogHelp;
use crate::metrics::TransformationType;
use crate::model::{Decrypted, Encrypted, HostError, Location, Plaintext};
use crate::workers::Workers;

/// The number of values that a worker handles in one call. More make no value cheaper, but keep the worker from others for longer.
const TOGETHER: usize = 256;

/// The number of values that wait for a plugin at the same time. More make a plugin no faster, and take slots from other callers.
const WAITING: usize = 16;

impl Host {
    /// Encrypts values for storage. The results have the order of the values, and each is what [`Self::to_storage`] would return. Dropping the future
    /// cancels the values that are not encrypted yet.
    ///
    /// It costs less than one call for each value. The duration of each value, in the metrics, is the mean of those that a worker handles together.
    pub async fn to_storage_many(
        &self,
        values: Vec<(Location, Zeroizing<Vec<u8>>)>,
    ) -> Vec<Result<Encrypted, HostError>> {
        let values = values.into_iter().map(|(at, plaintext)| (at, Plaintext::from(plaintext)));
        self.write_many(values.collect()).await
    }

    /// Decrypts stored values. The results have the order of the values, and each is what [`Self::from_storage`] would return. Dropping the future
    /// cancels the values that are not decrypted yet.
    ///
    /// It costs less than one call for each value. The duration of each value, in the metrics, is the mean of those that a worker handles together.
    pub async fn from_storage_many(
        &self,
        values: Vec<(Location, Vec<u8>)>,
    ) -> Vec<Result<Decrypted, HostError>> {
        self.read_many(values, LogHelp::No).await
    }

    pub(super) async fn write_many<V: Bytes>(
        &self,
        values: Vec<(Location, V)>,
    ) -> Vec<Result<Encrypted, HostError>> {
        self.many(Writes, values).await
    }

    pub(super) async fn read_many<V: Bytes>(
        &self,
        values: Vec<(Location, V)>,
        log_help: LogHelp,
    ) -> Vec<Result<Decrypted, HostError>> {
        self.many(Reads(log_help), values).await
    }

    /// Offers the values to a worker, at most [`TOGETHER`] in one call, and does those that it declines one by one.
    async fn many<O: Operation, V: Bytes>(
        &self,
        operation: O,
        values: Vec<(Location, V)>,
    ) -> Vec<Result<O::Done, HostError>> {
        let mut results = Vec::with_capacity(values.len());
        let mut values = values.into_iter();
        loop {
            let batch: Vec<_> = values.by_ref().take(TOGETHER).collect();
            if batch.is_empty() {
                return results;
            }
            let start = Instant::now();
            let done = match self.0.workers.as_deref() {
                Some(workers) => {
                    let borrowed: Vec<(&Location, &[u8])> =
                        batch.iter().map(|(at, value)| (at, value.as_ref())).collect();
                    O::in_worker(workers, self, &borrowed).await
                }
                None => batch.iter().map(|_| None).collect(),
            };
            let each = start.elapsed() / u32::try_from(batch.len()).unwrap_or(u32::MAX);
            for alike in done.chunk_by(are_alike::<O>) {
                if let [Some(first), ..] = alike {
                    O::observe(self, first, each, alike.len() as u64);
                }
            }
            let mut placed: Vec<_> = done.into_iter().map(|done| done.map(Ok)).collect();
            let declined = batch.into_iter().enumerate().filter(|(at, _)| placed[*at].is_none());
            let declined: Vec<_> = declined.collect();
            let operation = &operation;
            let alone = declined.into_iter().map(|(place, (at, value))| async move {
                (place, operation.alone(self, at, value.as_ref()).await)
            });
            let mut alone = stream::iter(alone).buffer_unordered(WAITING);
            while let Some((place, outcome)) = alone.next().await {
                placed[place] = Some(outcome);
            }
            results.extend(placed.into_iter().flatten());
        }
    }

    /// Records the duration of a write, or of several that took as long each.
    pub(super) fn observe_write(&self, encrypted: &Encrypted, duration: Duration, times: u64) {
        if encrypted.has_rule {
            let (provider, key) = (&*encrypted.transformer_prefix, encrypted.key_prefix.as_deref());
            self.observe(TransformationType::ToStorage, provider, key, duration, times);
        }
    }

    /// Records the duration of a read, or of several that took as long each.
    pub(super) fn observe_read(&self, decrypted: &Decrypted, duration: Duration, times: u64) {
        if decrypted.has_rule {
            let provider = match &*decrypted.transformer_prefix {
                // Upstream labels identity "identity" for reads, but leaves the label empty for writes.
                "" => "identity",
                prefix => prefix,
            };
            let key = decrypted.key_prefix.as_deref();
            self.observe(TransformationType::FromStorage, provider, key, duration, times);
        }
    }
}

/// The bytes of a value, wherever they are.
pub(super) trait Bytes: AsRef<[u8]> + Send + Sync {}

impl<V: AsRef<[u8]> + Send + Sync> Bytes for V {}

type Labels<'d> = (bool, &'d Arc<str>, Option<&'d Arc<str>>);

/// Whether two values were both handled by a worker, and have the labels of the same place in memory.
fn are_alike<O: Operation>(a: &Option<O::Done>, b: &Option<O::Done>) -> bool {
    let places = |done| {
        let (has_rule, provider, key) = O::labels(done);
        (has_rule, Arc::as_ptr(provider), key.map(Arc::as_ptr))
    };
    a.is_some() && a.as_ref().map(places) == b.as_ref().map(places)
}

/// What is done with each of the values.
trait Operation: Sync {
    type Done: Send;

    /// Offers values to one worker. The result of a value that it declines is `None`.
    fn in_worker(
        workers: &Workers,
        host: &Host,
        values: &[(&Location, &[u8])],
    ) -> impl Future<Output = Vec<Option<Self::Done>>> + Send;

    /// Returns what a duration is recorded under: whether there is a rule, and the prefixes of the provider and of the key.
    fn labels(done: &Self::Done) -> Labels<'_>;

    /// Records the durations of `times` values that a worker handled, and that are like this one.
    fn observe(host: &Host, done: &Self::Done, duration: Duration, times: u64);

    /// Does what is asked for with one value, whatever it takes.
    fn alone(
        &self,
        host: &Host,
        at: Location,
        value: &[u8],
    ) -> impl Future<Output = Result<Self::Done, HostError>> + Send;
}

struct Writes;

impl Operation for Writes {
    type Done = Encrypted;

    async fn in_worker(
        workers: &Workers,
        host: &Host,
        values: &[(&Location, &[u8])],
    ) -> Vec<Option<Encrypted>> {
        workers.to_storage_many(host, values).await
    }

    fn labels(done: &Encrypted) -> Labels<'_> {
        (done.has_rule, &done.transformer_prefix, done.key_prefix.as_ref())
    }

    fn observe(host: &Host, done: &Encrypted, duration: Duration, times: u64) {
        host.observe_write(done, duration, times);
    }

    async fn alone(
        &self,
        host: &Host,
        at: Location,
        plaintext: &[u8],
    ) -> Result<Encrypted, HostError> {
        host.to_storage(at, Zeroizing::new(plaintext.to_vec())).await
    }
}

struct Reads(LogHelp);

impl Operation for Reads {
    type Done = Decrypted;

    async fn in_worker(
        workers: &Workers,
        host: &Host,
        values: &[(&Location, &[u8])],
    ) -> Vec<Option<Decrypted>> {
        workers.from_storage_many(host, values).await
    }

    fn labels(done: &Decrypted) -> Labels<'_> {
        (done.has_rule, &done.transformer_prefix, done.key_prefix.as_ref())
    }

    fn observe(host: &Host, done: &Decrypted, duration: Duration, times: u64) {
        host.observe_read(done, duration, times);
    }

    async fn alone(
        &self,
        host: &Host,
        at: Location,
        stored: &[u8],
    ) -> Result<Decrypted, HostError> {
        host.timed_read(at, stored.to_vec(), self.0).await
    }
}
