//! The tools of a component, which need no engine. Each call runs in a fresh instance.

use dekker_cli::Like;

use super::{Component, ConfigFinding, Trap};
use crate::model::{Decrypted, Encrypted, TransformError};

impl Component {
    /// Describes the stored value in the input, which may be raw bytes, hex, base64 or the output of `etcdctl get -w json`. Returns JSON, or an error
    /// message if the input is invalid.
    pub(crate) fn inspect_input(&self, input: &[u8]) -> Result<Result<String, String>, Trap> {
        let (mut store, _, bindings) = self.instantiate()?;
        bindings.dekker_transformer_tools().call_inspect_input(&mut store, input)
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
