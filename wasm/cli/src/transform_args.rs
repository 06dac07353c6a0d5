//! The arguments and the output of `encrypt`, and the DEK from a file that replaces a plugin for `encrypt` and `decrypt`.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use zeroize::Zeroizing;

use crate::io::read_input;
use crate::{Decryptor, Like, Location, Opened, Tools, ValueState};

/// Where a value is stored.
#[derive(Args)]
pub struct Place {
    /// The resource and its group, such as `secrets` or `deployments.apps`
    #[arg(long, required_unless_present = "dek_file", default_value = "")]
    pub resource: String,
    /// The full storage key, such as `/registry/secrets/default/token`; the value is bound to it
    #[arg(long)]
    pub key: OsString,
}

impl Place {
    /// Returns the bytes of the storage key.
    pub fn key(&self) -> &[u8] {
        self.key.as_encoded_bytes()
    }
}

/// Encryption with a DEK from a file.
#[derive(Args)]
pub struct SealWith {
    /// A file with the DEK or seed of the KMS v2 value in --like, to encrypt without the plugin: raw bytes, hex or base64
    #[arg(long, value_name = "FILE", requires = "like")]
    pub dek_file: Option<PathBuf>,
    /// An existing stored value of this DEK; the new value gets its provider, key ID, encrypted DEK and annotations
    #[arg(long, value_name = "FILE", requires = "dek_file")]
    pub like: Option<PathBuf>,
    /// The storage key of the existing value [default: the storage key of the new value]
    #[arg(long, value_name = "KEY", requires = "like")]
    pub like_key: Option<OsString>,
}

/// Decrypts KMS values with the DEK in a file.
pub(crate) struct WithDek<'t> {
    tools: &'t dyn Tools,
    dek: Zeroizing<Vec<u8>>,
}

impl<'t> WithDek<'t> {
    /// Reads the DEK.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read or contains no DEK.
    pub(crate) fn read(tools: &'t dyn Tools, dek_file: &Path) -> anyhow::Result<Self> {
        Ok(Self { tools, dek: read_dek(dek_file)? })
    }

    #[cfg(test)]
    pub(crate) fn new(tools: &'t dyn Tools, dek: Vec<u8>) -> Self {
        Self { tools, dek: Zeroizing::new(dek) }
    }
}

impl Decryptor for WithDek<'_> {
    fn decrypt(
        &mut self,
        at: Location<'_>,
        stored: &[u8],
    ) -> anyhow::Result<anyhow::Result<Opened>> {
        Ok(self.tools.open_with_dek(stored, at.key, &self.dek))
    }
}

/// Encrypts standard input with the DEK in a file, and writes the value to standard output.
///
/// # Errors
/// Returns the error of [`Tools::seal_with_dek`], or an error if reading the input or writing the output fails.
pub fn encrypt_with_dek(
    tools: &dyn Tools,
    place: &Place,
    dek_file: &Path,
    with: &SealWith,
) -> anyhow::Result<ExitCode> {
    let dek = read_dek(dek_file)?;
    let like = with.like.as_deref().context("--dek-file requires --like")?;
    let stored = read_input(Some(like))?;
    let like = Like {
        stored: &stored,
        key: match &with.like_key {
            Some(key) => key.as_encoded_bytes(),
            None => place.key(),
        },
    };
    let plaintext = read_input(None)?;
    let sealed = tools.seal_with_dek(&plaintext, place.key(), like, &dek)?;
    finish(&sealed, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// The explanation of the state `other-source`.
const OTHER_SOURCE: &str = "The key is the one that a write would use, so no key rotation is pending; only the kind of DEK source is not the one that \
     this engine creates (see `dekker serve --dek-source`).";

/// Writes the bytes to `out`, and staleness and key ID hash to standard error.
///
/// # Errors
/// Returns an error if the output cannot be written.
pub fn finish(opened: &Opened, out: &mut dyn Write) -> anyhow::Result<()> {
    let written = out.write_all(&opened.bytes).and_then(|()| out.flush());
    written.context("cannot write to standard output")?;
    if let Some(stale) = opened.stale {
        eprintln!("stale: {stale}");
    }
    // For the other states, the line above says the same.
    if let Some(state @ ValueState::OtherSource) = opened.state {
        eprintln!("state: {}\n{OTHER_SOURCE}", state.name());
    }
    if let Some(hash) = &opened.key_id_hash {
        eprintln!("key ID hash: {hash}");
    }
    Ok(())
}

/// The lengths at which the file is taken as the DEK or seed itself: those of AES keys, and of the seeds that upstream generates.
const RAW: [usize; 3] = [16, 24, 32];

fn read_dek(path: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    parse_dek(read_input(Some(path))?).with_context(|| path.display().to_string())
}

/// Parses a DEK or seed: 16, 24 or 32 raw bytes, or any DEK or seed in hex or base64.
fn parse_dek(bytes: Zeroizing<Vec<u8>>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    if RAW.contains(&bytes.len()) {
        return Ok(bytes);
    }
    let text = bytes.trim_ascii();
    hex(text)
        .or_else(|| STANDARD.decode(text).ok().map(Zeroizing::new))
        .filter(|dek| !dek.is_empty())
        .context(
            "expected a DEK of 16, 24 or 32 bytes or a seed of at least 32 bytes: raw, in hex or in base64",
        )
}

fn hex(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let digit = |digit: u8| char::from(digit).to_digit(16);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() / 2));
    for pair in text.chunks(2) {
        let [high, low] = pair else { return None };
        bytes.push((digit(*high)? * 16 + digit(*low)?) as u8);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dek_is_accepted_raw_and_as_hex_or_base64() {
        let dek = [0xa5; 32];
        let hex: String = dek.iter().map(|byte| format!("{byte:02X}")).collect();
        let table = [
            ("raw", dek.to_vec(), Some(32)),
            ("a short DEK", vec![1; 16], Some(16)),
            ("hex", format!("{hex}\n").into_bytes(), Some(32)),
            ("base64", STANDARD.encode(dek).into_bytes(), Some(32)),
            (
                "base64 and a line break",
                format!("{}\r\n", STANDARD.encode(dek)).into_bytes(),
                Some(32),
            ),
            ("nothing", vec![], None),
            ("white space", b" \n".to_vec(), None),
            ("half a byte", b"abc".to_vec(), None),
            ("neither", b"a5a5-".to_vec(), None),
        ];
        for (desc, bytes, expected) in table {
            let parsed = parse_dek(Zeroizing::new(bytes)).ok();
            assert_eq!(parsed.map(|dek| dek.len()), expected, "{desc}");
        }
    }

    #[test]
    fn a_dek_never_reaches_a_message() {
        let error = parse_dek(Zeroizing::new(b"hunter2!".to_vec())).unwrap_err();
        assert!(!format!("{error:#}").contains("hunter"));
    }
}
