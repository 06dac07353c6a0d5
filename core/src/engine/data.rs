//! Encryption and decryption of values.

mod kms;

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Engine;
use super::counts::{Direction, NON_GRPC, OK, resource_label, status};
use super::event::{Action, Generation, OpId};
use super::pending::{
    Operation, Parked, Parking, Place, ReadOperation, ReadProgress, Resumed, Wait,
};
use crate::crypto::secret::Secret;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::transformer::{Transform, Transformer, UNKNOWN};
use crate::provider::value::{Decrypted, Encrypted, Location};
use crate::time::Timestamp;

impl Engine {
    /// Encrypts a value. Returns `None` if the operation was parked under `op`; the result then arrives as [`Action::ToStorageDone`].
    ///
    /// The location's `resource` is the resource, then its group; its `key` is the AAD.
    #[must_use]
    pub fn to_storage(
        &mut self,
        op: OpId,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>> {
        self.advance(now);
        if let Err(error) = self.accept(op) {
            return Some(Err(error));
        }
        let list = self.running.routing.find(at.resource).clone();
        let parking = self.parking(at.resource.len() + at.key.len() + plaintext.len());
        match self.write(at, plaintext, &list, parking) {
            Ok(encrypted) => Some(encrypted),
            Err(wait) => {
                let operation = Operation::Write {
                    at: at.into(),
                    plaintext: Secret::new(plaintext.to_vec()),
                    list,
                };
                self.park(op, wait, (self.running_generation(), self.now), operation);
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
            Ok(decrypted) => Some(decrypted),
            Err(wait) => {
                let read = ReadOperation { at: at.into(), stored: stored.to_vec(), list, progress };
                let begun = (self.running_generation(), self.now);
                self.park(op, wait, begun, Operation::Read(read));
                None
            }
        }
    }

    /// Resumes a parked operation.
    pub(super) fn resume(&mut self, op: OpId, resumed: Resumed) {
        let Some(Parked { wait, provider: _, generation, since, operation }) =
            self.parked.remove(op)
        else {
            return;
        };
        let begun = (generation, since);
        let parking = Parking { place: Place::Taken, since };
        match operation {
            Operation::Write { at, plaintext, list } => {
                match self.write(at.borrow(), plaintext.expose(), &list, parking) {
                    Ok(outcome) => self.actions.push_back(Action::ToStorageDone { op, outcome }),
                    Err(wait) => {
                        self.park(op, wait, begun, Operation::Write { at, plaintext, list })
                    }
                }
            }
            Operation::Read(ReadOperation { at, stored, list, mut progress }) => {
                match self.read(at.borrow(), &stored, &list, &mut progress, resumed, parking) {
                    Ok(outcome) => self.actions.push_back(Action::FromStorageDone { op, outcome }),
                    Err(wait) => self.park(
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

    /// Parks an operation. `begun` is the configuration that it began under, and the time at which it began.
    pub(super) fn park(
        &mut self,
        op: OpId,
        wait: Wait,
        begun: (Generation, Timestamp),
        operation: Operation,
    ) {
        let (generation, since) = begun;
        let provider = match wait {
            Wait::Priming(id) | Wait::Probe(id) => Some(id),
            Wait::Dek(call) | Wait::EncryptedDek(call) => {
                self.calls.get(&call).map(|call| call.provider)
            }
            Wait::Probes => None,
        };
        self.parked.insert(op, Parked { wait, provider, generation, since, operation });
    }

    /// Encrypts a value with the first provider of `list`. Returns `Err` if the operation must wait.
    pub(super) fn write(
        &mut self,
        at: Location<'_>,
        plaintext: &[u8],
        list: &Arc<[Transformer]>,
        parking: Parking,
    ) -> Result<Result<Encrypted, TransformError>, Wait> {
        // Validation guarantees a provider; without one, nothing may be written.
        let Some(transformer) = list.first() else {
            return Ok(Err(TransformError::new(
                ErrorKind::NoMatchingPrefix,
                "no provider writes this resource".to_string(),
            )));
        };
        let prefix = &transformer.prefix;
        let resource = resource_label(at.resource);
        let mut key_prefix = None;
        let written = match &transformer.transform {
            Transform::Local(local) => {
                let counts = &mut self.counts;
                let mut failed = |key: &str| {
                    counts.transformation(resource, Direction::ToStorage, key, NON_GRPC);
                };
                local.to_storage(at.key, plaintext, &*self.entropy, &mut failed).map(
                    |(mut value, key)| {
                        key_prefix = key;
                        if prefix.is_empty() {
                            return (value, None);
                        }
                        let mut stored = Vec::with_capacity(prefix.len() + value.len());
                        stored.extend_from_slice(prefix.as_bytes());
                        stored.append(&mut value);
                        (stored, None)
                    },
                )
            }
            Transform::Kms(id) => self.write_kms(*id, prefix, at, plaintext, parking)?,
        };
        let has_rule = !self.running.routing.is_fallback(list);
        if let Some(key) = &key_prefix {
            self.counts.transformation(resource, Direction::ToStorage, key.clone(), OK);
        }
        if has_rule {
            self.counts.transformation(
                resource,
                Direction::ToStorage,
                prefix.clone(),
                status(written.as_ref().err()),
            );
        }
        Ok(written.map(|(stored, key_id_hash)| Encrypted {
            stored,
            transformer_prefix: prefix.clone(),
            key_prefix,
            has_rule,
            key_id_hash,
        }))
    }

    /// Decrypts a value. Tries each provider whose prefix matches, in order: an error does not stop the search, and the first success wins. Returns
    /// `Err` if the operation must wait.
    pub(super) fn read(
        &mut self,
        at: Location<'_>,
        stored: &[u8],
        list: &Arc<[Transformer]>,
        progress: &mut ReadProgress,
        mut resumed: Resumed,
        parking: Parking,
    ) -> Result<Result<Decrypted, TransformError>, Wait> {
        let resource = resource_label(at.resource);
        let has_rule = !self.running.routing.is_fallback(list);
        while let Some(transformer) = list.get(progress.next) {
            let prefix = &transformer.prefix;
            let Some(value) = stored.strip_prefix(prefix.as_bytes()) else {
                progress.next += 1;
                continue;
            };
            let mut key_prefix = None;
            let read = match &transformer.transform {
                Transform::Local(local) => {
                    let counts = &mut self.counts;
                    let mut failed = |key: &str| {
                        counts.transformation(resource, Direction::FromStorage, key, NON_GRPC);
                    };
                    local.from_storage(at.key, value, &mut failed).map(|(plaintext, stale, key)| {
                        key_prefix = key;
                        (plaintext, stale, None)
                    })
                }
                Transform::Kms(id) => self.read_kms(*id, at, value, resumed.take(), parking)?,
            };
            let is_identity = prefix.is_empty();
            let dropped = is_identity && read.is_err() && has_rule;
            if let Some(key) = &key_prefix {
                self.counts.transformation(resource, Direction::FromStorage, key.clone(), OK);
            }
            if !dropped && has_rule {
                let label = if is_identity { self.counts.identity() } else { prefix.clone() };
                self.counts.transformation(
                    resource,
                    Direction::FromStorage,
                    label,
                    status(read.as_ref().err()),
                );
            }
            match read {
                Ok((plaintext, stale, key_id_hash)) => {
                    let stale = stale || progress.next != 0;
                    return Ok(Ok(Decrypted {
                        plaintext,
                        stale,
                        transformer_prefix: prefix.clone(),
                        key_prefix,
                        has_rule,
                        key_id_hash,
                    }));
                }
                Err(_) if dropped => {}
                Err(error) => progress.faults.push(error),
            }
            progress.next += 1;
        }
        let unmatched = progress.faults.is_empty();
        let error = TransformError::of_search(core::mem::take(&mut progress.faults));
        if unmatched {
            self.counts.transformation(resource, Direction::FromStorage, UNKNOWN, NON_GRPC);
        }
        Ok(Err(error))
    }
}
