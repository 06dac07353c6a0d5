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

mod base64;
mod decimal;
mod decode;
mod duration;
mod endpoint;
mod fault;
mod field_name;
mod hint;
mod kms_provider;
mod lint;
mod raw;
mod render;
pub mod resource;
mod rule;
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
pub use kms_provider::{KmsProvider, KmsVersion, SocketAddress};
pub(crate) use render::quoted;
pub use resource::GroupResource;
pub use rule::{Config, NamedKey, Provider, Rule};

use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;
use raw::RawConfig;
use secret::Secrets;
use tree::Node;

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
        let Reading { config, faults, .. } = Reading::of(bytes, reload);
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            Some(_) | None => Err(Faults::new(faults)),
        }
    }
}

/// Reports the errors that [`Config::load`] would return for `bytes`, and warnings: settings that are allowed but probably unintended, and hints at what
/// was probably meant where there is an error.
#[must_use]
pub fn check(bytes: &[u8], reload: bool) -> Report {
    let reading = Reading::of(bytes, reload);
    Report { warnings: reading.warnings(bytes), faults: reading.faults }
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
    /// The document, if the text could be parsed.
    root: Option<Rc<Node>>,
    /// The fields, if the document is an encryption configuration.
    raw: Option<RawConfig>,
    config: Option<Config>,
    faults: Vec<Finding>,
    /// Where a second document begins.
    second: Option<Position>,
    secrets: Secrets,
}

impl Reading {
    fn of(bytes: &[u8], reload: bool) -> Self {
        let mut reading = Self {
            root: None,
            raw: None,
            config: None,
            faults: Vec::new(),
            second: None,
            secrets: Secrets::of_text(bytes),
        };
        let faults = &mut reading.faults;
        match yaml::parse(bytes) {
            Err(fault) => faults.push(fault),
            Ok(document) => {
                reading.secrets.add_tree(&document.root);
                reading.raw = decode::decode(&document.root, faults);
                reading.config =
                    reading.raw.as_ref().map(|raw| validate::validate(raw, reload, faults));
                reading.second = document.second;
                reading.root = Some(document.root);
            }
        }
        reading.secrets.hide_in(&mut reading.faults);
        reading
    }

    fn warnings(&self, bytes: &[u8]) -> Vec<Finding> {
        let mut warnings = match &self.root {
            Some(root) => hint::of_tree(root, self.raw.is_some()),
            None => hint::of_text(bytes),
        };
        if let Some(raw) = &self.raw {
            lint::lint(raw, &mut warnings);
        }
        if let Some(at) = self.second {
            let message = "only the first document of the file is read";
            warnings.push(Finding::file(message, Some(at)));
        }
        self.secrets.hide_in(&mut warnings);
        warnings
    }
}
