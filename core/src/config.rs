//! The encryption configuration: a file in; a valid configuration, or every fault, out.
//!
//! Reads what kube-apiserver's `--encryption-provider-config` reads and refuses what it refuses, with its
//! messages. Where this departs, the departure is marked `MUST DIFFER`.
//!
//! ```text
//! bytes ─ yaml ─▶ tree ─ decode ─▶ fields ─ validate ─▶ Config
//!          └ budgets      └ unknown, duplicate,  └ upstream's rules
//!                           wrong type
//! ```
//!
//! The file is the operator's, but nothing in it is trusted: it must not panic, and no secret in it may
//! reach a message.

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
    /// One per element of `resources`, in the file's order: earlier rules come first.
    pub rules: Vec<Rule>,
}

/// One element of `resources`.
#[derive(Debug)]
pub struct Rule {
    /// The resources it is for; wildcards stand for themselves.
    pub resources: Vec<GroupResource>,
    /// The providers, in the file's order: the first writes, all read.
    pub providers: Vec<Provider>,
}

/// One provider.
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
    /// Plaintext.
    Identity,
}

/// A local key; the first of a provider writes.
pub struct NamedKey {
    /// The name stored before each value; not empty.
    pub name: String,
    /// The decoded key: of a length that its provider takes.
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, secret: _ } = self;
        f.debug_struct("NamedKey")
            .field("name", name)
            .field("secret", &format_args!(".."))
            .finish()
    }
}

/// A KMS plugin's configuration, defaults filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsProvider {
    /// The plugin's API; v1 unless the file says otherwise.
    pub version: KmsVersion,
    /// The name stored before each value; not empty, and for v2 without `:` and unique.
    pub name: String,
    /// The endpoint as the file has it.
    pub endpoint: String,
    /// The socket that `endpoint` stands for.
    pub address: SocketAddress,
    /// The deadline of one call; more than zero, 3 s unless the file says otherwise.
    pub timeout: Duration,
    /// How many DEKs to keep: v1 only, not zero, negative to keep none, 1000 unless the file says otherwise.
    pub cache_size: Option<i32>,
}

impl KmsProvider {
    /// What its values begin with: `k8s:enc:kms:v2:my-kms:`.
    pub fn prefix(&self) -> String {
        alloc::format!("k8s:enc:kms:{}:{}:", self.version.name(), self.name)
    }
}

/// The API that a KMS plugin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KmsVersion {
    /// `v1beta1.KeyManagementService`.
    V1,
    /// `v2.KeyManagementService`.
    V2,
}

impl KmsVersion {
    /// As the file and stored values have it: `v1`, `v2`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// A unix socket's address, of 1 to 107 bytes without NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// A path in the file system.
    Path(String),
    /// A name in Linux' abstract namespace, without the `@` that marks it in the file.
    Abstract(String),
}

impl Config {
    /// Reads `bytes`; `reload` adds the rule that automatic reload needs: names of v1 providers are unique.
    ///
    /// # Errors
    /// Every fault, in the text, its fields and their values; see [`Faults`].
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

/// What [`Config::load`] would say of `bytes`, and what is allowed but probably not meant.
#[must_use]
pub fn check(bytes: &[u8], reload: bool) -> Report {
    Reading::of(bytes, reload).report
}

/// `bytes` as YAML with defaults filled in and each secret as `REDACTED`.
///
/// # Errors
/// The faults of the file, as for [`Config::load`] without reload.
pub fn show(bytes: &[u8]) -> Result<String, Faults> {
    let config = Config::load(bytes, false)?;
    let mut text = show::show(&config);
    Secrets::of_text(bytes).hide(&mut text);
    Ok(text)
}

/// One file read as far as it goes.
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
