//! KMS values whose DEK is at hand: for a person who has the DEK and no plugin to ask.
//!
//! Nothing here knows a configuration or asks a plugin, and nothing is cached.

use alloc::format;
use alloc::string::{String, ToString};

use super::message::{Annotations, EncryptedDekSource, key_id_hash};
use super::v1;
use super::v2::envelope::{EncryptedObject, EnvelopeTail};
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyStore, NONCE_LEN, TAG_LEN};
use crate::crypto::nonce::extended;
use crate::crypto::secret::Secret;
use crate::provider::transformer::{Decrypted, Encrypted, ErrorKind, TransformError};

const V1: &str = "k8s:enc:kms:v1:";
const V2: &str = "k8s:enc:kms:v2:";

/// A KMS value, taken apart.
enum Parts<'a> {
    V1 { sealed: &'a [u8] },
    V2(EncryptedObject<'a>),
}

/// Takes a stored value apart: its prefix, with the provider's name in it, and the rest.
fn parts(stored: &[u8]) -> Result<(&str, Parts<'_>), TransformError> {
    let malformed = |message: String| TransformError::new(ErrorKind::Malformed, message);
    let version = [V1, V2]
        .into_iter()
        .find(|version| stored.starts_with(version.as_bytes()))
        .ok_or_else(|| {
            let message = "the value is none of KMS: only those have a DEK of their own";
            TransformError::new(ErrorKind::NoMatchingPrefix, message.to_string())
        })?;
    let name_end = stored
        .iter()
        .skip(version.len())
        .position(|byte| *byte == b':')
        .ok_or_else(|| malformed("the provider's name has no end".to_string()))?;
    let (prefix, rest) = stored.split_at(version.len() + name_end + 1);
    let prefix = core::str::from_utf8(prefix)
        .map_err(|_| malformed("the provider's name is not UTF-8".to_string()))?;
    let parts = if version == V1 {
        let (_, sealed) = v1::split(rest)
            .ok_or_else(|| malformed("the encrypted DEK is longer than the value".to_string()))?;
        Parts::V1 { sealed }
    } else {
        Parts::V2(EncryptedObject::decode(rest).map_err(|error| malformed(error.to_string()))?)
    };
    Ok((prefix, parts))
}

/// Decrypts a value of KMS v1 or v2 with its DEK or seed. `key` is the storage key. All bytes but the DEK are attacker-controlled; this does
/// not panic.
///
/// Whether it is stale only a plugin can tell, but for one thing: what KMS v1 wrote before Kubernetes 1.25 is.
///
/// # Errors
/// [`ErrorKind::NoMatchingPrefix`] when it is none of KMS, [`ErrorKind::Malformed`], and [`ErrorKind::DecryptFailed`] for another DEK,
/// another key and altered bytes alike.
pub fn open(
    stored: &[u8],
    key: &[u8],
    dek: &Secret,
    keys: &dyn KeyStore,
) -> Result<Decrypted, TransformError> {
    let (prefix, parts) = parts(stored)?;
    let (plaintext, stale, key_id_hash) = match parts {
        Parts::V1 { sealed } => {
            let (plaintext, stale) = v1::read_dek(keys, dek)?.open(key, sealed)?;
            (plaintext, stale, None)
        }
        Parts::V2(object) => {
            let plaintext = keys
                .import(object.source_type, dek)?
                .open(key, object.encrypted_data)?;
            (plaintext, false, Some(key_id_hash(object.key_id).into()))
        }
    };
    Ok(Decrypted {
        plaintext,
        stale,
        transformer_prefix: prefix.into(),
        key_id_hash,
        key_prefix: None,
        has_rule: true,
    })
}

/// Encrypts a value with the DEK or seed of another one of KMS v2, whose provider, key ID, encrypted DEK source and annotations it gets.
///
/// The other one is opened first, with its own storage key: a value under a DEK that its envelope does not name could never be read again.
/// What nonces the DEK's owner used is not known, so this one is random: 96 bits, or for a seed 256 of derivation and 96 of nonce.
///
/// # Errors
/// As [`open`]; [`ErrorKind::NoMatchingPrefix`] also for KMS v1, which has a DEK for each value.
pub fn seal(
    plaintext: &[u8],
    key: &[u8],
    like: (&[u8], &[u8]),
    dek: &Secret,
    with: (&dyn KeyStore, &dyn Entropy),
) -> Result<Encrypted, TransformError> {
    let (keys, entropy) = with;
    let (like, like_key) = like;
    let (prefix, Parts::V2(object)) = parts(like)? else {
        let message = "the value to be like is not of KMS v2: only there do values share a DEK";
        return Err(TransformError::new(
            ErrorKind::NoMatchingPrefix,
            message.to_string(),
        ));
    };
    open(like, like_key, dek, keys).map_err(|error| {
        let message = format!("the value to be like: {}", error.message);
        TransformError::new(error.kind, message)
    })?;
    let annotations = object
        .annotations
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_vec()))
        .collect::<Annotations>();
    let source = EncryptedDekSource::new(
        object.encrypted_dek_source.to_vec(),
        object.key_id,
        annotations,
    )
    .map_err(|error| TransformError::new(ErrorKind::Malformed, error.to_string()))?;
    let sealing = keys.import_sealing(object.source_type, dek)?;
    let header = match object.source_type {
        DekSourceType::AesGcmKey => {
            let mut nonce = [0; NONCE_LEN];
            entropy.fill(&mut nonce)?;
            nonce.to_vec()
        }
        DekSourceType::HkdfSha256XnonceAesGcmSeed => extended(entropy)
            .map_err(|error| TransformError::new(ErrorKind::Internal, error.to_string()))?
            .to_vec(),
    };
    let tail = EnvelopeTail::new(&source, object.source_type);
    let sealed_len = header.len() + plaintext.len() + TAG_LEN;
    let stored = tail.around(prefix.as_bytes(), &header, sealed_len, |envelope| {
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
