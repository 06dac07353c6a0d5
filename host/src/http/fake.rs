//! A [`Service`] for tests. It reverses bytes, unless it is set to fail or to wait.

use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::Service;
use crate::model::{
    Check, Decrypted, Encrypted, HostError, Location, MetricFamily, MetricKind, Plaintext, Sample,
    ValueState,
};

pub(super) const PREFIX: &str = "k8s:enc:kms:v2:fake:";

#[derive(Clone, Default)]
pub(super) struct Fake(Arc<State>);

#[derive(Default)]
struct State {
    fault: Mutex<Option<HostError>>,
    checks: Mutex<Vec<Check>>,
    health_runs: AtomicUsize,
    seen: Mutex<Vec<Location>>,
    gate: Mutex<Option<Gate>>,
    groups: Mutex<Vec<usize>>,
}

/// Holds every transformation from its arrival until it gets a permit to continue.
#[derive(Clone)]
pub(super) struct Gate {
    pub(super) arrived: Arc<Semaphore>,
    pub(super) go: Arc<Semaphore>,
    /// Gets one permit for each transformation that has ended, whether completed or dropped.
    pub(super) gone: Arc<Semaphore>,
}

struct Gone(Arc<Semaphore>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

impl Fake {
    /// Returns a fake with these KMS checks, as names and errors.
    pub(super) fn with_checks(checks: &[(&str, Option<&str>)]) -> Self {
        let fake = Self::default();
        *fake.0.checks.lock().unwrap() = checks
            .iter()
            .map(|(name, fault)| Check {
                name: (*name).to_owned(),
                fault: fault.map(str::to_owned),
            })
            .collect();
        fake
    }

    /// Makes every further call fail with this error.
    pub(super) fn fail(&self, fault: HostError) {
        *self.0.fault.lock().unwrap() = Some(fault);
    }

    pub(super) fn gate(&self) -> Gate {
        let closed = || Arc::new(Semaphore::new(0));
        let gate = Gate { arrived: closed(), go: closed(), gone: closed() };
        *self.0.gate.lock().unwrap() = Some(gate.clone());
        gate
    }

    pub(super) fn health_runs(&self) -> usize {
        self.0.health_runs.load(Ordering::Relaxed)
    }

    /// Returns how many values each group of writes had.
    pub(super) fn groups(&self) -> Vec<usize> {
        self.0.groups.lock().unwrap().clone()
    }

    /// Returns the location of the last transformation.
    pub(super) fn last_seen(&self) -> Option<Location> {
        self.0.seen.lock().unwrap().last().cloned()
    }

    async fn transform(&self, at: Location, mut value: Vec<u8>) -> Result<Vec<u8>, HostError> {
        self.0.seen.lock().unwrap().push(at);
        let gate = self.0.gate.lock().unwrap().clone();
        if let Some(Gate { arrived, go, gone }) = gate {
            let _gone = Gone(gone);
            arrived.add_permits(1);
            go.acquire().await.unwrap().forget();
        }
        self.check()?;
        value.reverse();
        Ok(value)
    }

    fn check(&self) -> Result<(), HostError> {
        self.0.fault.lock().unwrap().clone().map_or(Ok(()), Err)
    }
}

impl Service for Fake {
    async fn to_storage(
        &self,
        at: Location,
        mut plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, HostError> {
        let stored = self.transform(at, std::mem::take(&mut *plaintext)).await?;
        let key_id_hash = Some("sha256:aa".into());
        Ok(Encrypted {
            stored,
            transformer_prefix: PREFIX.into(),
            key_prefix: None,
            has_rule: true,
            key_id_hash,
        })
    }

    /// A value that ends in `!` is reported as stale and as an identity value, which has no key ID. The state of a value that ends in `?` is unknown,
    /// and a value that ends in `~` has another kind of DEK source.
    async fn from_storage(&self, at: Location, stored: Vec<u8>) -> Result<Decrypted, HostError> {
        let plaintext = Plaintext::from(self.transform(at, stored).await?);
        let state = match plaintext.last() {
            Some(b'!') => Some(ValueState::Stale),
            Some(b'~') => Some(ValueState::OtherSource),
            Some(b'?') => None,
            _ => Some(ValueState::Fresh),
        };
        let is_identity = state == Some(ValueState::Stale);
        Ok(Decrypted {
            plaintext,
            stale: matches!(state, Some(ValueState::Stale | ValueState::OtherSource)),
            state,
            transformer_prefix: if is_identity { "".into() } else { PREFIX.into() },
            key_prefix: None,
            has_rule: true,
            key_id_hash: (!is_identity).then(|| "sha256:aa".into()),
        })
    }

    async fn to_storage_many(
        &self,
        values: Vec<(Location, Bytes)>,
    ) -> Vec<Result<Encrypted, HostError>> {
        self.0.groups.lock().unwrap().push(values.len());
        let mut done = Vec::new();
        for (at, plaintext) in values {
            done.push(self.to_storage(at, Zeroizing::new(plaintext.to_vec())).await);
        }
        done
    }

    async fn from_storage_many(
        &self,
        values: Vec<(Location, Bytes)>,
    ) -> Vec<Result<Decrypted, HostError>> {
        let mut done = Vec::new();
        for (at, stored) in values {
            done.push(self.from_storage(at, stored.to_vec()).await);
        }
        done
    }

    fn health(&self) -> impl Future<Output = Result<Vec<Check>, HostError>> + Send {
        self.0.health_runs.fetch_add(1, Ordering::Relaxed);
        let checks = self.check().map(|()| self.0.checks.lock().unwrap().clone());
        std::future::ready(checks)
    }

    async fn check_names(&self) -> Result<Vec<String>, HostError> {
        self.check()?;
        Ok(self.0.checks.lock().unwrap().iter().map(|check| check.name.clone()).collect())
    }

    async fn status(&self) -> Result<serde_json::Value, HostError> {
        self.check()?;
        Ok(serde_json::json!({"config": "sha256:bb"}))
    }

    async fn metrics(&self) -> Result<Vec<MetricFamily>, HostError> {
        self.check()?;
        Ok(vec![MetricFamily {
            name: "apiserver_storage_envelope_transformation_cache_misses_total".to_owned(),
            help: "Total number of cache misses while accessing key decryption key(KEK)."
                .to_owned(),
            kind: MetricKind::Counter,
            samples: vec![Sample { labels: Vec::new(), value: 4.0 }],
        }])
    }
}
