//! What may happen next.

use std::time::Duration;

use dekker_core::engine::event::{CallError, CallId, Event, OpId};
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::provider::transformer::Location;

use super::{At, Expected, Open, Worker, World, check_read, files, no_key_id};
use crate::bytes::Bytes;

/// A write: of which resource, under which key, and what.
pub(in crate::engine) const WRITE: u8 = 0;
/// A read of something that was written.
pub(in crate::engine) const READ: u8 = 1;
/// A read of an altered value, or under another key.
pub(in crate::engine) const ALTERED: u8 = 2;
/// A read of any bytes.
const ANY: u8 = 3;
/// A health check.
pub(in crate::engine) const HEALTH: u8 = 4;
/// A right answer to one call.
pub(in crate::engine) const ANSWER: u8 = 5;
/// A wrong answer to one call; perhaps a second one.
pub(in crate::engine) const WRONG: u8 = 6;
/// Right answers to all calls, and to those that follow.
pub(in crate::engine) const SETTLE: u8 = 7;
/// Seconds pass.
pub(in crate::engine) const WAIT: u8 = 8;
/// Seconds pass, and nobody calls.
pub(in crate::engine) const SLEEP: u8 = 9;
/// The plugins' keys are rotated.
pub(in crate::engine) const TURN: u8 = 10;
/// Another file.
pub(in crate::engine) const RELOAD: u8 = 11;
/// A snapshot was restored.
pub(in crate::engine) const RESTORE: u8 = 12;
/// The caller of an operation hangs up.
pub(in crate::engine) const CANCEL: u8 = 13;
/// A worker writes.
pub(in crate::engine) const WORKER_WRITE: u8 = 14;
/// A worker reads, and may be taught.
pub(in crate::engine) const WORKER_READ: u8 = 15;
/// The source of randomness fails, or does so no longer.
pub(in crate::engine) const ENTROPY: u8 = 16;
/// An answer to no call, and an operation's name that is in use.
const NONSENSE: u8 = 17;

/// More values than that are not kept.
const WRITTEN_MAX: usize = 48;
/// More operations than that are not open at once.
const OPEN_MAX: usize = 64;

impl World {
    pub(in crate::engine) fn step(&mut self, input: &mut Bytes<'_>) {
        match input.byte() % 18 {
            WRITE => self.write(input),
            READ => {
                if let Some((at, stored, plaintext)) = self.chosen(input) {
                    self.read(Expected::Perhaps(plaintext), &stored, at);
                }
            }
            ALTERED => {
                if let Some(((resource, mut key), mut stored, _)) = self.chosen(input) {
                    let at = usize::from(input.byte()) % stored.len().max(1);
                    let with = input.byte();
                    match stored.get_mut(at).filter(|_| with != 0) {
                        Some(byte) => *byte ^= with,
                        None => key[0] ^= 1,
                    }
                    self.read(Expected::Anything, &stored, (resource, key));
                }
            }
            ANY => {
                let resource = *input.pick(&files::RESOURCES);
                let prefixes = ["k8s:enc:kms:v2:a:", "k8s:enc:kms:v1:old:", "k8s:enc:", ""];
                let prefix = *input.pick(&prefixes);
                let stored = [prefix.as_bytes(), input.run()].concat();
                self.read(Expected::Anything, &stored, (resource, [0, 0]));
            }
            HEALTH if self.open.len() < OPEN_MAX => self.begin(Open::Health, &[], ("", [0, 0])),
            ANSWER if !self.calls.is_empty() => {
                let at = usize::from(input.byte()) % self.calls.len();
                let call = self.calls.remove(at);
                let event = self.plugins.answer(&call);
                self.tell(event);
            }
            WRONG if !self.calls.is_empty() => {
                let at = usize::from(input.byte()) % self.calls.len();
                let call = self.calls.remove(at);
                let event = self.plugins.wrong(&call, input);
                self.tell(event);
                if input.byte() & 1 != 0 {
                    // The same call once more: whoever came first has answered it.
                    let event = self.plugins.wrong(&call, input);
                    self.tell(event);
                }
            }
            SETTLE => self.settle(),
            WAIT => self.advance(Duration::from_secs(input.byte().into()), false),
            SLEEP => self.now = self.now + Duration::from_secs(input.byte().into()),
            TURN => {
                // Upstream's way never takes another version.
                let strict = self.options.coast == Coast::Strict;
                self.plugins.turn(input.byte(), strict);
            }
            RELOAD => self.reload(input),
            RESTORE => {
                self.watch.restored();
                self.tell(Event::Restored);
                self.publish();
            }
            CANCEL => {
                let at = usize::from(input.byte()) % self.open.len().max(1);
                if let Some(op) = self.open.keys().nth(at).copied() {
                    self.open.remove(&op);
                    self.engine.cancel(OpId(op));
                    self.drain();
                }
            }
            WORKER_WRITE => self.worker_write(input),
            WORKER_READ => self.worker_read(input),
            ENTROPY => self.entropy.fail(input.byte() & 1 != 0),
            NONSENSE => self.nonsense(input),
            _ => {}
        }
    }

