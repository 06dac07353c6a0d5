//! Keys that live in the host: `dekker:crypto/keys`.
//!
//! Key bytes are in this component only between a plugin's response and [`KeyStore::import`], and between [`SealingKey::export`] and the call to
//! the plugin. The heap wipes them when they are freed. Core generates the nonces, as for every backend.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use dekker_core::crypto::entropy::Entropy;
use dekker_core::crypto::keys::{
    DekSourceType, Envelope, KeyError, KeyStore, LocalCipher, LocalKey, OpenError, OpeningKey,
    SealingKey,
};
use dekker_core::crypto::secret::Secret;

use crate::bindings::dekker::crypto::keys as host;

/// The host's keys.
#[derive(Clone, Copy)]
pub(crate) struct ImportedKeys;

impl KeyStore for ImportedKeys {
    /// Uses the host's randomness: the key does not enter this component before it is exported.
    fn generate(
        &self,
        source_type: DekSourceType,
        _entropy: &dyn Entropy,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        let key = host::SealingKey::generate(dek_source_type(source_type));
        Ok(Box::new(Sealing(key)))
    }

    fn local(&self, cipher: LocalCipher, bytes: &[u8]) -> Result<Box<dyn LocalKey>, KeyError> {
        let (imported, nonce_len) = match cipher {
            LocalCipher::AesGcm => (host::LocalCipher::AesGcm, 12),
            LocalCipher::AesCbc => (host::LocalCipher::AesCbc, 16),
            LocalCipher::Secretbox => (host::LocalCipher::Secretbox, 24),
        };
        match host::LocalKey::import(imported, bytes) {
            Some(key) => Ok(Box::new(Local { key, nonce_len })),
            None => Err(KeyError::LocalLength { len: bytes.len() }),
        }
    }

    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        match host::OpeningKey::import(dek_source_type(source_type), bytes.expose()) {
            Some(key) => Ok(Arc::new(Opening(key))),
            None => Err(length(source_type, bytes)),
        }
    }

    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        match host::SealingKey::import(dek_source_type(source_type), bytes.expose()) {
            Some(key) => Ok(Box::new(Sealing(key))),
            None => Err(length(source_type, bytes)),
        }
    }
}

pub(crate) fn dek_source_type(source_type: DekSourceType) -> host::DekSourceType {
    match source_type {
        DekSourceType::AesGcmKey => host::DekSourceType::AesGcmKey,
        DekSourceType::HkdfSha256XnonceAesGcmSeed => {
            host::DekSourceType::HkdfSha256XnonceAesGcmSeed
        }
    }
}

pub(crate) fn of_host(source_type: host::DekSourceType) -> DekSourceType {
    match source_type {
        host::DekSourceType::AesGcmKey => DekSourceType::AesGcmKey,
        host::DekSourceType::HkdfSha256XnonceAesGcmSeed => {
            DekSourceType::HkdfSha256XnonceAesGcmSeed
        }
    }
}

fn length(source_type: DekSourceType, bytes: &Secret) -> KeyError {
    let len = bytes.expose().len();
    KeyError::Length { source_type, len }
}

fn opened(outcome: Result<Vec<u8>, host::OpenError>) -> Result<Secret, OpenError> {
    match outcome {
        Ok(plaintext) => Ok(Secret::new(plaintext)),
        Err(host::OpenError::TooShort) => Err(OpenError::TooShort),
        Err(host::OpenError::Failed) => Err(OpenError::Failed),
    }
}

pub(crate) struct Opening(pub(crate) host::OpeningKey);

impl OpeningKey for Opening {
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        opened(self.0.open(aad, sealed))
    }
}

pub(crate) struct Sealing(pub(crate) host::SealingKey);

impl SealingKey for Sealing {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let Envelope { prefix, start, header, end } = envelope;
        let sealed = self.0.seal(prefix, start, header, end, aad, plaintext);
        sealed.ok_or(KeyError::Cipher)
    }

    fn share(&self) -> Result<Box<dyn SealingKey>, KeyError> {
        Ok(Box::new(Sealing(self.0.share())))
    }

    fn export(&self) -> Result<Secret, KeyError> {
        Ok(Secret::new(self.0.export()))
    }

    fn opening(&self) -> Result<Arc<dyn OpeningKey>, KeyError> {
        Ok(Arc::new(Opening(self.0.opening())))
    }
}

struct Local {
    key: host::LocalKey,
    nonce_len: usize,
}

impl LocalKey for Local {
    fn seal(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; 24];
        let nonce = nonce.get_mut(..self.nonce_len).ok_or(KeyError::Cipher)?;
        entropy.fill(nonce)?;
        let sealed = self.key.seal(nonce, aad, plaintext);
        sealed.ok_or(KeyError::Cipher)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        opened(self.key.open(aad, sealed))
    }
}
