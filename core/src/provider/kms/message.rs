//! The values of the KMS protocol and their limits. [`KeyId`] and [`EncryptedDekSource`] are valid by construction.
//!
//! Upstream: kmsv2/envelope.go, the `validate…` functions.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::annotations::{Annotations, AnnotationsError, validate_annotations};
use crate::sha256;

/// The maximum length of a key ID, 1 KiB: upstream's KeyIDMaxSize.
pub const KEY_ID_MAX: usize = 1024;
/// The maximum length of an encrypted DEK source, 1 KiB: upstream's encryptedDEKSourceMaxSize.
pub const ENCRYPTED_DEK_SOURCE_MAX: usize = 1024;

/// Returns `sha256:<hex>` of a key ID, the only form in which a key ID is shown. Returns an empty string for an empty key ID.
pub fn key_id_hash(key_id: &str) -> String {
    if key_id.is_empty() { String::new() } else { sha256::text(key_id.as_bytes()) }
}

/// The ID of a plugin's key encryption key: 1 to 1024 bytes. Its `Debug` output is the hash.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyId {
    text: String,
    hash: Arc<str>,
}

impl KeyId {
    /// Returns the key ID in clear text: pass it to the plugin or store it, but never show it to a person.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns `sha256:<hex>` of the key ID.
    pub fn hash(&self) -> &Arc<str> {
        &self.hash
    }
}

impl TryFrom<&str> for KeyId {
    type Error = MessageError;

    fn try_from(text: &str) -> Result<Self, MessageError> {
        validate_key_id(text)?;
        Ok(Self { text: text.to_string(), hash: key_id_hash(text).into() })
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({})", self.hash)
    }
}

/// Checks the length of a key ID.
///
/// # Errors
/// Returns [`MessageError::KeyIdEmpty`] or [`MessageError::KeyIdTooLong`].
pub fn validate_key_id(text: &str) -> Result<(), MessageError> {
    match text.len() {
        0 => Err(MessageError::KeyIdEmpty),
        1..=KEY_ID_MAX => Ok(()),
        len => Err(MessageError::KeyIdTooLong { len }),
    }
}

/// Checks the length of an encrypted DEK source.
///
/// # Errors
/// Returns [`MessageError::EncryptedDekSourceEmpty`] or [`MessageError::EncryptedDekSourceTooLong`].
pub fn validate_encrypted_dek_source(bytes: &[u8]) -> Result<(), MessageError> {
    match bytes.len() {
        0 => Err(MessageError::EncryptedDekSourceEmpty),
        1..=ENCRYPTED_DEK_SOURCE_MAX => Ok(()),
        len => Err(MessageError::EncryptedDekSourceTooLong { len }),
    }
}

/// A DEK source that the plugin encrypted, with everything that the plugin needs to decrypt it. Valid by construction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedDekSource {
    ciphertext: Vec<u8>,
    key_id: KeyId,
    annotations: Annotations,
}

impl EncryptedDekSource {
    /// Creates an encrypted DEK source from its three parts.
    ///
    /// # Errors
    /// Returns an error if one of the parts violates its limits.
    pub fn new(
        ciphertext: Vec<u8>,
        key_id: &str,
        annotations: Annotations,
    ) -> Result<Self, MessageError> {
        validate_encrypted_dek_source(&ciphertext)?;
        let key_id = KeyId::try_from(key_id)?;
        validate_annotations(annotations.iter())?;
        Ok(Self { ciphertext, key_id, annotations })
    }

    /// Returns the encrypted DEK or seed.
    pub fn ciphertext(&self) -> &[u8] {
        &self.ciphertext
    }

    /// Returns the ID of the key that encrypted it.
    pub fn key_id(&self) -> &KeyId {
        &self.key_id
    }

    /// Returns the plugin's annotations.
    pub fn annotations(&self) -> &Annotations {
        &self.annotations
    }
}

/// An error in a plugin's answer or in the envelope of a stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MessageError {
    /// The key ID is empty.
    KeyIdEmpty,
    /// The key ID is longer than [`KEY_ID_MAX`].
    KeyIdTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The encrypted DEK source is empty.
    EncryptedDekSourceEmpty,
    /// The encrypted DEK source is longer than [`ENCRYPTED_DEK_SOURCE_MAX`].
    EncryptedDekSourceTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The annotations violate their limits.
    Annotations(AnnotationsError),
}

impl From<AnnotationsError> for MessageError {
    fn from(error: AnnotationsError) -> Self {
        Self::Annotations(error)
    }
}

impl fmt::Display for MessageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyIdEmpty => f.write_str("keyID is empty"),
            Self::KeyIdTooLong { len } => {
                write!(f, "keyID is {len} bytes, which exceeds the max size of {KEY_ID_MAX}")
            }
            Self::EncryptedDekSourceEmpty => f.write_str(
                "failed to validate encrypted DEK source: encrypted DEK source is empty",
            ),
            Self::EncryptedDekSourceTooLong { len } => write!(
                f,
                "failed to validate encrypted DEK source: encrypted DEK source is {len} bytes, which exceeds the max size of {ENCRYPTED_DEK_SOURCE_MAX}"
            ),
            Self::Annotations(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for MessageError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Annotations(error) => Some(error),
            Self::KeyIdEmpty
            | Self::KeyIdTooLong { .. }
            | Self::EncryptedDekSourceEmpty
            | Self::EncryptedDekSourceTooLong { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_to_the_byte() {
        let table = [
            ("a key ID of one byte", validate_key_id("k"), Ok(())),
            ("an empty key ID", validate_key_id(""), Err(MessageError::KeyIdEmpty)),
            ("the longest key ID", validate_key_id(&"k".repeat(1024)), Ok(())),
            (
                "one byte more",
                validate_key_id(&"k".repeat(1025)),
                Err(MessageError::KeyIdTooLong { len: 1025 }),
            ),
            ("the longest source", validate_encrypted_dek_source(&[1; 1024]), Ok(())),
            (
                "one byte more",
                validate_encrypted_dek_source(&[1; 1025]),
                Err(MessageError::EncryptedDekSourceTooLong { len: 1025 }),
            ),
            (
                "no source",
                validate_encrypted_dek_source(&[]),
                Err(MessageError::EncryptedDekSourceEmpty),
            ),
        ];
        for (desc, given, expected) in table {
            assert_eq!(given, expected, "{desc}");
        }
    }

    #[test]
    fn only_an_error_of_the_annotations_is_a_source() {
        use core::error::Error as _;
        let error = MessageError::Annotations(AnnotationsError::TooLong { len: 1 });
        assert!(error.source().is_some_and(|source| source.is::<AnnotationsError>()));
        assert!(MessageError::KeyIdEmpty.source().is_none());
    }

    #[test]
    fn key_id_prints_as_its_hash() {
        let key_id = KeyId::try_from("1").unwrap();
        assert_eq!(
            &**key_id.hash(),
            "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
        );
        assert!(!alloc::format!("{key_id:?}").contains("\"1\""));
    }
}
