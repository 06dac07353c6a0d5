//! The tools of the embedded component.

use std::path::Path;

use dekker_cli::{Finding, Like, Opened, Tools};
use zeroize::Zeroizing;

use crate::guest::{Component, ConfigFinding, MEMORY_MAX, Severity};

/// The compiled component.
pub(super) struct Compiled(Component);

impl Compiled {
    pub(super) fn new() -> anyhow::Result<Self> {
        Self::of(Component::embedded(MEMORY_MAX))
    }

    /// Compiles the component in a file, or loads the embedded one.
    pub(super) fn from_file(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            Some(path) => {
                let bytes = super::serve::read_component(path)?;
                Self::of(Component::compile(&bytes, MEMORY_MAX))
            }
            None => Self::new(),
        }
    }

    fn of(component: wasmtime::Result<Component>) -> anyhow::Result<Self> {
        component.map(Self).map_err(|error| anyhow::anyhow!("{error:#}"))
    }
}

fn failed(error: wasmtime::Error) -> anyhow::Error {
    anyhow::anyhow!("the component failed on this input: {error:#}")
}

fn finding(finding: ConfigFinding) -> Finding {
    let ConfigFinding { severity, path, message, line, column } = finding;
    Finding { is_warning: severity == Severity::Warning, path, message, position: line.zip(column) }
}

impl Tools for Compiled {
    fn inspect_input(&self, input: &[u8]) -> anyhow::Result<Result<String, String>> {
        self.0.inspect_input(input).map_err(failed)
    }

    fn check_config(&self, config: &[u8], reload: bool) -> anyhow::Result<Vec<Finding>> {
        let findings = self.0.check_config(config, reload).map_err(failed)?;
        Ok(findings.into_iter().map(finding).collect())
    }

    fn show_config(&self, config: &[u8]) -> anyhow::Result<Result<String, Vec<Finding>>> {
        let shown = self.0.show_config(config).map_err(failed)?;
        Ok(shown.map_err(|faults| faults.into_iter().map(finding).collect()))
    }

    fn open_with_dek(&self, stored: &[u8], key: &[u8], dek: &[u8]) -> anyhow::Result<Opened> {
        let opened = self.0.open_with_dek(stored, key, dek).map_err(failed)??;
        Ok(Opened {
            bytes: opened.plaintext.into_zeroizing(),
            stale: None,
            state: None,
            key_id_hash: opened.key_id_hash,
        })
    }

    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: Like<'_>,
        dek: &[u8],
    ) -> anyhow::Result<Opened> {
        let sealed = self.0.seal_with_dek(plaintext, key, like, dek).map_err(failed)??;
        Ok(Opened {
            bytes: Zeroizing::new(sealed.stored),
            stale: None,
            state: None,
            key_id_hash: sealed.key_id_hash,
        })
    }
}
