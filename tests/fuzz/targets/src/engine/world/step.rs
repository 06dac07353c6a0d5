//! The steps of a history.

use std::time::Duration;

use dekker_core::Location;
use dekker_core::engine::event::{CallError, CallId, Event, OpId};
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::provider::stored::Stored;

use super::{At, Expected, Open, Worker, World, check_read, files, no_key_id};
use crate::bytes::Bytes;

/// A write: its resource, storage key and plaintext.
pub(in crate::engine) const WRITE: u8 = 0;
/// A read of a value that was written.
pub(in crate::engine) const READ: u8 = 1;
/// A read of an altered value, or with another storage key.
pub(in crate::engine) const ALTERED: u8 = 2;
/// A read of arbitrary bytes.
const ANY: u8 = 3;
/// A health check.
pub(in crate::engine) const HEALTH: u8 = 4;
/// A right answer to one call.
pub(in crate::engine) const ANSWER: u8 = 5;
/// A wrong answer to one call, and perhaps a second one.
pub(in crate::engine) const WRONG: u8 = 6;
/// Right answers to all calls, and to those that follow.
pub(in crate::engine) const SETTLE: u8 = 7;
/// Lets seconds pass.
pub(in crate::engine) const WAIT: u8 = 8;
/// Lets seconds pass without calling the engine.
pub(in crate::engine) const SLEEP: u8 = 9;
/// Rotates the plugins' keys.
pub(in crate::engine) const TURN: u8 = 10;
/// Reloads another file.
pub(in crate::engine) const RELOAD: u8 = 11;
/// Restores a snapshot.
pub(in crate::engine) const RESTORE: u8 = 12;
/// Cancels an operation.
pub(in crate::engine) const CANCEL: u8 = 13;
/// A write by a worker.
pub(in crate::engine) const WORKER_WRITE: u8 = 14;
/// A read by a worker, which may receive the DEK first.
pub(in crate::engine) const WORKER_READ: u8 = 15;
/// Makes the source of randomness fail, or work again.
pub(in crate::engine) const ENTROPY: u8 = 16;
/// An answer to a call that does not exist, and an operation with an ID that is in use.
const NONSENSE: u8 = 17;

/// The maximum number of values that are kept.
const WRITTEN_MAX: usize = 48;
/// The maximum number of open operations.
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
                self.report(event);
            }
            WRONG if !self.calls.is_empty() => {
                let at = usize::from(input.byte()) % self.calls.len();
                let call = self.calls.remove(at);
                let event = self.plugins.wrong(&call, input);
                self.report(event);
                if input.byte() & 1 != 0 {
                    // The same call again: the first answer counts.
                    let event = self.plugins.wrong(&call, input);
                    self.report(event);
                }
            }
            SETTLE => self.settle(),
            WAIT => self.advance(Duration::from_secs(input.byte().into()), false),
            SLEEP => self.now = self.now + Duration::from_secs(input.byte().into()),
            TURN => {
                // In upstream mode another version is never accepted.
                let strict = self.options.coast == Coast::Strict;
                self.plugins.turn(input.byte(), strict);
            }
            RELOAD => self.reload(input),
            RESTORE => {
                self.watch.restored();
                self.report(Event::Restored);
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

    /// Returns a written value with its location and its plaintext.
    fn chosen(&self, input: &mut Bytes<'_>) -> Option<(At, Vec<u8>, Vec<u8>)> {
        let which = usize::from(input.byte()) % self.written.len().max(1);
        let written = self.written.get(which)?;
        let at = (written.resource, written.key);
        Some((at, written.stored.clone(), written.plaintext.clone()))
    }

    fn value(input: &mut Bytes<'_>) -> (At, Vec<u8>) {
        let resource = *input.pick(&files::RESOURCES);
        let key = [b'/', input.byte() % 4];
        // The prefix keeps the plaintext from looking like an encrypted value, which would be refused where values are stored as plaintext.
        ((resource, key), [b"plain: ", input.run()].concat())
    }

    fn write(&mut self, input: &mut Bytes<'_>) {
        let ((resource, key), plaintext) = Self::value(input);
        if self.open.len() + self.written.len() < WRITTEN_MAX {
            let open = Open::Write { resource, key, plaintext };
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

    /// Does what a host does after each call: gives workers the state that they need before their next value.
    fn publish(&mut self) {
        for slot in &mut self.workers {
            if let Some(worker) = slot
                && !worker.catch_up(&mut self.engine)
            {
                *slot = None;
            }
        }
    }

    /// Returns a worker that is up to date.
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
        let at = Location { resource, key: &key };
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
        let at = Location { resource, key: &key };
        if input.byte() & 1 != 0
            && let Some(dek) = self.engine.known_dek(resource, &stored)
        {
            let learned = worker.engine.learn(resource, Stored::whole(&stored), dek);
            learned.expect("all bytes are here");
        }
        if let Some(read) = worker.engine.try_from_storage(at, &stored, self.now) {
            check_read(&Expected::Plaintext(plaintext), &Ok(read));
        }
    }

    fn nonsense(&mut self, input: &mut Bytes<'_>) {
        let call = CallId(input.byte().into());
        // Not for a call that still waits: this would answer it, with an event of the wrong kind.
        if self.calls.iter().all(|waiting| waiting.id != call) {
            let outcome = Err(CallError::deadline_exceeded());
            self.report(Event::Decrypted { call, outcome });
        }
        if let Some((op, _)) = self.open.first_key_value() {
            let at = Location { resource: "secrets", key: b"/k" };
            let twice = self.engine.to_storage(OpId(*op), at, b"x", self.now);
            assert!(matches!(twice, Some(Err(_))), "its name is in use");
            self.drain();
        }
    }
}