    /// What was written, where, and what it says.
    fn chosen(&self, input: &mut Bytes<'_>) -> Option<(At, Vec<u8>, Vec<u8>)> {
        let which = usize::from(input.byte()) % self.written.len().max(1);
        let written = self.written.get(which)?;
        let at = (written.resource, written.key);
        Some((at, written.stored.clone(), written.plaintext.clone()))
    }

    fn value(input: &mut Bytes<'_>) -> (At, Vec<u8>) {
        let resource = *input.pick(&files::RESOURCES);
        let key = [b'/', input.byte() % 4];
        // As plaintext it would be refused if it began as an encrypted value does.
        ((resource, key), [b"plain: ", input.run()].concat())
    }

    fn write(&mut self, input: &mut Bytes<'_>) {
        let ((resource, key), plaintext) = Self::value(input);
        if self.open.len() + self.written.len() < WRITTEN_MAX {
            let open = Open::Write {
                resource,
                key,
                plaintext,
            };
            self.begin(open, &[], (resource, key));
        }
    }

    fn read(&mut self, expected: Expected, stored: &[u8], at: At) {
        if self.open.len() < OPEN_MAX {
            self.begin(Open::Read(expected), stored, at);
        }
    }

    fn reload(&mut self, input: &mut Bytes<'_>) {
        let some = files::some();
        let which = usize::from(input.byte()) % some.len();
        let valid = which != some.len() - 1;
        let lost = self.engine.unreadable_after(some[which].as_bytes());
        assert_eq!(lost.is_ok(), valid);
        match self.engine.reload(some[which].as_bytes(), self.now) {
            Ok(generation) => self.undecided.push(generation),
            Err(faults) => no_key_id(&faults.to_string()),
        }
        self.drain();
    }

    /// As a host does after each call: what workers must know before their next value.
    fn publish(&mut self) {
        for slot in &mut self.workers {
            if let Some(worker) = slot
                && !worker.catch_up(&mut self.engine)
            {
                *slot = None;
            }
        }
    }

    /// A worker that knows what is in use.
    fn worker(&mut self, input: &mut Bytes<'_>) -> usize {
        let which = usize::from(input.byte()) % self.workers.len();
        self.publish();
        if self.workers[which].is_none() && !self.entropy.is_failing() {
            let (options, watch, entropy) = (&self.options, &self.watch, &self.entropy);
            let worker = Worker::new(&self.engine, options, watch, entropy, self.now);
            self.workers[which] = Some(worker);
            self.publish();
        }
        self.drain();
        which
    }

    fn worker_write(&mut self, input: &mut Bytes<'_>) {
        let which = self.worker(input);
        let ((resource, key), plaintext) = Self::value(input);
        let Some(worker) = self.workers[which].as_mut() else {
            return;
        };
        let at = Location {
            resource,
            key: &key,
        };
        if self.written.len() < WRITTEN_MAX
            && let Some(done) = worker.engine.try_to_storage(at, &plaintext, self.now)
        {
            self.wrote(resource, key, plaintext, Ok(done));
        }
    }

    fn worker_read(&mut self, input: &mut Bytes<'_>) {
        let which = self.worker(input);
        let Some(((resource, key), stored, plaintext)) = self.chosen(input) else {
            return;
        };
        let Some(worker) = self.workers[which].as_mut() else {
            return;
        };
        let at = Location {
            resource,
            key: &key,
        };
        if input.byte() & 1 != 0
            && let Some(dek) = self.engine.known_dek(resource, &stored)
        {
            worker.engine.learn(resource, &stored, dek);
        }
        if let Some(read) = worker.engine.try_from_storage(at, &stored, self.now) {
            check_read(&Expected::Plaintext(plaintext), &Ok(read));
        }
    }

    fn nonsense(&mut self, input: &mut Bytes<'_>) {
        let call = CallId(input.byte().into());
        // One that waits would be answered, and its answer would be the right one of another kind.
        if self.calls.iter().all(|waiting| waiting.id != call) {
            let outcome = Err(CallError::deadline_exceeded());
            self.tell(Event::Decrypted { call, outcome });
        }
        if let Some((op, _)) = self.open.first_key_value() {
            let at = Location {
                resource: "secrets",
                key: b"/k",
            };
            let twice = self.engine.to_storage(OpId(*op), at, b"x", self.now);
            assert!(matches!(twice, Some(Err(_))), "its name is in use");
            self.drain();
        }
    }
}
