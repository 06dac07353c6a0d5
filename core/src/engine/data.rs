//! Encryption and decryption of values.

mod kms;

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Engine;
use super::counts::{Direction, NON_GRPC, OK, resource_label, status};
use super::event::{Action, OpId};
use super::pending::{
    Attempt, Begun, Operation, Parked, Parking, Place, ReadOperation, ReadProgress, Resumed, Wait,
    declined, read_only,
};
use crate::crypto::secret::Secret;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::transformer::{
    LocalRead, LocalTransformer, LocalWritten, Transform, Transformer, UNKNOWN,
};
use crate::provider::value::{Decrypted, Encrypted, Location, ValueState};
use crate::time::Timestamp;

/// A value that a provider encrypted.
struct Written {
    /// The bytes to store.
    stored: Vec<u8>,
    /// The prefix of the values of the named key, if there is one.
    key_prefix: Option<Arc<str>>,
    /// `sha256:<hex>` of the key ID. Only for KMS v2.
    key_id_hash: Option<Arc<str>>,
}

/// A value that a provider decrypted.
struct Opened {
    plaintext: Secret,
    /// How the provider would encrypt it now; see [`Decrypted::state`].
    state: Option<ValueState>,
    /// The prefix of the values of the named key, if there is one.
    key_prefix: Option<Arc<str>>,
    /// `sha256:<hex>` of the key ID. Only for KMS v2.
    key_id_hash: Option<Arc<str>>,
}

