//! Keys that live in the host: `dekker:crypto/keys`.
//!
//! A DEK never enters this component: a plugin's answer and what is sent to the plugin are handles to bytes of the host. Key bytes are here only
//! between the parsing of a configuration and [`KeyStore::local`], and for the tools, which receive a DEK from their caller. The heap wipes them when
//! they are freed. Core counts the nonces, as for every backend.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;

use dekker_core::crypto::entropy::Entropy;
use dekker_core::crypto::keys::{
    DekSourceType, Envelope, KeyError, KeyStore, LocalCipher, LocalKey, OpenError, OpeningKey,
    SealingKey,
};
use dekker_core::crypto::secret::{DekBytes, Secret};
use dekker_core::provider::frame::{Frame, Start};
use dekker_core::provider::plan::{OpenKey, SealKey};

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
        match host::LocalKey::import(local_cipher(cipher), bytes) {
            Some(key) => Ok(Box::new(Local::new(key))),
            None => Err(KeyError::LocalLength { len: bytes.len() }),
        }
    }

    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        let key = host::OpeningKey::import(dek_source_type(source_type), bytes.expose());
        opening(source_type, key, bytes.expose().len())
    }

    fn import_dek(
        &self,
        source_type: DekSourceType,
        bytes: &DekBytes,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        match bytes {
            DekBytes::Here(bytes) => self.import(source_type, bytes),
            DekBytes::Held(held) => {
                let secret = secret(held)?;
                let key = host::OpeningKey::import_secret(dek_source_type(source_type), secret);
                opening(source_type, key, secret.length() as usize)
            }
        }
    }

    fn local_dek(
        &self,
        cipher: LocalCipher,
        bytes: &DekBytes,
    ) -> Result<Box<dyn LocalKey>, KeyError> {
        match bytes {
            DekBytes::Here(bytes) => self.local(cipher, bytes.expose()),
            DekBytes::Held(held) => {
                let secret = secret(held)?;
                match host::LocalKey::import_secret(local_cipher(cipher), secret) {
                    Some(key) => Ok(Box::new(Local::new(key))),
                    None => Err(KeyError::LocalLength { len: secret.length() as usize }),
                }
            }
        }
    }

    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        match host::SealingKey::import(dek_source_type(source_type), bytes.expose()) {
            Some(key) => Ok(Box::new(Sealing(key))),
            None => Err(KeyError::Length { source_type, len: bytes.expose().len() }),
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

fn local_cipher(cipher: LocalCipher) -> host::LocalCipher {
    match cipher {
        LocalCipher::AesGcm => host::LocalCipher::AesGcm,
        LocalCipher::AesCbc => host::LocalCipher::AesCbc,
        LocalCipher::Secretbox => host::LocalCipher::Secretbox,
    }
}

fn opening(
    source_type: DekSourceType,
    key: Option<host::OpeningKey>,
    len: usize,
) -> Result<Arc<dyn OpeningKey>, KeyError> {
    match key {
        Some(key) => Ok(Arc::new(Opening::new(key))),
        None => Err(KeyError::Length { source_type, len }),
    }
}

/// Returns the handle that stands for bytes in the host.
fn secret(held: &Box<dyn Any + Send + Sync>) -> Result<&host::Secret, KeyError> {
    held.downcast_ref().ok_or(KeyError::Cipher)
}

fn opened(outcome: Result<Vec<u8>, host::OpenError>) -> Result<Secret, OpenError> {
    outcome.map(Secret::new).map_err(open_error)
}

pub(crate) fn open_error(error: host::OpenError) -> OpenError {
    match error {
        host::OpenError::TooShort => OpenError::TooShort,
        host::OpenError::Failed => OpenError::Failed,
    }
}

/// Returns the number that names a key in plans. Returns `None` if the key is of another key store.
pub(crate) fn opener(key: &OpenKey) -> Option<u32> {
    match key {
        OpenKey::Dek(key) => {
            let key: &dyn Any = &**key;
            key.downcast_ref::<Opening>().map(|key| key.number)
        }
        OpenKey::Local(key) => {
            let key: &dyn Any = &**key;
            key.downcast_ref::<Local>().map(|key| key.number)
        }
    }
}

/// Creates the sealer of a key. Returns `None` if the key is of another key store.
pub(crate) fn sealer(key: SealKey<'_>, frame: &Frame) -> Option<host::Sealer> {
    let frame = host::Frame {
        prefix: frame.prefix.clone(),
        start: match &frame.start {
            Start::Fixed(bytes) => host::Start::Fixed(bytes.clone()),
            Start::Field(tag) => host::Start::Field(*tag),
        },
        end: frame.end.clone(),
    };
    match key {
        SealKey::Dek(key) => {
            let key: &dyn Any = key;
            key.downcast_ref::<Sealing>().map(|key| key.0.sealer(&frame))
        }
        SealKey::Local(key) => {
            let key: &dyn Any = key;
            key.downcast_ref::<Local>().map(|key| key.key.sealer(&frame))
        }
    }
}

pub(crate) struct Opening {
    pub(crate) key: host::OpeningKey,
    number: u32,
}

impl Opening {
    pub(crate) fn new(key: host::OpeningKey) -> Self {
        let number = key.number();
        Self { key, number }
    }
}

impl OpeningKey for Opening {
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        opened(self.key.open(aad, sealed))
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
        Ok(Secret::new(self.0.export().bytes()))
    }

    fn to_encrypt(&self) -> Result<DekBytes, KeyError> {
        Ok(DekBytes::Held(Box::new(self.0.export())))
    }

    fn is(&self, bytes: &DekBytes) -> Result<bool, KeyError> {
        match bytes {
            DekBytes::Here(bytes) => Ok(self.export()?.ct_eq(bytes)),
            DekBytes::Held(held) => Ok(self.0.is(secret(held)?)),
        }
    }

    fn opening(&self) -> Result<Arc<dyn OpeningKey>, KeyError> {
        Ok(Arc::new(Opening::new(self.0.opening())))
    }
}

struct Local {
    key: host::LocalKey,
    number: u32,
}

impl Local {
    fn new(key: host::LocalKey) -> Self {
        let number = key.number();
        Self { key, number }
    }
}

impl LocalKey for Local {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let Envelope { prefix, start, header, end } = envelope;
        let sealed = self.key.seal(prefix, start, header, end, aad, plaintext);
        sealed.ok_or(KeyError::Cipher)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        opened(self.key.open(aad, sealed))
    }
}
