//! The tools of a component, which need no engine. Each call runs in a fresh instance, except those of a [`ValueInspector`].

use dekker_cli::Like;

use wasmtime::Store;

use super::bindings::Transformer;
use super::{Component, ConfigFinding, State, Trap, arm};
use crate::model::{Decrypted, Encrypted, TransformError};

/// An instance that describes stored values.
pub(crate) struct ValueInspector {
    store: Store<State>,
    bindings: Transformer,
}

impl ValueInspector {
    /// Describes a stored value. `prefixes` are those of a configuration. Returns JSON, or why the value is damaged. After a trap, the instance is
    /// unusable.
    pub(crate) fn inspect(
        &mut self,
        stored: &[u8],
        prefixes: &[String],
    ) -> Result<Result<String, String>, Trap> {
        arm(&mut self.store);
        let tools = self.bindings.dekker_transformer_tools();
        tools.call_inspect_with(&mut self.store, stored, prefixes)
    }
}

impl Component {
    /// Creates an instance that describes one value after another.
    pub(crate) fn inspector(&self) -> Result<ValueInspector, Trap> {
        let (store, _, bindings) = self.instantiate()?;
        Ok(ValueInspector { store, bindings })
    }

    /// Returns the prefix of the values of each key and KMS provider in a configuration.
    pub(crate) fn value_prefixes(
        &self,
        config: &[u8],
    ) -> Result<Result<Vec<String>, Vec<ConfigFinding>>, Trap> {
        let (mut store, _, bindings) = self.instantiate()?;
        bindings.dekker_transformer_tools().call_value_prefixes(&mut store, config)
    }

    /// Reports all errors and warnings in a configuration, with positions.
    pub(crate) fn check_config(
        &self,
        config: &[u8],
        reload: bool,
    ) -> Result<Vec<ConfigFinding>, Trap> {
        let (mut store, _, bindings) = self.instantiate()?;
        bindings.dekker_transformer_tools().call_check_config(&mut store, config, reload)
    }

    /// Decrypts a KMS value with its DEK.
    pub(crate) fn open_with_dek(
        &self,
        stored: &[u8],
        key: &[u8],
        dek: &[u8],
    ) -> Result<Result<Decrypted, TransformError>, Trap> {
        let (mut store, _, bindings) = self.instantiate()?;
        let opened =
            bindings.dekker_transformer_tools().call_open_with_dek(&mut store, stored, key, dek)?;
        Ok(opened.map(Into::into).map_err(Into::into))
    }

    /// Encrypts a value with the DEK of another value, `like`.
    pub(crate) fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: Like<'_>,
        dek: &[u8],
    ) -> Result<Result<Encrypted, TransformError>, Trap> {
        let (mut store, _, bindings) = self.instantiate()?;
        let sealed = bindings.dekker_transformer_tools().call_seal_with_dek(
            &mut store,
            plaintext,
            key,
            like.stored,
            like.key,
            dek,
        )?;
        Ok(sealed.map(Into::into).map_err(Into::into))
    }

    /// Returns a configuration with its defaults filled in and its secrets redacted.
    pub(crate) fn show_config(
        &self,
        config: &[u8],
    ) -> Result<Result<String, Vec<ConfigFinding>>, Trap> {
        let (mut store, _, bindings) = self.instantiate()?;
        bindings.dekker_transformer_tools().call_show_config(&mut store, config)
    }
}