impl Engine {
    /// Encrypts a value. Returns `None` if the operation was parked under `op`; the result then arrives as [`Action::ToStorageDone`].
    ///
    /// The location's `resource` is the resource, then its group; its `key` is the AAD. An engine with [`Options::read_only`](super::Options::read_only)
    /// refuses every write, and does not count it.
    #[must_use]
    pub fn to_storage(
        &mut self,
        op: OpId,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>> {
        self.advance(now);
        if self.options.read_only {
            return Some(Err(read_only()));
        }
        if let Err(error) = self.accept(op) {
            return Some(Err(error));
        }
        let list = self.running.routing.find(at.resource).clone();
        let parking = self.parking(at.resource.len() + at.key.len() + plaintext.len());
        match self.write(at, plaintext, &list, parking) {
            Attempt::Done(outcome) => Some(outcome),
            Attempt::Park(wait) => {
                let operation = Operation::Write {
                    at: at.into(),
                    plaintext: Secret::new(plaintext.to_vec()),
                    list,
                };
                self.park(op, wait, self.begun_now(), operation);
                None
            }
        }
    }

    /// Decrypts a stored value. Returns `None` if the operation was parked under `op`; the result then arrives as [`Action::FromStorageDone`].
    ///
    /// The stored bytes are attacker-controlled; this function does not panic.
    #[must_use]
    pub fn from_storage(
        &mut self,
        op: OpId,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Result<Decrypted, TransformError>> {
        self.advance(now);
        if let Err(error) = self.accept(op) {
            return Some(Err(error));
        }
        let list = self.running.routing.find(at.resource).clone();
        let mut progress = ReadProgress::default();
        let parking = self.parking(at.resource.len() + at.key.len() + stored.len());
        match self.read(at, stored, &list, &mut progress, None, parking) {
            Attempt::Done(outcome) => Some(outcome),
            Attempt::Park(wait) => {
                let read = ReadOperation { at: at.into(), stored: stored.to_vec(), list, progress };
                self.park(op, wait, self.begun_now(), Operation::Read(read));
                None
            }
        }
    }

    /// Resumes a parked operation.
    pub(super) fn resume(&mut self, op: OpId, resumed: Resumed) {
        let Some(Parked { wait, provider: _, begun, operation }) = self.parked.remove(op) else {
            return;
        };
        let parking = Parking { place: Place::Taken, since: begun.at };
        match operation {
            Operation::Write { at, plaintext, list } => {
                match self.write(at.borrow(), plaintext.expose(), &list, parking) {
                    Attempt::Done(outcome) => {
                        self.actions.push_back(Action::ToStorageDone { op, outcome })
                    }
                    Attempt::Park(wait) => {
                        self.park(op, wait, begun, Operation::Write { at, plaintext, list })
                    }
                }
            }
            Operation::Read(ReadOperation { at, stored, list, mut progress }) => {
                match self.read(at.borrow(), &stored, &list, &mut progress, resumed, parking) {
                    Attempt::Done(outcome) => {
                        self.actions.push_back(Action::FromStorageDone { op, outcome })
                    }
                    Attempt::Park(wait) => self.park(
                        op,
                        wait,
                        begun,
                        Operation::Read(ReadOperation { at, stored, list, progress }),
                    ),
                }
            }
            Operation::Health(health) => self.park(op, wait, begun, Operation::Health(health)),
        }
    }

    /// Ends a parked operation with an error.
    pub(super) fn fail(&mut self, op: OpId, error: TransformError) {
        let Some(Parked { operation, .. }) = self.parked.remove(op) else {
            return;
        };
        self.count_unfinished(&operation, status(Some(&error)));
        self.actions.push_back(match operation {
            Operation::Write { .. } => Action::ToStorageDone { op, outcome: Err(error) },
            Operation::Read(_) => Action::FromStorageDone { op, outcome: Err(error) },
            Operation::Health(mut health) => {
                // A provider that has not answered counts as unhealthy.
                let unanswered = health.waiting.iter().map(|id| (*id, error.message.clone()));
                health.faults.extend(unanswered);
                Action::HealthDone { op, checks: self.checks(&health.set, &health.faults) }
            }
        });
    }

    /// Counts a parked read or write that ends before its transformer has returned a result.
    pub(super) fn count_unfinished(&mut self, operation: &Operation, status: &'static str) {
        let (at, direction, transformer) = match operation {
            Operation::Write { at, list, .. } => (at, Direction::ToStorage, list.first()),
            Operation::Read(read) => {
                (&read.at, Direction::FromStorage, read.list.get(read.progress.next))
            }
            Operation::Health(_) => return,
        };
        if let Some(Transformer { prefix, .. }) = transformer {
            let resource = resource_label(&at.resource);
            self.counts.transformation(resource, direction, prefix.clone(), status);
        }
    }

    pub(super) fn accept(&self, op: OpId) -> Result<(), TransformError> {
        if self.parked.contains(op) {
            return Err(TransformError::new(
                ErrorKind::Internal,
                "the operation ID is already used by an open operation".to_string(),
            ));
        }
        Ok(())
    }

    /// Returns the [`Parking`] of a new operation, which holds a copy of `len` bytes while it is parked. Whether there is room for the copy is
    /// checked before the plugin is called.
    fn parking(&self, len: usize) -> Parking {
        Parking { place: Place::Needed(len), since: self.now }
    }

    fn begun_now(&self) -> Begun {
        Begun { generation: self.running_generation(), at: self.now }
    }

    /// Parks an operation.
    pub(super) fn park(&mut self, op: OpId, wait: Wait, begun: Begun, operation: Operation) {
        let provider = match wait {
            Wait::Priming(id) | Wait::Probe(id) => Some(id),
            Wait::Dek(call) | Wait::EncryptedDek(call) => {
                self.calls.get(&call).map(|call| call.provider)
            }
            Wait::Probes => None,
        };
        self.parked.insert(op, Parked { wait, provider, begun, operation });
    }

    /// Encrypts a value with the first provider of `list`.
    pub(super) fn write(
        &mut self,
        at: Location<'_>,
        plaintext: &[u8],
        list: &Arc<[Transformer]>,
        parking: Parking,
    ) -> Attempt<Encrypted> {
        // Validation guarantees a provider; without one, nothing may be written.
        let Some(transformer) = list.first() else {
            return Attempt::Done(Err(TransformError::new(
                ErrorKind::NoMatchingPrefix,
                "no provider writes this resource".to_string(),
            )));
        };
        let prefix = &transformer.prefix;
        let written = match &transformer.transform {
            Transform::Local(local) => self.write_local(&**local, prefix, at, plaintext, parking),
            Transform::Kms(id) => match self.write_kms(*id, prefix, at, plaintext, parking) {
                Attempt::Done(written) => written,
                Attempt::Park(wait) => return Attempt::Park(wait),
            },
        };
        let written = match written {
            // The control engine performs the operation and counts it.
            Err(error) if parking.is_tentative() => return Attempt::Done(Err(error)),
            written => written,
        };
        let resource = resource_label(at.resource);
        let has_rule = !self.running.routing.is_fallback(list);
        if let Ok(Written { key_prefix: Some(key), .. }) = &written {
            self.counts.transformation(resource, Direction::ToStorage, key.clone(), OK);
        }
        if has_rule {
            let status = status(written.as_ref().err());
            self.counts.transformation(resource, Direction::ToStorage, prefix.clone(), status);
        }
        Attempt::Done(written.map(|Written { stored, key_prefix, key_id_hash }| Encrypted {
            stored,
            transformer_prefix: prefix.clone(),
            key_prefix,
            has_rule,
            key_id_hash,
        }))
    }

    /// Encrypts a value with a local provider.
    fn write_local(
        &mut self,
        local: &dyn LocalTransformer,
        prefix: &str,
        at: Location<'_>,
        plaintext: &[u8],
        parking: Parking,
    ) -> Result<Written, TransformError> {
        let resource = resource_label(at.resource);
        let counts = &mut self.counts;
        let mut failed = |key: &str| {
            if !parking.is_tentative() {
                counts.transformation(resource, Direction::ToStorage, key, NON_GRPC);
            }
        };
        let LocalWritten { mut value, key_prefix } =
            local.to_storage(at.key, plaintext, &*self.entropy, &mut failed)?;
        let stored = if prefix.is_empty() {
            value
        } else {
            let mut stored = Vec::with_capacity(prefix.len() + value.len());
            stored.extend_from_slice(prefix.as_bytes());
            stored.append(&mut value);
            stored
        };
        Ok(Written { stored, key_prefix, key_id_hash: None })
    }

    /// Decrypts a value. Tries each provider whose prefix matches, in order: an error does not stop the search, and the first success wins. An
    /// error ends a tentative operation.
    pub(super) fn read(
        &mut self,
        at: Location<'_>,
        stored: &[u8],
        list: &Arc<[Transformer]>,
        progress: &mut ReadProgress,
        mut resumed: Resumed,
        parking: Parking,
    ) -> Attempt<Decrypted> {
        let resource = resource_label(at.resource);
        let has_rule = !self.running.routing.is_fallback(list);
        while let Some(transformer) = list.get(progress.next) {
            let prefix = &transformer.prefix;
            let Some(value) = stored.strip_prefix(prefix.as_bytes()) else {
                progress.next += 1;
                continue;
            };
            let opened = match &transformer.transform {
                Transform::Local(local) => self.read_local(&**local, at, value, parking),
                Transform::Kms(id) => {
                    match self.read_kms(*id, at, value, resumed.take(), parking) {
                        Attempt::Done(opened) => opened,
                        Attempt::Park(wait) => return Attempt::Park(wait),
                    }
                }
            };
            let is_identity = prefix.is_empty();
            let opened = match opened {
                // The value is encrypted, and the rule has other providers for that. As in upstream, identity adds no error.
                Err(_) if is_identity && has_rule => {
                    progress.next += 1;
                    continue;
                }
                Err(error) if parking.is_tentative() => return Attempt::Done(Err(error)),
                opened => opened,
            };
            if let Ok(Opened { key_prefix: Some(key), .. }) = &opened {
                self.counts.transformation(resource, Direction::FromStorage, key.clone(), OK);
            }
            if has_rule {
                let label = if is_identity { self.counts.identity() } else { prefix.clone() };
                let status = status(opened.as_ref().err());
                self.counts.transformation(resource, Direction::FromStorage, label, status);
            }
            match opened {
                Ok(Opened { plaintext, state, key_prefix, key_id_hash }) => {
                    let is_first = progress.next == 0;
                    return Attempt::Done(Ok(Decrypted {
                        plaintext,
                        state: if is_first { state } else { Some(ValueState::Stale) },
                        transformer_prefix: prefix.clone(),
                        key_prefix,
                        has_rule,
                        key_id_hash,
                    }));
                }
                Err(error) => progress.faults.push(error),
            }
            progress.next += 1;
        }
        if progress.faults.is_empty() && !parking.is_tentative() {
            self.counts.transformation(resource, Direction::FromStorage, UNKNOWN, NON_GRPC);
        }
        let faults = core::mem::take(&mut progress.faults);
        Attempt::Done(Err(TransformError::of_search(faults)))
    }

    /// Decrypts a value with a local provider.
    fn read_local(
        &mut self,
        local: &dyn LocalTransformer,
        at: Location<'_>,
        value: &[u8],
        parking: Parking,
    ) -> Result<Opened, TransformError> {
        let resource = resource_label(at.resource);
        let counts = &mut self.counts;
        let mut has_failed = false;
        let mut failed = |key: &str| {
            has_failed = true;
            if !parking.is_tentative() {
                counts.transformation(resource, Direction::FromStorage, key, NON_GRPC);
            }
        };
        let LocalRead { plaintext, stale, key_prefix } =
            local.from_storage(at.key, value, &mut failed)?;
        if has_failed && parking.is_tentative() {
            // A later key opened the value. The control engine counts the earlier keys that failed.
            return Err(declined());
        }
        let state = if stale { ValueState::Stale } else { ValueState::Fresh };
        Ok(Opened { plaintext, state: Some(state), key_prefix, key_id_hash: None })
    }
}
