//! Several values in one call.

use std::time::Instant;

use zeroize::Zeroizing;

use super::Host;
use crate::metrics::TransformationType;
use crate::model::{Decrypted, Encrypted, HostError, Location};

/// The number of values that a worker handles in one call. More make no value cheaper, but keep the worker from others for longer.
const TOGETHER: usize = 256;

impl Host {
    /// Encrypts values for storage. The results have the order of the values, and each is what [`Self::to_storage`] would return. Dropping the future
    /// cancels the values that are not encrypted yet.
    ///
    /// It costs less than one call for each value. The duration of each value, in the metrics, is the mean of those that a worker handles together.
    pub async fn to_storage_many(
        &self,
        values: Vec<(Location, Zeroizing<Vec<u8>>)>,
    ) -> Vec<Result<Encrypted, HostError>> {
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
                    let borrowed: Vec<_> =
                        batch.iter().map(|(at, plaintext)| (at, plaintext.as_slice())).collect();
                    workers.to_storage_many(self, &borrowed).await
                }
                None => batch.iter().map(|_| None).collect(),
            };
            let each = start.elapsed() / u32::try_from(batch.len()).unwrap_or(u32::MAX);
            for (done, (at, plaintext)) in done.into_iter().zip(batch) {
                results.push(match done {
                    Some(encrypted) => {
                        self.observe_write(&encrypted, each);
                        Ok(encrypted)
                    }
                    None => self.to_storage(at, plaintext).await,
                });
            }
        }
    }

    /// Decrypts stored values. The results have the order of the values, and each is what [`Self::from_storage`] would return. Dropping the future
    /// cancels the values that are not decrypted yet.
    ///
    /// It costs less than one call for each value. The duration of each value, in the metrics, is the mean of those that a worker handles together.
    pub async fn from_storage_many(
        &self,
        values: Vec<(Location, Vec<u8>)>,
    ) -> Vec<Result<Decrypted, HostError>> {
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
                    let borrowed: Vec<_> =
                        batch.iter().map(|(at, stored)| (at, stored.as_slice())).collect();
                    workers.from_storage_many(self, &borrowed).await
                }
                None => batch.iter().map(|_| None).collect(),
            };
            let each = start.elapsed() / u32::try_from(batch.len()).unwrap_or(u32::MAX);
            for (done, (at, stored)) in done.into_iter().zip(batch) {
                results.push(match done {
                    Some(decrypted) => {
                        self.observe_read(&decrypted, each);
                        Ok(decrypted)
                    }
                    None => self.from_storage(at, stored).await,
                });
            }
        }
    }

    /// Records the duration of a write.
    pub(super) fn observe_write(&self, encrypted: &Encrypted, duration: std::time::Duration) {
        if encrypted.has_rule {
            let (provider, key) = (&*encrypted.transformer_prefix, encrypted.key_prefix.as_deref());
            self.observe(TransformationType::ToStorage, provider, key, duration);
        }
    }

    /// Records the duration of a read.
    pub(super) fn observe_read(&self, decrypted: &Decrypted, duration: std::time::Duration) {
        if decrypted.has_rule {
            let provider = match &*decrypted.transformer_prefix {
                // Upstream labels identity "identity" for reads, but leaves the label empty for writes.
                "" => "identity",
                prefix => prefix,
            };
            let key = decrypted.key_prefix.as_deref();
            self.observe(TransformationType::FromStorage, provider, key, duration);
        }
    }
}
