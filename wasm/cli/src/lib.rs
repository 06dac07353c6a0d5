//! The commands that `dekker` and `dekker.wasm` share: their arguments, input and output.
//!
//! The commands use the engine through [`Tools`]. The native binary implements it with its component, `dekker.wasm` with dekker-core. Both
//! therefore take the same arguments and print the same bytes.
//!
//! Exit codes: 0 for success, 1 for an error, 2 for wrong usage.

pub mod config_command;
#[cfg(test)]
mod core_engine;
pub mod decrypt_command;
pub mod encrypt_warning;
mod found;
mod input;
pub mod inspect_command;
pub mod io;
pub mod key_help;
#[cfg(test)]
mod slow_pipe;
pub mod transform_args;

use std::fmt;

use zeroize::Zeroizing;

/// Tools that need no KMS plugin and no running engine.
pub trait Tools {
    /// Describes a stored value, as a JSON object. `prefixes` are those of a configuration: they decide where a name ends that contains colons.
    ///
    /// # Errors
    /// Returns an outer error if the engine fails. The inner error is a JSON object too: what is wrong with the value, and what is known of it.
    fn inspect(&self, stored: &[u8], prefixes: &[String])
    -> anyhow::Result<Result<String, String>>;

    /// Returns the prefix of the values of each key and KMS provider in a configuration, such as `k8s:enc:aescbc:v1:key1:`. Uses no key.
    ///
    /// # Errors
    /// Returns an outer error if the engine fails. The inner error contains all errors of the configuration.
    fn value_prefixes(&self, config: &[u8]) -> anyhow::Result<Result<Vec<String>, Vec<Finding>>>;

    /// Returns all errors and warnings for a configuration.
    ///
    /// # Errors
    /// Returns an error if the engine fails.
    fn check_config(&self, config: &[u8], reload: bool) -> anyhow::Result<Vec<Finding>>;

    /// Returns a configuration with its defaults filled in and its secrets redacted.
    ///
    /// # Errors
    /// Returns an outer error if the engine fails. The inner error contains all errors of the configuration.
    fn show_config(&self, config: &[u8]) -> anyhow::Result<Result<String, Vec<Finding>>>;

    /// Decrypts a KMS v1 or v2 value with its DEK or seed, without the plugin. `key` is the storage key.
    ///
    /// # Errors
    /// Returns an error if the value is not a KMS value, if it does not open with this DEK, or if the engine fails.
    fn open_with_dek(&self, stored: &[u8], key: &[u8], dek: &[u8]) -> anyhow::Result<Opened>;

    /// Encrypts a value with the DEK or seed of `like`, an existing KMS v2 value that `dek` must open.
    ///
    /// # Errors
    /// Returns an error if `like` is not a KMS v2 value, if it does not open with this DEK, or if the engine fails.
    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: Like<'_>,
        dek: &[u8],
    ) -> anyhow::Result<Opened>;
}

/// Decrypts stored values.
pub trait Decryptor {
    /// Decrypts one value.
    ///
    /// # Errors
    /// Returns an outer error if no other value can be decrypted either, for example because the server cannot be reached. The inner error says why
    /// this value cannot be decrypted.
    fn decrypt(
        &mut self,
        at: Location<'_>,
        stored: &[u8],
    ) -> anyhow::Result<anyhow::Result<Opened>>;

    /// Decrypts several values. The results have the order of the values, and each is what [`decrypt`](Self::decrypt) would return.
    ///
    /// # Errors
    /// Returns an outer error if no other value can be decrypted either.
    fn decrypt_many(
        &mut self,
        values: &[(Location<'_>, &[u8])],
    ) -> anyhow::Result<Vec<anyhow::Result<Opened>>> {
        values.iter().map(|(at, stored)| self.decrypt(*at, stored)).collect()
    }

    /// Returns what is known about the cause of an error that [`decrypt`](Self::decrypt) returned for a value, and its remedy. Called once for each
    /// value that cannot be decrypted.
    fn help(&mut self, error: &anyhow::Error, at: Location<'_>, stored: &[u8]) -> Vec<String> {
        let _ = (error, at, stored);
        Vec::new()
    }
}

/// Where a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location<'a> {
    /// The resource and its group: `secrets`, `deployments.apps`.
    pub resource: &'a str,
    /// The full storage key.
    pub key: &'a [u8],
}

/// An existing stored value. The new value gets its provider, key ID, encrypted DEK source and annotations.
#[derive(Clone, Copy)]
pub struct Like<'a> {
    /// The stored bytes.
    pub stored: &'a [u8],
    /// The storage key of the value.
    pub key: &'a [u8],
}

/// The result of encrypting or decrypting a value.
pub struct Opened {
    /// The plaintext, or the bytes to store.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Whether a write would now produce something else. `None` if this is unknown.
    pub stale: Option<bool>,
    /// How the value differs from what a write would produce. `None` if this is unknown, and for a value that was just encrypted.
    pub state: Option<ValueState>,
    /// `sha256:<hex>` of the key ID. Only for KMS v2.
    pub key_id_hash: Option<String>,
}

impl Opened {
    /// Returns a value that was just encrypted, or one whose state only a plugin could determine.
    pub fn without_state(bytes: Zeroizing<Vec<u8>>, key_id_hash: Option<String>) -> Self {
        Self { bytes, stale: None, state: None, key_id_hash }
    }
}

/// How a stored value differs from what a write would produce now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueState {
    /// It does not differ.
    Fresh,
    /// A write would use the same key, but the other kind of DEK source.
    OtherSource,
    /// A write would use another provider or another key.
    Stale,
}

impl ValueState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Fresh, Self::OtherSource, Self::Stale];

    /// Returns the name: `fresh`, `other-source` or `stale`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::OtherSource => "other-source",
            Self::Stale => "stale",
        }
    }

    /// Returns the state with this name.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// An error or warning for a configuration file. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether this is a warning. Warnings do not make the file invalid.
    pub is_warning: bool,
    /// The field, such as `resources[0].providers[1].kms.endpoint`; empty if the finding concerns the whole file.
    pub path: String,
    /// The message in upstream's wording.
    pub message: String,
    /// The line and column, counted from 1, if the finding has a position in the file.
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

/// Returns one sentence that contains all errors.
pub fn not_valid(faults: &[Finding]) -> String {
    let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
    format!("the file is not a valid encryption configuration: {}", faults.join("; "))
}
