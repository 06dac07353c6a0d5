//! The encryption configuration: reads a file and returns a valid configuration, or every error in it.
//!
//! Accepts what kube-apiserver's `--encryption-provider-config` accepts and refuses what it refuses, with its
//! messages. Deliberate differences are marked `MUST DIFFER`.
//!
//! ```text
//! bytes ─ yaml ─▶ tree ─ decode ─▶ fields ─ validate ─▶ Config
//!          └ budgets      └ unknown, duplicate,  └ upstream's rules
//!                           wrong type
//! ```
//!
//! The operator writes the file, but its content is not trusted: no file may cause a panic, and no secret in it may appear in a message.

mod decimal;
mod decode;
mod duration;
mod endpoint;
mod fault;
mod field_name;
mod lint;
mod raw;
mod render;
pub mod resource;
mod scalar;
mod secret;
mod show;
#[cfg(test)]
mod tests;
mod tree;
mod url;
mod validate;
mod yaml;

pub use fault::{Faults, Finding, Position, Report};
pub(crate) use render::quoted;
pub use resource::GroupResource;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;
use secret::Secrets;
use zeroize::Zeroizing;

/// A valid configuration: at least one rule, each with at least one resource and one provider.
#[derive(Debug)]
pub struct Config {
    /// One rule for each element of `resources`, in the order of the file. If two rules name the same
    /// resource, the providers of the earlier rule come first.
    pub rules: Vec<Rule>,
}

/// One element of `resources`.
#[derive(Debug)]
pub struct Rule {
    /// The resources that the rule applies to. Wildcards are kept as they are.
    pub resources: Vec<GroupResource>,
    /// The providers, in the order of the file. The first encrypts new values; all of them can decrypt.
    pub providers: Vec<Provider>,
}

/// A provider.
#[derive(Debug)]
pub enum Provider {
    /// A KMS plugin.
    Kms(KmsProvider),
    /// AES-GCM with keys of 16, 24 or 32 bytes.
    AesGcm(Vec<NamedKey>),
    /// AES-CBC with keys of 16, 24 or 32 bytes.
    AesCbc(Vec<NamedKey>),
    /// XSalsa20-Poly1305 with keys of 32 bytes.
    Secretbox(Vec<NamedKey>),
    /// No encryption: values are stored as plaintext.
    Identity,
}

/// A key of a local provider. The first key of a provider encrypts new values.
pub struct NamedKey {
    /// The key's name, which is stored before each value. Not empty.
    pub name: String,
    /// The decoded key. Its length is valid for the provider.
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, secret: _ } = self;
        f.debug_struct("NamedKey").field("name", name).field("secret", &format_args!("..")).finish()
    }
}

/// The configuration of a KMS plugin, with defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsProvider {
    /// The version of the plugin's API; v1 by default.
    pub version: KmsVersion,
    /// The provider's name, which is stored before each value. Not empty; for v2 also unique and without `:`.
    pub name: String,
    /// The endpoint, as written in the file.
    pub endpoint: String,
    /// The address of the socket that `endpoint` names.
    pub address: SocketAddress,
    /// The deadline of one call. Greater than zero; 3 s by default.
    pub timeout: Duration,
    /// The number of DEKs to cache; v1 only. Not zero; a negative number disables the cache; 1000 by default.
    pub cache_size: Option<i32>,
}

impl KmsProvider {
    /// Returns the prefix of the provider's values, such as `k8s:enc:kms:v2:my-kms:`.
    pub fn prefix(&self) -> String {
        alloc::format!("k8s:enc:kms:{}:{}:", self.version.name(), self.name)
    }
}

/// The version of a KMS plugin's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KmsVersion {
    /// `v1beta1.KeyManagementService`.
    V1,
    /// `v2.KeyManagementService`.
    V2,
}

impl KmsVersion {
    /// Returns the version as it appears in the file and in stored values: `v1` or `v2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// The address of a unix socket: 1 to 107 bytes, without NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// A path in the file system.
    Path(String),
    /// A name in Linux' abstract namespace, without the `@` that the file writes before it.
    Abstract(String),
}

impl Config {
    /// Parses and validates `bytes`. `reload` adds the rule that automatic reload requires: names of v1 providers must also be unique.
    ///
    /// # Errors
    /// Returns every error in the syntax, the fields and their values; see [`Faults`].
    ///
    /// ```
    /// use dekker_core::config::Config;
    ///
    /// let file = b"
    /// apiVersion: apiserver.config.k8s.io/v1
    /// kind: EncryptionConfiguration
    /// resources:
    /// - resources: [secrets]
    ///   providers:
    ///   - kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///run/kms.sock'}
    /// ";
    /// let faults = Config::load(file, false).unwrap_err();
    /// assert_eq!(
    ///     faults.to_string(),
    ///     "resources[0].providers[0].kms.name: Invalid value: \"a:b\": \
    ///      invalid KMS provider name a:b, must not contain ':'"
    /// );
    /// assert_eq!(faults.iter().next().unwrap().position.unwrap().to_string(), "7:33");
    /// ```
    pub fn load(bytes: &[u8], reload: bool) -> Result<Self, Faults> {
        let Reading { config, report } = Reading::of(bytes, reload);
        match config {
            Some(config) if report.faults.is_empty() => Ok(config),
            Some(_) | None => Err(Faults::new(report.faults)),
        }
    }
}

/// Reports the errors that [`Config::load`] would return for `bytes`, and warnings about settings that are allowed but probably unintended.
#[must_use]
pub fn check(bytes: &[u8], reload: bool) -> Report {
    Reading::of(bytes, reload).report
}

/// Formats the configuration in `bytes` as YAML, with defaults filled in and each secret replaced by `REDACTED`.
///
/// # Errors
/// Returns the errors of the file, as [`Config::load`] without reload.
pub fn show(bytes: &[u8]) -> Result<String, Faults> {
    let config = Config::load(bytes, false)?;
    let mut text = show::show(&config);
    Secrets::of_text(bytes).hide(&mut text);
    Ok(text)
}

/// The result of reading one file as far as possible.
struct Reading {
    config: Option<Config>,
    report: Report,
}

impl Reading {
    fn of(bytes: &[u8], reload: bool) -> Self {
        let mut secrets = Secrets::of_text(bytes);
        let mut report = Report::default();
        let mut config = None;
        match yaml::parse(bytes) {
            Err(fault) => report.faults.push(fault),
            Ok(document) => {
                secrets.add_tree(&document.root);
                if let Some(raw) = decode::decode(&document.root, &mut report.faults) {
                    config = Some(validate::validate(&raw, reload, &mut report.faults));
                    report.warnings = lint::lint(&raw);
                }
                if let Some(at) = document.second {
                    let message = "only the first document of the file is read";
                    report.warnings.push(Finding::file(message, Some(at)));
                }
            }
        }
        secrets.hide_in(&mut report.faults);
        secrets.hide_in(&mut report.warnings);
        Self { config, report }
    }
}
