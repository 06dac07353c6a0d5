//! Calls one instance of the component directly, as a [`Host`](crate::Host) does for each request, but without passing through the host's thread.
//!
//! For Dekker's own measurements, which compare it with other ciphers, and for its behaviour suite ([`engine`]). Not a stable interface.

pub mod engine;

use std::num::NonZeroU32;

use crate::clock::Clock;
use crate::guest::{
    Action, Coast, Component, DecryptedEvent, DekSource, EncryptResponse, EncryptedEvent, Event,
    Guest, MEMORY_MAX, Options, Polled, StatusEvent, StatusResponse, Trap,
};
use crate::host::WriteDekSource;
use crate::model::{Decrypted, Encrypted, HostError, Location};

/// Sets the limits for freed memory with which `dekker` starts.
pub fn keep_freed_memory() {
    crate::heap::keep_freed_memory();
}

/// A KMS v2 plugin in this process. It never fails.
pub trait Plugin {
    /// Returns the plugin's only key ID.
    fn key_id(&self) -> String;
    /// Encrypts a DEK or seed.
    fn encrypt(&mut self, dek: &[u8]) -> Vec<u8>;
    /// Decrypts a DEK or seed. Returns `None` if this plugin did not encrypt it.
    fn decrypt(&mut self, ciphertext: &[u8]) -> Option<Vec<u8>>;
}

/// An instance with one engine and its plugin.
pub struct Instance<P> {
    guest: Guest,
    clock: Clock,
    plugin: P,
    next_op: u64,
}

impl<P: Plugin> Instance<P> {
    /// Compiles `component`, or loads the embedded component if it is `None`, and lets the plugin encrypt a first DEK.
    ///
    /// # Errors
    /// Returns an error message if the component or the configuration is refused.
    pub fn new(
        component: Option<&[u8]>,
        config: &str,
        dek_source: WriteDekSource,
        dek_cache_capacity: Option<NonZeroU32>,
        plugin: P,
    ) -> Result<Self, String> {
        let component = match component {
            Some(bytes) => Component::compile(bytes, MEMORY_MAX),
            None => Component::embedded(MEMORY_MAX),
        }
        .map_err(|error| format!("{error:#}"))?;
        let options = Options {
            reload: false,
            dek_source: match dek_source {
                WriteDekSource::Counter => DekSource::Counter,
                WriteDekSource::HkdfSeed => DekSource::HkdfSeed,
            },
            coast: Coast::Strict,
            dek_cache_capacity: dek_cache_capacity.map_or(0, NonZeroU32::get),
            apiserver_id: String::new(),
            read_only: false,
        };
        let clock = Clock::start();
        let guest = component
            .load(config.as_bytes(), &options, clock.now())
            .map_err(|trap| format!("{trap:#}"))?
            .map_err(|faults| format!("{faults:?}"))?;
        let mut instance = Self { guest, clock, plugin, next_op: 1 };
        instance.settle().map_err(|trap| format!("{trap:#}"))?;
        Ok(instance)
    }

    /// Returns the plugin.
    pub fn plugin(&mut self) -> &mut P {
        &mut self.plugin
    }

    /// Handles the engine's timeout if it has passed. Must be called at least once a minute, or the DEK expires.
    ///
    /// # Errors
    /// Returns an error if the component traps.
    pub fn tick(&mut self) -> Result<(), HostError> {
        let now = self.clock.now();
        let ticked = match self.guest.poll_timeout() {
            Ok(Some(due)) if due <= now => self.guest.handle_timeout(now),
            Ok(_) => return Ok(()),
            Err(trap) => Err(trap),
        };
        ticked.and_then(|()| self.settle().map(drop)).map_err(trapped)
    }

    /// Encrypts a value.
    ///
    /// # Errors
    /// Returns an error if the engine cannot encrypt the value or traps.
    pub fn to_storage(&mut self, at: &Location, plaintext: &[u8]) -> Result<Encrypted, HostError> {
        let op = self.op();
        let now = self.clock.now();
        match self.guest.to_storage(op, at, plaintext, now) {
            Ok(Some(outcome)) => outcome.map_err(HostError::Transform),
            Ok(None) => self.settle_for(op, |done| match done {
                Done::Write(op, outcome) => Some((op, outcome)),
                Done::Read(..) => None,
            }),
            Err(trap) => Err(trapped(trap)),
        }
    }

