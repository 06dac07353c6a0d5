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

use dekker_core::crypto::appending::{AppendingKey, ExportableKey, LocalGcmKey};
use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::{
    DEK_SOURCE_LEN, DekSourceType, KeyError, KeyStore, LocalCipher, LocalKey, OpenError,
    OpeningKey, SealingKey,
};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;
use dekker_crypto::GcmKey;
use dekker_crypto::gcm::SealError;
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
            LocalCipher::AesGcm => match GcmKey::aes(bytes) {
                Some(key) => Ok(Box::new(LocalGcmKey::new(Handle(key)))),
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
    let key = handle(source_type, &bytes)?;
    Ok(Box::new(ExportableKey::new(bytes, key)))
}

fn handle(source_type: DekSourceType, bytes: &Secret) -> Result<Handle, KeyError> {
    let bytes = bytes.expose();
    let key = match source_type {
        DekSourceType::AesGcmKey => GcmKey::aes(bytes),
        DekSourceType::HkdfSha256XnonceAesGcmSeed => GcmKey::seed(bytes),
    };
    key.map(Handle).ok_or(KeyError::Length { source_type, len: bytes.len() })
}

/// The kernel's random bytes, obtained when they are needed. Use this source for an engine's keys and nonces.
///
/// No random bytes are kept in memory, so a restored snapshot does not repeat any; see `dekker_crypto::random`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelEntropy;

impl Entropy for KernelEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        dekker_crypto::random::fill(bytes).map_err(|_| EntropyError)
    }
}

/// A key on ring.
struct Handle(GcmKey);

impl AppendingKey for Handle {
    fn append(
        &self,
        header: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let sealed = self.0.seal(header, aad, plaintext, out);
        sealed.map_err(|SealError| KeyError::Cipher)
    }
}

impl OpeningKey for Handle {
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        let mut plaintext = Zeroizing::default();
        self.0.open(aad, sealed, &mut plaintext)?;
        Ok(Secret::new(std::mem::take(&mut *plaintext)))
    }
}
