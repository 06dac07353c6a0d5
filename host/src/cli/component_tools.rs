//! The tools of the embedded component.

use std::cell::RefCell;
use std::path::Path;

use anyhow::Context;
use dekker_cli::{Finding, Like, Opened, Tools};
use zeroize::Zeroizing;

use crate::guest::{Component, ConfigFinding, MEMORY_MAX, Severity, ValueInspector};

/// Reads the component in a file.
pub(super) fn read_component(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read the component {}", path.display()))
}

/// The compiled component.
pub(super) struct Compiled {
    component: Component,
    /// The instance that describes values, once there is one.
    inspector: RefCell<Option<ValueInspector>>,
}

impl Compiled {
    pub(super) fn new() -> anyhow::Result<Self> {
        Self::of(Component::embedded(MEMORY_MAX))
    }

    /// Compiles the component in a file, or loads the embedded one.
    pub(super) fn from_file(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            Some(path) => {
                let bytes = read_component(path)?;
                Self::of(Component::compile(&bytes, MEMORY_MAX))
            }
            None => Self::new(),
        }
    }

    fn of(component: wasmtime::Result<Component>) -> anyhow::Result<Self> {
        let component = component.map_err(|error| anyhow::anyhow!("{error:#}"))?;
        Ok(Self { component, inspector: RefCell::default() })
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
    fn inspect(
        &self,
        stored: &[u8],
        prefixes: &[String],
    ) -> anyhow::Result<Result<String, String>> {
        let mut instance = self.inspector.borrow_mut();
        let inspector = match instance.take() {
            Some(inspector) => inspector,
            None => self.component.inspector().map_err(failed)?,
        };
        // After a trap, the next value gets another instance.
        let inspector = instance.insert(inspector);
        match inspector.inspect(stored, prefixes) {
            Ok(outcome) => Ok(outcome),
            Err(trap) => {
                *instance = None;
                Err(failed(trap))
            }
        }
    }

    fn value_prefixes(&self, config: &[u8]) -> anyhow::Result<Result<Vec<String>, Vec<Finding>>> {
        let prefixes = self.component.value_prefixes(config).map_err(failed)?;
        Ok(prefixes.map_err(|faults| faults.into_iter().map(finding).collect()))
    }

    fn check_config(&self, config: &[u8], reload: bool) -> anyhow::Result<Vec<Finding>> {
        let findings = self.component.check_config(config, reload).map_err(failed)?;
        Ok(findings.into_iter().map(finding).collect())
    }

    fn show_config(&self, config: &[u8]) -> anyhow::Result<Result<String, Vec<Finding>>> {
        let shown = self.component.show_config(config).map_err(failed)?;
        Ok(shown.map_err(|faults| faults.into_iter().map(finding).collect()))
    }

    fn open_with_dek(&self, stored: &[u8], key: &[u8], dek: &[u8]) -> anyhow::Result<Opened> {
        let opened = self.component.open_with_dek(stored, key, dek).map_err(failed)??;
        Ok(Opened::without_state(
            opened.plaintext.into_zeroizing(),
            opened.key_id_hash.as_deref().map(str::to_owned),
        ))
    }

    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: Like<'_>,
        dek: &[u8],
    ) -> anyhow::Result<Opened> {
        let sealed = self.component.seal_with_dek(plaintext, key, like, dek).map_err(failed)??;
        Ok(Opened::without_state(
            Zeroizing::new(sealed.stored),
            sealed.key_id_hash.as_deref().map(str::to_owned),
        ))
    }
}
