//! dekker-core's keys on ring, and the kernel's randomness: for native programs that need more speed than the portable backend offers.
//!
//! AES-GCM uses ring. ring has neither of the local ciphers aescbc and secretbox; both use RustCrypto, as in the portable backend.
//!
//! ```
//! use dekker_core::crypto::keys::{DekSourceType, KeyStore};
//! use dekker_core::crypto::secret::Secret;
//!
//! let dek = Secret::new(vec![7; 32]);
//! let key = dekker_ring::Ring.import(DekSourceType::AesGcmKey, &dek)?;
//! assert!(key.open(b"aad", b"nothing that was sealed with it").is_err());
//! # Ok::<(), dekker_core::crypto::keys::KeyError>(())
//! ```
#![forbid(unsafe_code)]

use std::sync::Arc;

use dekker_aead::{Key, OpenError as Refused, SealError};
use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::{
    DEK_SOURCE_LEN, DekSourceType, Envelope, KeyError, KeyStore, NONCE_LEN, OpenError, OpeningKey,
    SealingKey, TAG_LEN,
};
use dekker_core::crypto::local::{LocalCipher, LocalKey};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;
use zeroize::Zeroizing;

/// Keys in this process' memory, erased when dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring;

impl KeyStore for Ring {
    fn generate(
        &self,
        source_type: DekSourceType,
        entropy: &dyn Entropy,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        let mut bytes = Zeroizing::new(vec![0; DEK_SOURCE_LEN]);
        entropy.fill(&mut bytes)?;
        sealing(source_type, Secret::new(std::mem::take(&mut *bytes)))
    }

    fn local(&self, cipher: LocalCipher, bytes: &[u8]) -> Result<Box<dyn LocalKey>, KeyError> {
        match cipher {
            LocalCipher::AesGcm => match Key::aes(bytes) {
                Some(key) => Ok(Box::new(Handle(key))),
                None => Err(KeyError::LocalLength { len: bytes.len() }),
            },
            LocalCipher::AesCbc | LocalCipher::Secretbox => RustCrypto.local(cipher, bytes),
        }
    }

    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        Ok(Arc::new(handle(source_type, bytes)?))
    }

    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        sealing(source_type, Secret::new(bytes.expose().to_vec()))
    }
}

fn sealing(source_type: DekSourceType, bytes: Secret) -> Result<Box<dyn SealingKey>, KeyError> {
    let key = Arc::new(handle(source_type, &bytes)?);
    Ok(Box::new(ExportableKey { bytes, key }))
}

fn handle(source_type: DekSourceType, bytes: &Secret) -> Result<Handle, KeyError> {
    let bytes = bytes.expose();
    let key = match source_type {
        DekSourceType::AesGcmKey => Key::aes(bytes),
        DekSourceType::HkdfSha256XnonceAesGcmSeed => Key::seed(bytes),
    };
    key.map(Handle).ok_or(KeyError::Length {
        source_type,
        len: bytes.len(),
    })
}

/// The kernel's random bytes, obtained when they are needed. Use this source for an engine's keys and nonces.
///
/// No random bytes are kept in memory, so a restored snapshot does not repeat any; see `dekker_aead::random`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        dekker_aead::random::fill(bytes).map_err(|_| EntropyError)
    }
}

/// A key that can seal, and its bytes, which the plugin encrypts.
struct ExportableKey {
    bytes: Secret,
    key: Arc<Handle>,
}

impl SealingKey for ExportableKey {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let mut out = envelope.begin(plaintext.len());
        let sealed = self.key.0.seal(envelope.header, aad, plaintext, &mut out);
        sealed.map_err(|SealError| KeyError::Cipher)?;
        out.extend_from_slice(envelope.end);
        Ok(out)
    }

    fn share(&self) -> Result<Box<dyn SealingKey>, KeyError> {
        Ok(Box::new(Self {
            bytes: Secret::new(self.bytes.expose().to_vec()),
            key: self.key.clone(),
        }))
    }

    fn export(&self) -> Result<Secret, KeyError> {
        Ok(Secret::new(self.bytes.expose().to_vec()))
    }

    fn opening(&self) -> Result<Arc<dyn OpeningKey>, KeyError> {
        Ok(self.key.clone())
    }
}

/// A key of `dekker-aead`.
struct Handle(Key);

impl OpeningKey for Handle {
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        let mut plaintext = Zeroizing::default();
        match self.0.open(aad, sealed, &mut plaintext) {
            Ok(()) => Ok(Secret::new(std::mem::take(&mut *plaintext))),
            Err(Refused::TooShort) => Err(OpenError::TooShort),
            Err(Refused::Failed) => Err(OpenError::Failed),
        }
    }
}

/// `nonce[12] ciphertext tag[16]` with a random nonce. Upstream: encrypt/aes/aes.go, `NewGCMTransformer`.
impl LocalKey for Handle {
    fn seal(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce)?;
        let mut out = Vec::with_capacity(NONCE_LEN + plaintext.len() + TAG_LEN);
        out.extend_from_slice(&nonce);
        let sealed = self.0.seal(&nonce, aad, plaintext, &mut out);
        sealed.map_err(|SealError| KeyError::Cipher)?;
        Ok(out)
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        OpeningKey::open(self, aad, sealed)
    }
}
