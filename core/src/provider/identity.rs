//! The identity provider, which stores plaintext.

use alloc::string::ToString;

use super::error::{ErrorKind, TransformError};
use super::prefix;
use super::stored::{Missing, Stored};
use super::transformer::{Transform, Transformer};

/// Returns the error of a value that begins with `k8s:enc:` and is therefore no plaintext. Upstream: encrypt/identity/identity.go.
///
/// # Errors
/// Returns an error if that depends on bytes that are not here.
pub fn check(stored: Stored<'_>) -> Result<Result<(), TransformError>, Missing> {
    if stored.starts_with(prefix::ENCRYPTED.as_bytes())? {
        return Ok(Err(TransformError::new(
            ErrorKind::EncryptedData,
            "identity transformer tried to read encrypted data: no rule of the configuration says how this resource is decrypted".to_string(),
        )));
    }
    Ok(Ok(()))
}

impl Transformer {
    /// Returns the identity transformer, which stores plaintext.
    pub fn identity() -> Self {
        Self { prefix: "".into(), transform: Transform::Identity }
    }
}
