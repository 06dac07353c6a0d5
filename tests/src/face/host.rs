//! The accelerated component as `dekker` runs it: its plans are carried out by the host's own code, with the kernel's randomness.

use std::collections::BTreeMap;

use dekker_core::engine::Options;
use dekker_core::engine::event::{Action, Check, Event, Generation, KmsProviderInfo, OpId};
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, ErrorKind, Location, TransformError, ValueState};
use dekker_host::instance::engine::{self as host, Embedded, Mode, Polled, bindings};

use super::{ComponentMaker, Face, Finding, Maker, Missing, Sample};

/// The conversions of the other faces of the component, with the types of the host's bindings.
#[path = "component/convert.rs"]
#[allow(clippy::duplicate_mod, reason = "the types of the same names are others here")]
mod convert;

/// Creates engines in the component that `dekker` embeds.
pub struct HostMaker {
    component: Embedded,
    tools: ComponentMaker,
    mode: Mode,
}

impl HostMaker {
    /// Loads the component. Its engines get each value in a call for one value.
    ///
    /// # Errors
    /// Returns [`Missing`] if the accelerated component, which provides the functions that need no engine, was not found.
    ///
    /// # Panics
    /// Panics if it was found but does not load.
    pub fn find() -> Result<Self, Missing> {
        Self::load(Mode::Single)
    }

    /// The same, but engines get each value in a call for many values, and again alone if they decline it.
    ///
    /// # Errors
    /// Returns [`Missing`] as [`Self::find`] does.
    ///
    /// # Panics
    /// Panics as [`Self::find`] does.
    pub fn find_in_batches() -> Result<Self, Missing> {
        Self::load(Mode::Many)
    }

    fn load(mode: Mode) -> Result<Self, Missing> {
        let tools = ComponentMaker::find_accelerated()?;
        Ok(Self { component: Embedded::load().expect("it loads"), tools, mode })
    }
}

impl Maker for HostMaker {
    fn create(
        &self,
        config: &[u8],
        options: &Options,
        _: u64,
        now: Timestamp,
    ) -> Result<Box<dyn Face>, Vec<Finding>> {
        let options = convert::options(options);
        let engine = self.component.engine(config, &options, self.mode, now.as_millis());
        match engine {
            Ok(engine) => Ok(Box::new(Host(engine))),
            Err(findings) => Err(findings.into_iter().map(convert::finding).collect()),
        }
    }

    fn is_repeatable(&self) -> bool {
        false
    }

    fn inspect(&self, stored: &[u8]) -> Result<String, String> {
        self.tools.inspect(stored)
    }

    fn open_with_dek(
        &self,
        stored: &[u8],
        key: &[u8],
        dek: &[u8],
    ) -> Result<Decrypted, TransformError> {
        self.tools.open_with_dek(stored, key, dek)
    }

    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: (&[u8], &[u8]),
        dek: &[u8],
    ) -> Result<Encrypted, TransformError> {
        self.tools.seal_with_dek(plaintext, key, like, dek)
    }

    fn check_config(&self, config: &[u8], reload: bool) -> Vec<Finding> {
        self.tools.check_config(config, reload)
    }
}

struct Host(host::Engine);

fn location(at: Location<'_>) -> dekker_host::Location {
    dekker_host::Location { resource: at.resource.to_string(), key: at.key.to_vec() }
}

fn encrypted(
    outcome: Result<dekker_host::Encrypted, dekker_host::TransformError>,
) -> Result<Encrypted, TransformError> {
    let dekker_host::Encrypted { stored, transformer_prefix, key_prefix, has_rule, key_id_hash } =
        outcome.map_err(error)?;
    Ok(Encrypted { stored, transformer_prefix, key_prefix, has_rule, key_id_hash })
}

fn decrypted(
    outcome: Result<dekker_host::Decrypted, dekker_host::TransformError>,
) -> Result<Decrypted, TransformError> {
    let value = outcome.map_err(error)?;
    let decrypted = Decrypted {
        plaintext: value.plaintext.to_vec().into(),
        state: value.state.map(|state| match state {
            dekker_host::ValueState::Fresh => ValueState::Fresh,
            dekker_host::ValueState::OtherSource => ValueState::OtherSource,
            dekker_host::ValueState::Stale => ValueState::Stale,
        }),
        transformer_prefix: value.transformer_prefix,
        key_prefix: value.key_prefix,
        has_rule: value.has_rule,
        key_id_hash: value.key_id_hash,
    };
    assert_eq!(value.stale, decrypted.is_stale(), "{:?}", decrypted.state);
    Ok(decrypted)
}

