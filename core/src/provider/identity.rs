//! The identity provider, which stores plaintext.

use alloc::string::ToString;
use alloc::sync::Arc;

use super::error::{ErrorKind, TransformError};
use super::prefix;
use super::transformer::{
    Failed, LocalRead, LocalTransformer, LocalWritten, Transform, Transformer,
};
use crate::crypto::entropy::Entropy;
use crate::crypto::secret::Secret;

/// Stores plaintext unchanged, and refuses to read a value that begins with `k8s:enc:`. Upstream: encrypt/identity/identity.go.
#[derive(Clone, Copy, Debug)]
pub struct Identity;

impl LocalTransformer for Identity {
    fn to_storage(
        &self,
        _key: &[u8],
        plaintext: &[u8],
        _entropy: &dyn Entropy,
        _failed: Failed<'_>,
    ) -> Result<LocalWritten, TransformError> {
        Ok(LocalWritten { value: plaintext.to_vec(), key_prefix: None })
    }

    fn from_storage(
        &self,
        _key: &[u8],
        stored: &[u8],
        _failed: Failed<'_>,
    ) -> Result<LocalRead, TransformError> {
        if stored.starts_with(prefix::ENCRYPTED.as_bytes()) {
            return Err(TransformError::new(
                ErrorKind::EncryptedData,
                "identity transformer tried to read encrypted data: no rule of the configuration says how this resource is decrypted".to_string(),
            ));
        }
        Ok(LocalRead { plaintext: Secret::new(stored.to_vec()), stale: false, key_prefix: None })
    }
}

impl Transformer {
    /// Returns the identity transformer, which stores plaintext.
    pub fn identity() -> Self {
        Self { prefix: "".into(), transform: Transform::Local(Arc::new(Identity)) }
    }
}
