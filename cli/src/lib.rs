//! The commands that `dekker` and `dekker.wasm` share: their arguments, their input and their output.
//!
//! What a command asks of the engine goes through [`Tools`]: the native binary answers from its component, `dekker.wasm` from dekker-core.
//! So both take the same arguments and print the same bytes.
//!
//! Exit codes: 0 done, 1 a fault, 2 wrong usage.

pub mod config;
pub mod inspect;
pub mod io;
pub mod value;

use std::fmt;

use zeroize::Zeroizing;

/// What needs no KMS plugin and no running engine.
pub trait Tools {
    /// Tells what a value is, in whatever form people have it: a JSON array with an element for each value.
    ///
    /// # Errors
    /// The outer error when the engine failed; the inner one says what is wrong with the input.
    fn inspect_input(&self, input: &[u8]) -> anyhow::Result<Result<String, String>>;

    /// Every fault of a configuration, and what a person may want to know of it.
    ///
    /// # Errors
    /// When the engine failed.
    fn check_config(&self, config: &[u8], reload: bool) -> anyhow::Result<Vec<Finding>>;

    /// A configuration with its defaults filled in and its secrets redacted.
    ///
    /// # Errors
    /// The outer error when the engine failed; the inner one is every fault of the configuration.
    fn show_config(&self, config: &[u8]) -> anyhow::Result<Result<String, Vec<Finding>>>;

    /// Decrypts a value of KMS v1 or v2 with its DEK or seed, without the plugin. `key` is the storage key.
    ///
    /// # Errors
    /// When the value is none of KMS, the DEK is another, or the engine failed.
    fn open_with_dek(&self, stored: &[u8], key: &[u8], dek: &[u8]) -> anyhow::Result<Opened>;

    /// Encrypts a value with the DEK or seed of another value of KMS v2, which it must open.
    ///
    /// # Errors
    /// When the other value is none of KMS v2 or does not open, or the engine failed.
    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: Like<'_>,
        dek: &[u8],
    ) -> anyhow::Result<Opened>;
}

/// A stored value that another one is to be like: of the same provider, key ID, DEK source and annotations.
#[derive(Clone, Copy)]
pub struct Like<'a> {
    /// What is stored.
    pub stored: &'a [u8],
    /// Its storage key.
    pub key: &'a [u8],
}

/// What encrypting or decrypting gave.
pub struct Opened {
    /// Plaintext, or what is to be stored.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether a write would produce something else now; `None` where there is nothing to tell it by.
    pub stale: Option<bool>,
    /// `sha256:<hex>` of the key ID; KMS v2 only.
    pub key_id_hash: Option<String>,
}

/// A fault of a configuration file or a remark on it. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A remark that makes no file invalid.
    pub is_warning: bool,
    /// `resources[0].providers[1].kms.endpoint`; empty where it concerns the file as a whole.
    pub path: String,
    /// Upstream's words.
    pub message: String,
    /// Line and column, from 1, where it has a place.
    pub position: Option<(u32, u32)>,
}

/// `12:7: resources[0].providers[1].kms.endpoint: Invalid value: …`
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All faults in one sentence.
pub fn not_valid(faults: &[Finding]) -> String {
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    format!(
        "the file is not a valid encryption configuration: {}",
        faults.join("; ")
    )
}
