//! Core itself, in this process.

use std::collections::BTreeMap;
use std::sync::Arc;

use dekker_core::config::{self, Faults};
use dekker_core::crypto::keys::KeyStore;
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;
use dekker_core::engine::event::{Action, Check, Event, Generation, KmsProviderInfo, OpId};
use dekker_core::engine::{Engine, Options};
use dekker_core::inspect;
use dekker_core::provider::kms::with_dek;
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};
use dekker_ring::Ring;

use super::{Face, Finding, Maker, Sample};
use crate::entropy::{Seeded, SharedSeeded};

/// Creates engines of dekker-core with one of its cryptographic backends.
#[derive(Clone, Copy, Debug)]
pub struct NativeMaker<Keys = RustCrypto>(Keys);

impl NativeMaker {
    /// Uses core's default backend.
    pub const RUST_CRYPTO: Self = Self(RustCrypto);
}

impl NativeMaker<Ring> {
    /// Uses ring.
    pub const RING: Self = Self(Ring);
}

fn finding(is_fault: bool, finding: &config::Finding) -> Finding {
    Finding {
        is_fault,
        path: finding.path.clone(),
        message: finding.message.clone(),
        position: finding.position.map(|at| (at.line, at.column)),
    }
}

fn findings(faults: &Faults) -> Vec<Finding> {
    faults.iter().map(|fault| finding(true, fault)).collect()
}

impl<Keys: KeyStore + Copy + 'static> Maker for NativeMaker<Keys> {
    fn create(
        &self,
        config: &[u8],
        options: &Options,
        seed: u64,
        now: Timestamp,
    ) -> Result<Box<dyn Face>, Vec<Finding>> {
        let entropy = SharedSeeded(Arc::new(Seeded::new(seed)));
        Engine::new(config, options.clone(), Box::new(self.0), Box::new(entropy.clone()), now)
            .map(|engine| Box::new(Native(engine, entropy)) as Box<dyn Face>)
            .map_err(|faults| findings(&faults))
    }

    fn inspect(&self, stored: &[u8]) -> Result<String, String> {
        inspect::inspect_json(stored)
    }

    fn open_with_dek(
        &self,
        stored: &[u8],
        key: &[u8],
        dek: &[u8],
    ) -> Result<Decrypted, TransformError> {
        with_dek::open(stored, key, &Secret::new(dek.to_vec()), &self.0)
    }

    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: (&[u8], &[u8]),
        dek: &[u8],
    ) -> Result<Encrypted, TransformError> {
        let dek = Secret::new(dek.to_vec());
        let (stored, like_key) = like;
        let like = with_dek::Like { stored, key: like_key };
        with_dek::seal(plaintext, key, like, &dek, &self.0, &Seeded::new(0))
    }

    fn check_config(&self, config: &[u8], reload: bool) -> Vec<Finding> {
        let report = config::check(config, reload);
        let faults = report.faults.iter().map(|fault| finding(true, fault));
        let warnings = report.warnings.iter().map(|one| finding(false, one));
        faults.chain(warnings).collect()
    }
}

struct Native(Engine, SharedSeeded);

impl Face for Native {
    fn to_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>> {
        self.0.to_storage(OpId(op), at, plaintext, now)
    }

    fn from_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Result<Decrypted, TransformError>> {
        self.0.from_storage(OpId(op), at, stored, now)
    }

    fn health(&mut self, op: u64, now: Timestamp) -> Option<Vec<Check>> {
        self.0.health(OpId(op), now)
    }

    fn cancel(&mut self, op: u64) {
        self.0.cancel(OpId(op));
    }

    fn reload(&mut self, config: &[u8], now: Timestamp) -> Result<Generation, Vec<Finding>> {
        self.0.reload(config, now).map_err(|faults| findings(&faults))
    }

    fn unreadable_after(&mut self, config: &[u8]) -> Result<Vec<String>, Vec<Finding>> {
        self.0.unreadable_after(config).map_err(|faults| findings(&faults))
    }

    fn handle_event(&mut self, event: Event, now: Timestamp) {
        self.0.handle_event(event, now);
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.0.handle_timeout(now);
    }

    fn poll_actions(&mut self) -> Vec<Action> {
        std::iter::from_fn(|| self.0.poll_action()).collect()
    }

    fn poll_timeout(&mut self) -> Option<Timestamp> {
        self.0.poll_timeout()
    }

    fn kms_providers(&mut self) -> Vec<KmsProviderInfo> {
        self.0.kms_providers().cloned().collect()
    }

    fn status(&mut self, now: Timestamp) -> String {
        self.0.status(now)
    }

    fn choose_random(&mut self, bytes: &[u8]) {
        self.1.0.choose(bytes);
    }

    fn metrics(&mut self) -> BTreeMap<String, Vec<Sample>> {
        let sample = |sample: dekker_core::engine::metrics::Sample| {
            let labels = sample.labels.into_iter();
            let labels = labels.map(|(name, value)| (name.to_string(), value));
            (labels.collect(), sample.value)
        };
        self.0
            .metrics()
            .into_iter()
            .map(|family| {
                let samples = family.samples.into_iter().map(sample).collect();
                (family.name.to_string(), samples)
            })
            .collect()
    }
}
