//! Encryption and decryption of single KMS values with a DEK that the caller provides, for use without a plugin.
//!
//! This module uses no configuration, calls no plugin and caches nothing.

use alloc::format;
use alloc::string::{String, ToString};

use super::message::{EncryptedDekSource, key_id_hash};
use super::v1::{self, EncryptedDek};
use super::v2::envelope::{EncryptedObject, EnvelopeError, frame};
use crate::config::KmsVersion;
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyStore, TAG_LEN};
use crate::crypto::nonce::Nonce;
use crate::crypto::secret::Secret;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::annotations::Annotations;
use crate::provider::prefix;
use crate::provider::stored::Stored;
use crate::provider::value::{Decrypted, Encrypted};

/// An existing KMS v2 value, whose DEK or seed encrypts another value.
#[derive(Clone, Copy, Debug)]
pub struct Like<'a> {
    /// The stored bytes.
    pub stored: &'a [u8],
    /// The value's storage key.
    pub key: &'a [u8],
}

/// A parsed KMS value.
enum Parts<'a> {
    V1 { sealed: &'a [u8] },
    V2(EncryptedObject<'a>),
}

/// Splits a stored value into its prefix, which includes the provider's name, and the rest, and parses the rest.
fn parts(stored: &[u8]) -> Result<(&str, Parts<'_>), TransformError> {
    let malformed = |message: String| TransformError::new(ErrorKind::Malformed, message);
    let version = [KmsVersion::V1, KmsVersion::V2]
        .into_iter()
        .find(|version| stored.starts_with(prefix::kms(*version).as_bytes()))
        .ok_or_else(|| {
            let message = "not a KMS value: only KMS values have their own DEK";
            TransformError::new(ErrorKind::NoMatchingPrefix, message.to_string())
        })?;
    let name_end = stored
        .iter()
        .skip(prefix::kms(version).len())
        .position(|byte| *byte == b':')
        .ok_or_else(|| malformed("the provider's name does not end with ':'".to_string()))?;
    let (prefix, rest) = stored.split_at(prefix::kms(version).len() + name_end + 1);
    let prefix = core::str::from_utf8(prefix)
        .map_err(|_| malformed("the provider's name is not UTF-8".to_string()))?;
    let parts = match version {
        KmsVersion::V1 => {
            // All bytes are here.
            let split = EncryptedDek::of(Stored::whole(rest)).ok().flatten();
            let sealed = split.and_then(|split| rest.get(split.sealed)).ok_or_else(|| {
                malformed("the encrypted DEK is longer than the value".to_string())
            })?;
            Parts::V1 { sealed }
        }
        KmsVersion::V2 => {
            let object = EncryptedObject::decode(rest);
            let at_prefix = |error: EnvelopeError| error.after(prefix.len()).to_string();
            Parts::V2(object.map_err(|error| malformed(at_prefix(error)))?)
        }
    };
    Ok((prefix, parts))
}

/// Decrypts a value of KMS v1 or v2 with its DEK or seed. `key` is the storage key. All input except the DEK is attacker-controlled; this function
/// does not panic.
///
/// The state of a KMS v2 value is unknown, because only the plugin knows the key that a write would use.
///
/// # Errors
/// Returns [`ErrorKind::NoMatchingPrefix`] if the value is not a KMS value, [`ErrorKind::Malformed`] if it cannot be parsed,
/// [`ErrorKind::DecryptFailed`] if the DEK or the storage key is wrong or the bytes were altered, and [`ErrorKind::Internal`] if the length of the
/// DEK is invalid.
pub fn open(
    stored: &[u8],
    key: &[u8],
    dek: &Secret,
    keys: &dyn KeyStore,
) -> Result<Decrypted, TransformError> {
    let (prefix, parts) = parts(stored)?;
    let (plaintext, state, key_id_hash) = match parts {
        Parts::V1 { sealed } => {
            let opened = v1::v1_dek(keys, dek)?.open(key, sealed)?;
            (opened.plaintext, Some(v1::state(opened.is_cbc)), None)
        }
        Parts::V2(object) => {
            let plaintext =
                keys.import(object.source_type, dek)?.open(key, object.encrypted_data)?;
            (plaintext, None, Some(key_id_hash(object.key_id).into()))
        }
    };
    Ok(Decrypted {
        plaintext,
        state,
        transformer_prefix: prefix.into(),
        key_id_hash,
        key_prefix: None,
        has_rule: true,
    })
}

/// Encrypts a value with the DEK or seed of an existing KMS v2 value. The new value has the same provider, key ID, encrypted DEK source and
/// annotations.
///
/// `like` is the existing value. It is decrypted first, because a value whose envelope does not name its DEK could never be read
/// again. The nonces that the DEK's owner used are not known, so the new value gets a random one: 96 bits for a DEK, or 256 bits of derivation info
/// and a nonce of 96 bits for a seed.
///
/// # Errors
/// The same as for [`open`]. Also returns [`ErrorKind::NoMatchingPrefix`] if the existing value is of KMS v1, where each value has a separate DEK,
/// and [`ErrorKind::Internal`] if the cipher or the source of randomness fails.
pub fn seal(
    plaintext: &[u8],
    key: &[u8],
    like: Like<'_>,
    dek: &Secret,
    keys: &dyn KeyStore,
    entropy: &dyn Entropy,
) -> Result<Encrypted, TransformError> {
    let (prefix, Parts::V2(object)) = parts(like.stored)? else {
        let message = "the `like` value is not a KMS v2 value: only KMS v2 values can share a DEK";
        return Err(TransformError::new(ErrorKind::NoMatchingPrefix, message.to_string()));
    };
    open(like.stored, like.key, dek, keys).map_err(|error| {
        let message = format!("the `like` value: {}", error.message);
        TransformError::new(error.kind, message)
    })?;
    let annotations = object
        .annotations
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_vec()))
        .collect::<Annotations>();
    let source =
        EncryptedDekSource::new(object.encrypted_dek_source.to_vec(), object.key_id, annotations)
            .map_err(|error| TransformError::new(ErrorKind::Malformed, error.to_string()))?;
    let sealing = keys.import_sealing(object.source_type, dek)?;
    let nonce = match object.source_type {
        DekSourceType::AesGcmKey => Nonce::RANDOM,
        DekSourceType::HkdfSha256XnonceAesGcmSeed => Nonce::EXTENDED,
    };
    let header = nonce.header(entropy)?;
    let frame = frame(prefix, &source, object.source_type);
    let stored = frame.around(&header, plaintext.len() + TAG_LEN, |envelope| {
        sealing.seal(envelope, key, plaintext)
    })?;
    Ok(Encrypted {
        stored,
        transformer_prefix: prefix.into(),
        key_id_hash: Some(source.key_id().hash().clone()),
        key_prefix: None,
        has_rule: true,
    })
}