fn error(error: dekker_host::TransformError) -> TransformError {
    let kinds = dekker_host::ErrorKind::ALL.iter().zip([
        ErrorKind::NoMatchingPrefix,
        ErrorKind::EncryptedData,
        ErrorKind::DecryptFailed,
        ErrorKind::Malformed,
        ErrorKind::Kms,
        ErrorKind::NotReady,
        ErrorKind::NoncesExhausted,
        ErrorKind::Overloaded,
        ErrorKind::ReadOnly,
        ErrorKind::Internal,
    ]);
    let (_, kind) = { kinds }.find(|(kind, _)| **kind == error.kind).expect("every kind");
    assert_eq!(kind.as_str(), error.kind.as_str());
    let mut fault = TransformError::new(kind, error.message);
    fault.grpc_code = error.grpc_code;
    fault
}

fn findings(findings: Vec<bindings::dekker::transformer::types::ConfigFinding>) -> Vec<Finding> {
    findings.into_iter().map(convert::finding).collect()
}

impl Face for Host {
    fn to_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>> {
        self.0.to_storage(op, &location(at), plaintext, now.as_millis()).map(encrypted)
    }

    fn from_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Result<Decrypted, TransformError>> {
        self.0.from_storage(op, &location(at), stored, now.as_millis()).map(decrypted)
    }

    fn to_storage_many(
        &mut self,
        values: &[(Location<'_>, &[u8])],
        now: Timestamp,
    ) -> Option<Vec<Option<Encrypted>>> {
        let at: Vec<_> = values.iter().map(|(at, _)| location(*at)).collect();
        let values: Vec<_> = at.iter().zip(values).map(|(at, (_, value))| (at, *value)).collect();
        let written = self.0.to_storage_many(&values, now.as_millis()).into_iter();
        Some(written.map(|one| one.map(|one| encrypted(Ok(one)).expect("no error"))).collect())
    }

    fn from_storage_many(
        &mut self,
        values: &[(Location<'_>, &[u8])],
        now: Timestamp,
    ) -> Option<Vec<Option<Decrypted>>> {
        let at: Vec<_> = values.iter().map(|(at, _)| location(*at)).collect();
        let values: Vec<_> = at.iter().zip(values).map(|(at, (_, value))| (at, *value)).collect();
        let read = self.0.from_storage_many(&values, now.as_millis()).into_iter();
        Some(read.map(|one| one.map(|one| decrypted(Ok(one)).expect("no error"))).collect())
    }

    fn health(&mut self, op: u64, now: Timestamp) -> Option<Vec<Check>> {
        let checks = self.0.health(op, now.as_millis())?.into_iter();
        Some(checks.map(|check| Check { name: check.name, fault: check.fault }).collect())
    }

    fn cancel(&mut self, op: u64) {
        self.0.cancel(op);
    }

    fn reload(&mut self, config: &[u8], now: Timestamp) -> Result<Generation, Vec<Finding>> {
        let offered = self.0.reload(config, now.as_millis()).map_err(findings)?;
        // The running generation is never later than the one just offered.
        assert!(self.0.running_generation() <= offered);
        Ok(Generation(offered))
    }

    fn unreadable_after(&mut self, config: &[u8]) -> Result<Vec<String>, Vec<Finding>> {
        self.0.unreadable_after(config).map_err(findings)
    }

    fn handle_event(&mut self, event: Event, now: Timestamp) {
        self.0.handle_event(&convert::event(event), now.as_millis());
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        self.0.handle_timeout(now.as_millis());
    }

    fn poll_actions(&mut self) -> Vec<Action> {
        let action = |polled| match polled {
            Polled::Encrypted { op, outcome } => {
                Action::ToStorageDone { op: OpId(op), outcome: encrypted(outcome) }
            }
            Polled::Decrypted { op, outcome } => {
                Action::FromStorageDone { op: OpId(op), outcome: decrypted(outcome) }
            }
            Polled::Action(action) => convert::action(action),
        };
        self.0.poll_actions().into_iter().map(action).collect()
    }

    fn poll_timeout(&mut self) -> Option<Timestamp> {
        self.0.poll_timeout().map(Timestamp::from_millis)
    }

    fn kms_providers(&mut self) -> Vec<KmsProviderInfo> {
        self.0.kms_providers().into_iter().map(convert::kms_provider).collect()
    }

    fn status(&mut self, now: Timestamp) -> String {
        self.0.status(now.as_millis())
    }

    fn choose_random(&mut self, _: &[u8]) {
        unreachable!("the randomness is the kernel's");
    }

    fn metrics(&mut self) -> BTreeMap<String, Vec<Sample>> {
        let sample = |sample: dekker_host::Sample| (sample.labels, sample.value);
        let families = self.0.metrics().into_iter();
        families
            .map(|family| (family.name, family.samples.into_iter().map(sample).collect()))
            .collect()
    }
}
