//! Encryption and decryption of values in this process' memory: plans them, carries the plans out, and holds the values of parked operations.

use super::Engine;
use super::counts::{Direction, status};
use super::event::{Action, OpId};
use super::pending::{Begun, Held, HeldValue, Operation, Parked, Resumed, Wait, WriteOperation};
use super::plans::{Read, ReadJob, Write, WriteJob};
use crate::crypto::secret::Secret;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::stored::Stored;
use crate::provider::value::{Decrypted, Encrypted, Location};
use crate::time::Timestamp;

use alloc::boxed::Box;
use alloc::string::ToString;

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
        let route = self.route(at.resource);
        let size = at.resource.len() + at.key.len() + plaintext.len();
        let planned = self.plan_write(op, route, size, now);
        let outcome = self.carry_out_write(planned, at.key, plaintext);
        if outcome.is_none() {
            let value = HeldValue::Plaintext(Secret::new(plaintext.to_vec()));
            self.held.insert(op, Box::new(Held { key: at.key.to_vec(), value }));
        }
        outcome
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
        let route = self.route(at.resource);
        let size = at.resource.len() + at.key.len() + stored.len();
        let planned = self.plan_read(op, route, size, Stored::whole(stored), now);
        let outcome = self.carry_out_read(planned, at.key, stored);
        if outcome.is_none() {
            let value = HeldValue::Stored(stored.to_vec());
            self.held.insert(op, Box::new(Held { key: at.key.to_vec(), value }));
        }
        outcome
    }

    /// Carries out a planned write. Returns `None` if the operation was parked.
    fn carry_out_write(
        &mut self,
        planned: Write,
        key: &[u8],
        plaintext: &[u8],
    ) -> Option<Result<Encrypted, TransformError>> {
        match planned {
            Write::Seal(job) => Some(self.seal(job, key, plaintext)),
            Write::Failed(error) => Some(Err(error)),
            Write::Parked => None,
            Write::UnknownRoute => Some(Err(unexpected())),
        }
    }

    pub(super) fn seal(
        &mut self,
        job: WriteJob,
        key: &[u8],
        plaintext: &[u8],
    ) -> Result<Encrypted, TransformError> {
        let WriteJob { plan, ticket } = job;
        match plan.write(key, plaintext, &*self.entropy) {
            Ok(stored) => {
                let labels = ticket.labels.clone();
                self.sealed(ticket);
                Ok(Encrypted::new(stored, labels))
            }
            Err(error) => {
                let error = error.into();
                self.not_sealed(ticket, &error);
                Err(error)
            }
        }
    }

    /// Carries out a planned read. Returns `None` if the operation was parked.
    pub(super) fn carry_out_read(
        &mut self,
        mut planned: Read,
        key: &[u8],
        stored: &[u8],
    ) -> Option<Result<Decrypted, TransformError>> {
        loop {
            planned = match planned {
                Read::Open(job) => {
                    let ReadJob { plan, state, ticket } = job;
                    match plan.open(key, stored) {
                        Ok(plaintext) => {
                            let labels = ticket.labels.clone();
                            self.opened(ticket);
                            return Some(Ok(Decrypted::new(plaintext, state, labels)));
                        }
                        Err(error) => self.not_opened(ticket, error, Stored::whole(stored)),
                    }
                }
                Read::Failed(error) => return Some(Err(error)),
                Read::Parked => return None,
                // All bytes are here, and the route is new.
                Read::Missing(..) | Read::UnknownRoute => return Some(Err(unexpected())),
            };
        }
    }

    /// Goes on with a parked operation.
    pub(super) fn resume(&mut self, op: OpId, resumed: Resumed) {
        match self.parked.get(op) {
            Some(Parked { operation: Operation::Write(_) | Operation::Read(_), .. }) => {}
            // A health check counts its probes itself.
            Some(Parked { operation: Operation::Health(_), .. }) | None => return,
        }
        let Some(held) = self.held.remove(&op) else {
            if self.parked.make_ready(op, resumed) {
                self.actions.push_back(Action::Ready { op });
            }
            return;
        };
        let Some(Parked { begun, operation, .. }) = self.parked.remove(op) else {
            return;
        };
        let Held { key, value } = *held;
        let is_parked = match (operation, &value) {
            (Operation::Write(write), HeldValue::Plaintext(plaintext)) => {
                let planned = self.continue_write(op, begun, write, resumed);
                let outcome = self.carry_out_write(planned, &key, plaintext.expose());
                outcome.map(|outcome| Action::ToStorageDone { op, outcome })
            }
            (Operation::Read(read), HeldValue::Stored(stored)) => {
                let planned = self.wake_read(op, begun, read, resumed, Stored::whole(stored));
                let outcome = self.carry_out_read(planned, &key, stored);
                outcome.map(|outcome| Action::FromStorageDone { op, outcome })
            }
            _ => Some(Action::ToStorageDone { op, outcome: Err(unexpected()) }),
        };
        match is_parked {
            Some(done) => self.actions.push_back(done),
            None => {
                self.held.insert(op, Box::new(Held { key, value }));
            }
        }
    }

    /// Ends a parked operation with an error.
    pub(super) fn fail(&mut self, op: OpId, error: TransformError) {
        if let Some(parked) = self.parked.get(op)
            && let Some(Unfinished { resource, direction, prefix }) = unfinished(&parked.operation)
        {
            self.counts.transformation(&resource, direction, &prefix, status(Some(&error)));
        }
        match self.parked.remove(op) {
            Some(Parked { operation: Operation::Health(mut health), .. }) => {
                // A provider that has not answered counts as unhealthy.
                let unanswered = health.waiting.iter().map(|id| (*id, error.message.clone()));
                health.faults.extend(unanswered);
                let checks = self.checks(&health.set, &health.faults);
                self.actions.push_back(Action::HealthDone { op, checks });
            }
            Some(parked) => {
                self.parked.insert(op, parked);
                self.resume(op, Resumed::Failed(error));
            }
            None => {}
        }
    }

    /// Counts a parked read or write that ends before its transformer has returned a result.
    pub(super) fn count_unfinished(&mut self, operation: &Operation, status: &'static str) {
        if let Some(Unfinished { resource, direction, prefix }) = unfinished(operation) {
            self.counts.transformation(&resource, direction, &prefix, status);
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

    pub(super) fn begun_now(&self) -> Begun {
        Begun { generation: self.running_generation(), at: self.now }
    }

    /// Parks an operation.
    pub(super) fn park(&mut self, op: OpId, wait: Wait, begun: Begun, operation: Operation) {
        let provider = match wait {
            Wait::Priming(id) | Wait::Probe(id) => Some(id),
            Wait::Dek(call) | Wait::EncryptedDek(call) => {
                self.calls.get(&call).map(|call| call.provider)
            }
            Wait::Probes | Wait::Caller => None,
        };
        self.parked.insert(op, Parked { wait, provider, begun, operation, resumed: None });
    }
}

/// How a parked operation that does not end normally is counted.
struct Unfinished {
    resource: alloc::sync::Arc<str>,
    direction: Direction,
    prefix: alloc::sync::Arc<str>,
}

fn unfinished(operation: &Operation) -> Option<Unfinished> {
    let (target, direction, transformer) = match operation {
        Operation::Write(WriteOperation { target, .. }) => {
            (target, Direction::ToStorage, target.list.first())
        }
        Operation::Read(read) => {
            let transformer = read.target.list.get(read.progress.next);
            (&read.target, Direction::FromStorage, transformer)
        }
        Operation::Health(_) => return None,
    };
    let prefix = transformer?.prefix.clone();
    Some(Unfinished { resource: target.label.clone(), direction, prefix })
}

/// Returns the error of a state that cannot occur.
fn unexpected() -> TransformError {
    TransformError::new(ErrorKind::Internal, "the engine lost track of a value".to_string())
}
