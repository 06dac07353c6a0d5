//! Errors in configuration files.

use std::fmt;

use crate::guest::ConfigFinding;

/// An error in a configuration file. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field's path, such as `resources[0].providers[1].kms.endpoint`; empty if the error concerns the whole file.
    pub path: String,
    /// The message, in upstream's words.
    pub message: String,
    /// Line and column, both starting at 1, if the error has a position.
    pub position: Option<(u32, u32)>,
}

impl From<&ConfigFinding> for Fault {
    fn from(finding: &ConfigFinding) -> Self {
        let ConfigFinding { severity: _, path, message, line, column } = finding;
        Self { path: path.clone(), message: message.clone(), position: line.zip(*column) }
    }
}

/// Formats as `12:7: resources[0].providers[1].kms.endpoint: Invalid value: …`.
impl fmt::Display for Fault {
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

/// Returns several configuration errors as one line.
pub(crate) fn describe(faults: &[ConfigFinding]) -> String {
    let faults: Vec<_> = faults.iter().map(|fault| Fault::from(fault).to_string()).collect();
    faults.join("; ")
}

/// Why a changed configuration file is not in use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file is not a valid configuration; contains all errors.
    Faults(Vec<Fault>),
    /// The file is valid but was refused: its KMS plugins did not become healthy in time, a newer file replaced it, or the engine failed in the
    /// meantime.
    Refused(String),
    /// The file was to replace a configuration that is no longer in use.
    Overtaken,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Faults(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                write!(f, "the file is not a valid encryption configuration: {}", faults.join("; "))
            }
            Self::Refused(why) => f.write_str(why),
            Self::Overtaken => f.write_str("another configuration took effect in the meantime"),
        }
    }
}

impl std::error::Error for ReloadError {}
