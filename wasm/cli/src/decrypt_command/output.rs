//! Where decrypted values go.

use std::io::Write;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_forms::{ENCRYPTED_PREFIX, Entry, Fault};
use zeroize::Zeroizing;

use super::location::PartialLocation;
use crate::Opened;
use crate::found::{fault_object, value_object};

/// A value after the attempt to decrypt it.
pub(super) struct Attempted<'e> {
    pub(super) location: PartialLocation<'e>,
    /// Sentences about the value and its location.
    pub(super) notes: Vec<String>,
    pub(super) outcome: anyhow::Result<Opened>,
}

impl Attempted<'_> {
    /// Whether the plaintext begins as an encrypted value does.
    pub(super) fn is_encrypted_twice(&self) -> bool {
        let opened = self.outcome.as_ref();
        opened.is_ok_and(|opened| opened.bytes.starts_with(ENCRYPTED_PREFIX))
    }
}

/// What to do about a plaintext that is an encrypted value again.
pub(super) const ENCRYPTED_TWICE: &str = "the plaintext begins with k8s:enc:, so the value was encrypted twice: decrypt the plaintext too";

/// Takes the values of an input one by one.
pub(super) trait Sink {
    /// Takes a value. `ordinal` is its number in the input, from 1.
    fn value(&mut self, ordinal: u64, entry: &Entry, value: &Attempted<'_>) -> anyhow::Result<()>;
    fn fault(&mut self, fault: &Fault) -> anyhow::Result<()>;
    /// Writes what is still in memory. Called before the command may wait for more input, and at the end.
    fn flush(&mut self) -> anyhow::Result<()>;
}

/// A line with a JSON object for each value: the members of `inspect` that say what and where it is, `resource`, and `stale`, `state`,
/// `keyIdHash` and `plaintext`, in base64; or `error`.
pub(super) struct JsonLines<W>(pub(super) W);

const OUT: &str = "cannot write to standard output";

impl<W: Write> Sink for JsonLines<W> {
    fn value(&mut self, _: u64, entry: &Entry, value: &Attempted<'_>) -> anyhow::Result<()> {
        let Attempted { location, notes, outcome } = value;
        let twice = value.is_encrypted_twice().then(|| ENCRYPTED_TWICE.to_owned());
        let notes: Vec<_> = notes.iter().cloned().chain(twice).collect();
        let mut object = value_object(entry, location.key, &notes);
        if let Some(resource) = &location.resource {
            object.put("resource", &**resource);
        }
        match outcome {
            Ok(Opened { bytes, stale, state, key_id_hash }) => {
                if let Some(stale) = stale {
                    object.put("stale", *stale);
                }
                if let Some(state) = state {
                    object.put("state", state.name());
                }
                if let Some(hash) = key_id_hash {
                    object.put("keyIdHash", hash.as_str());
                }
                // The plaintext is erased after it was written.
                let plaintext = Zeroizing::new(STANDARD.encode(bytes));
                let head = object.open_with("plaintext");
                writeln!(self.0, "{head}\"{}\"}}", *plaintext).context(OUT)
            }
            Err(error) => {
                object.put("error", format!("{error:#}"));
                writeln!(self.0, "{}", object.finish()).context(OUT)
            }
        }
    }

    fn fault(&mut self, fault: &Fault) -> anyhow::Result<()> {
        writeln!(self.0, "{}", fault_object(fault).finish()).context(OUT)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.0.flush().context(OUT)
    }
}
