//! Where decrypted values go.

use std::io::Write;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_forms::{Entry, Fault};
use zeroize::Zeroizing;

use super::location::Known;
use crate::Opened;
use crate::found::{fault_object, value_object};

/// A value after the attempt to decrypt it.
pub(super) struct Attempted<'e> {
    pub(super) known: Known<'e>,
    pub(super) outcome: anyhow::Result<Decrypted>,
}

/// A value that was decrypted.
pub(super) struct Decrypted {
    pub(super) opened: Opened,
    /// Sentences about the value, without those about its location.
    pub(super) notes: Vec<String>,
    /// Whether the plaintext begins as an encrypted value does.
    pub(super) is_encrypted_twice: bool,
}

/// What to do about a plaintext that is an encrypted value again.
pub(super) const ENCRYPTED_TWICE: &str = "the plaintext begins with k8s:enc:, so the value was encrypted twice: decrypt the plaintext too";

/// Takes the values of an input one by one.
pub(super) trait Sink {
    /// Takes a value. `ordinal` is its number in the input, from 1.
    fn value(&mut self, ordinal: u64, entry: &Entry, value: &Attempted<'_>) -> anyhow::Result<()>;
    fn fault(&mut self, fault: &Fault) -> anyhow::Result<()>;
    /// Writes what is still in memory.
    fn end(&mut self) -> anyhow::Result<()>;
}

/// A line with a JSON object for each value: the members of `inspect` that say what and where it is, `resource`, and `stale`, `keyIdHash` and
/// `plaintext`, in base64; or `error`.
pub(super) struct JsonLines<W>(pub(super) W);

const OUT: &str = "cannot write to standard output";

impl<W: Write> Sink for JsonLines<W> {
    fn value(&mut self, _: u64, entry: &Entry, value: &Attempted<'_>) -> anyhow::Result<()> {
        let Attempted { known, outcome } = value;
        let mut notes = known.notes.clone();
        if let Ok(decrypted) = outcome {
            notes.extend(decrypted.notes.iter().cloned());
            if decrypted.is_encrypted_twice {
                notes.push(ENCRYPTED_TWICE.to_owned());
            }
        }
        let mut object = value_object(entry, known.key, &notes);
        if let Some(resource) = &known.resource {
            object.put("resource", &**resource);
        }
        match outcome {
            Ok(Decrypted { opened: Opened { bytes, stale, key_id_hash }, .. }) => {
                if let Some(stale) = stale {
                    object.put("stale", *stale);
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

    fn end(&mut self) -> anyhow::Result<()> {
        self.0.flush().context(OUT)
    }
}
