//! Every function of one engine, for the behaviour suite.

use crate::guest::bindings::exports::dekker::transformer::engine as face;
use crate::guest::{Component, ConfigFinding, Guest, MEMORY_MAX};
use crate::model::{Check, Decrypted, Encrypted, Location, MetricFamily, TransformError};

/// The types of the component's interfaces, as wasmtime generates them.
pub mod bindings {
    pub use crate::guest::bindings::{dekker, exports};
}

/// The embedded component, ready to create engines.
#[derive(Clone)]
pub struct Embedded(Component);

/// One engine, alone in its instance, with the host's half, which keeps the keys and carries out the plans. Its random bytes come from the kernel. Every
/// function panics if the component traps.
pub struct Engine {
    guest: Guest,
    mode: Mode,
}

/// Which functions of the component an [`Engine`] calls first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Those for one value.
    Single,
    /// Those for many values, with one value. Those for one value follow if the component declines it.
    Many,
}

/// What an engine wants done, or has done.
pub enum Polled {
    /// A parked write has ended.
    Encrypted {
        /// The operation.
        op: u64,
        /// Its result.
        outcome: Result<Encrypted, TransformError>,
    },
    /// A parked read has ended.
    Decrypted {
        /// The operation.
        op: u64,
        /// Its result.
        outcome: Result<Decrypted, TransformError>,
    },
    /// Any other action.
    Action(face::Action),
}

const TRAP: &str = "the component does not trap";

impl Embedded {
    /// Loads the component.
    ///
    /// # Errors
    /// Returns an error message if it cannot be loaded.
    pub fn load() -> Result<Self, String> {
        Component::embedded(MEMORY_MAX).map(Self).map_err(|error| format!("{error:#}"))
    }

    /// Creates an engine.
    ///
    /// # Errors
    /// Returns every error in the configuration.
    pub fn engine(
        &self,
        config: &[u8],
        options: &face::Options,
        mode: Mode,
        now: u64,
    ) -> Result<Engine, Vec<ConfigFinding>> {
        let guest = self.0.load(config, options, now).expect(TRAP)?;
        Ok(Engine { guest, mode })
    }
}

#[allow(missing_docs)]
impl Engine {
    pub fn to_storage(
        &mut self,
        op: u64,
        at: &Location,
        plaintext: &[u8],
        now: u64,
    ) -> Option<Result<Encrypted, TransformError>> {
        if self.mode == Mode::Many {
            let mut tried = self.guest.to_storage_many(&[(at, plaintext)], now).expect(TRAP);
            if let Some(encrypted) = tried.pop().expect("one result") {
                return Some(Ok(encrypted));
            }
        }
        self.guest.to_storage(op, at, plaintext, now).expect(TRAP)
    }

    pub fn from_storage(
        &mut self,
        op: u64,
        at: &Location,
        stored: &[u8],
        now: u64,
    ) -> Option<Result<Decrypted, TransformError>> {
        if self.mode == Mode::Many {
            let mut tried = self.guest.from_storage_many(&[(at, stored)], now).expect(TRAP);
            if let Some(decrypted) = tried.pop().expect("one result") {
                return Some(Ok(decrypted));
            }
        }
        self.guest.from_storage(op, at, stored, now).expect(TRAP)
    }

    pub fn to_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Vec<Option<Encrypted>> {
        self.guest.to_storage_many(values, now).expect(TRAP)
    }

    pub fn from_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Vec<Option<Decrypted>> {
        self.guest.from_storage_many(values, now).expect(TRAP)
    }

    pub fn health(&mut self, op: u64, now: u64) -> Option<Vec<Check>> {
        self.guest.health(op, now).expect(TRAP)
    }

    pub fn cancel(&mut self, op: u64) {
        self.guest.cancel(op).expect(TRAP);
    }

    pub fn reload(&mut self, config: &[u8], now: u64) -> Result<u64, Vec<ConfigFinding>> {
        self.guest.reload(config, now).expect(TRAP)
    }

    pub fn running_generation(&mut self) -> u64 {
        self.guest.running_generation().expect(TRAP)
    }

    pub fn unreadable_after(&mut self, config: &[u8]) -> Result<Vec<String>, Vec<ConfigFinding>> {
        self.guest.unreadable_after(config).expect(TRAP)
    }

    pub fn handle_event(&mut self, event: &face::Event, now: u64) {
        self.guest.handle_event(event, now).expect(TRAP);
    }

    pub fn handle_timeout(&mut self, now: u64) {
        self.guest.handle_timeout(now).expect(TRAP);
    }

    pub fn poll_actions(&mut self) -> Vec<Polled> {
        let polled = self.guest.poll_actions().expect(TRAP).into_iter();
        polled.map(Into::into).collect()
    }

    pub fn poll_timeout(&mut self) -> Option<u64> {
        self.guest.poll_timeout().expect(TRAP)
    }

    pub fn kms_providers(&mut self) -> Vec<face::KmsProvider> {
        self.guest.kms_providers().expect(TRAP)
    }

    pub fn status(&mut self, now: u64) -> String {
        self.guest.status(now).expect(TRAP)
    }

    pub fn metrics(&mut self) -> Vec<MetricFamily> {
        self.guest.metrics().expect(TRAP)
    }
}

impl From<crate::guest::Polled> for Polled {
    fn from(polled: crate::guest::Polled) -> Self {
        match polled {
            crate::guest::Polled::Encrypted { op, outcome } => Self::Encrypted { op, outcome },
            crate::guest::Polled::Decrypted { op, outcome, dek: _ } => {
                Self::Decrypted { op, outcome }
            }
            crate::guest::Polled::Action(action) => Self::Action(action),
        }
    }
}