    /// Decrypts a stored value.
    ///
    /// # Errors
    /// Returns an error if the engine cannot decrypt the value or traps.
    pub fn from_storage(&mut self, at: &Location, stored: &[u8]) -> Result<Decrypted, HostError> {
        let op = self.op();
        let now = self.clock.now();
        match self.guest.from_storage(op, at, stored, now) {
            Ok(Some(outcome)) => outcome.map_err(HostError::Transform),
            Ok(None) => self.settle_for(op, |done| match done {
                Done::Read(op, outcome) => Some((op, outcome)),
                Done::Write(..) => None,
            }),
            Err(trap) => Err(trapped(trap)),
        }
    }

    /// Encrypts values in one call, without asking the plugin. The result of a value is `None` if the engine has to encrypt it alone.
    ///
    /// # Errors
    /// Returns an error if the component is self-contained or traps.
    pub fn to_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
    ) -> Result<Vec<Option<Encrypted>>, HostError> {
        self.guest.to_storage_many(values, self.clock.now()).map_err(trapped)
    }

    /// Decrypts stored values in one call, without asking the plugin. The result of a value is `None` if the engine has to decrypt it alone.
    ///
    /// # Errors
    /// Returns an error if the component is self-contained or traps.
    pub fn from_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
    ) -> Result<Vec<Option<Decrypted>>, HostError> {
        self.guest.from_storage_many(values, self.clock.now()).map_err(trapped)
    }

    fn op(&mut self) -> u64 {
        self.next_op += 1;
        self.next_op
    }

    /// Returns the result of a parked operation. The plugin answers at once, so the operation is done when `settle` returns.
    fn settle_for<T>(
        &mut self,
        op: u64,
        pick: impl Fn(Done) -> Option<(u64, Outcome<T>)>,
    ) -> Result<T, HostError> {
        let done = self.settle().map_err(trapped)?;
        let mut picked = done.into_iter().filter_map(pick);
        let (_, outcome) = picked.find(|(of, _)| *of == op).ok_or(HostError::Trapped)?;
        outcome.map_err(HostError::Transform)
    }

    fn settle(&mut self) -> Result<Vec<Done>, Trap> {
        let mut done = Vec::new();
        loop {
            let actions = self.guest.poll_actions()?;
            if actions.is_empty() {
                return Ok(done);
            }
            for polled in actions {
                let action = match polled {
                    Polled::Encrypted { op, outcome } => {
                        done.push(Done::Write(op, outcome));
                        continue;
                    }
                    Polled::Decrypted { op, outcome, dek: _ } => {
                        done.push(Done::Read(op, outcome));
                        continue;
                    }
                    Polled::Action(action) => action,
                };
                let event = match action {
                    Action::CallStatus(call) => Event::Status(StatusEvent {
                        call: call.call,
                        outcome: Ok(StatusResponse {
                            version: "v2".to_owned(),
                            healthz: "ok".to_owned(),
                            key_id: self.plugin.key_id(),
                        }),
                    }),
                    Action::CallEncrypt(call) => Event::Encrypted(EncryptedEvent {
                        call: call.call,
                        outcome: Ok(EncryptResponse {
                            ciphertext: self.plugin.encrypt(&call.plaintext),
                            key_id: self.plugin.key_id(),
                            annotations: Vec::new(),
                        }),
                    }),
                    Action::CallDecrypt(call) => Event::Decrypted(DecryptedEvent {
                        call: call.call,
                        outcome: Ok(self.plugin.decrypt(&call.ciphertext).unwrap_or_default()),
                    }),
                    Action::ToStorageDone(_) | Action::FromStorageDone(_) | Action::Ready(_) => {
                        continue;
                    }
                    Action::HealthDone(_)
                    | Action::ReloadDone(_)
                    | Action::CloseProvider(_)
                    | Action::Log(_) => continue,
                };
                self.guest.handle_event(&event, self.clock.now())?;
            }
        }
    }
}

type Outcome<T> = Result<T, crate::model::TransformError>;

/// The result of an operation that was parked.
enum Done {
    Write(u64, Outcome<Encrypted>),
    Read(u64, Outcome<Decrypted>),
}

fn trapped(_: Trap) -> HostError {
    HostError::Trapped
}
