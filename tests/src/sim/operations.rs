//! Reads, writes, health checks and reloads, and their results.

use dekker_core::engine::event::Check;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};

use super::{Harness, Read};
use crate::face::Finding;

impl Harness {
    fn op(&mut self) -> u64 {
        self.next_op += 1;
        self.next_op
    }

    /// Begins a write; [`Self::written`] returns its result.
    pub fn begin_write(&mut self, resource: &str, key: impl AsRef<[u8]>, plaintext: &[u8]) -> u64 {
        let op = self.op();
        let key = key.as_ref();
        let at = Location { resource, key };
        if let Some(outcome) = self.face.to_storage(op, at, plaintext, self.now) {
            self.note(outcome.as_ref().err());
            self.writes.insert(op, outcome);
        }
        self.settle();
        op
    }

    /// Begins a read; [`Self::was_read`] returns its result.
    pub fn begin_read(&mut self, resource: &str, key: impl AsRef<[u8]>, stored: &[u8]) -> u64 {
        let op = self.op();
        let key = key.as_ref();
        let at = Location { resource, key };
        if let Some(outcome) = self.face.from_storage(op, at, stored, self.now) {
            self.note(outcome.as_ref().err());
            self.reads.insert(op, outcome);
        }
        self.settle();
        op
    }

    /// Begins a health check; [`Self::checked`] returns its result.
    pub fn begin_health(&mut self) -> u64 {
        let op = self.op();
        if let Some(checks) = self.face.health(op, self.now) {
            self.note_checks(&checks);
            self.checks.insert(op, checks);
        }
        self.settle();
        op
    }

    /// Cancels a parked operation.
    pub fn cancel(&mut self, op: u64) {
        self.face.cancel(op);
        self.settle();
    }

    /// Returns the result of a write, once.
    pub fn written(&mut self, op: u64) -> Option<Result<Encrypted, TransformError>> {
        self.writes.remove(&op)
    }

    /// Returns the result of a read, once.
    pub fn was_read(&mut self, op: u64) -> Option<Result<Read, TransformError>> {
        let read = |decrypted: Decrypted| Read {
            plaintext: decrypted.plaintext.expose().to_vec(),
            stale: decrypted.is_stale(),
            state: decrypted.state,
            prefix: decrypted.transformer_prefix.to_string(),
        };
        self.reads.remove(&op).map(|outcome| outcome.map(read))
    }

    /// Returns the result of a health check, once.
    pub fn checked(&mut self, op: u64) -> Option<Vec<Check>> {
        self.checks.remove(&op)
    }

    /// Runs a write that completes without time passing.
    ///
    /// # Errors
    /// Returns the error of the write.
    ///
    /// # Panics
    /// Panics if the write is parked.
    pub fn try_write(
        &mut self,
        resource: &str,
        key: impl AsRef<[u8]>,
        plaintext: &[u8],
    ) -> Result<Vec<u8>, TransformError> {
        let op = self.begin_write(resource, key, plaintext);
        let outcome = self.written(op).expect("an answer at once");
        outcome.map(|encrypted| encrypted.stored)
    }

    /// Runs a read that completes without time passing.
    ///
    /// # Errors
    /// Returns the error of the read.
    ///
    /// # Panics
    /// Panics if the read is parked.
    pub fn try_read(
        &mut self,
        resource: &str,
        key: impl AsRef<[u8]>,
        stored: &[u8],
    ) -> Result<Read, TransformError> {
        let op = self.begin_read(resource, key, stored);
        self.was_read(op).expect("an answer at once")
    }

    /// Writes a secret.
    ///
    /// # Panics
    /// Panics if the write fails or is parked.
    pub fn write(&mut self, key: &str, plaintext: &[u8]) -> Vec<u8> {
        self.try_write("secrets", key, plaintext).expect("a write")
    }

    /// Reads a secret.
    ///
    /// # Panics
    /// Panics if the read fails or is parked.
    pub fn read(&mut self, key: &str, stored: &[u8]) -> Read {
        self.try_read("secrets", key, stored).expect("a read")
    }

    /// Runs a health check that completes without time passing.
    ///
    /// # Panics
    /// Panics if the check is parked.
    pub fn health(&mut self) -> Vec<Check> {
        let op = self.begin_health();
        self.checked(op).expect("an answer at once")
    }

    /// Runs a health check and returns the error of its only provider.
    ///
    /// # Panics
    /// Panics unless there is exactly one check.
    pub fn fault(&mut self) -> Option<String> {
        let [check] = <[Check; 1]>::try_from(self.health()).expect("one check");
        check.fault
    }

    /// Offers a changed file.
    ///
    /// # Errors
    /// Returns every error in the file.
    pub fn reload(&mut self, config: &str) -> Result<(), Vec<Finding>> {
        let outcome = self.face.reload(config.as_bytes(), self.now);
        match &outcome {
            Ok(generation) => self.undecided.push(*generation),
            Err(faults) => self.texts.extend(faults.iter().map(ToString::to_string)),
        }
        self.settle();
        outcome.map(drop)
    }

    /// Lists what the running configuration reads and this one would not.
    ///
    /// # Errors
    /// Returns every error in the file.
    pub fn unreadable_after(&mut self, config: &str) -> Result<Vec<String>, Vec<Finding>> {
        self.face.unreadable_after(config.as_bytes())
    }

    /// Returns `/statusz`, parsed.
    ///
    /// # Panics
    /// Panics if it is not JSON.
    pub fn status(&mut self) -> serde_json::Value {
        let status = self.face.status(self.now);
        self.texts.push(status.clone());
        serde_json::from_str(&status).expect("JSON")
    }

    /// Returns the sum of a metric's samples that have all of these labels; 0 if there are none.
    pub fn metric(&mut self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let metrics = self.face.metrics();
        self.texts.push(format!("{metrics:?}"));
        let has = |own: &[(String, String)], (name, value): &(&str, &str)| {
            own.iter().any(|(n, v)| n == name && v == value)
        };
        let samples = metrics.get(name).into_iter().flatten();
        samples
            .filter(|(own, _)| labels.iter().all(|label| has(own, label)))
            .map(|(_, value)| value)
            .sum()
    }
}
