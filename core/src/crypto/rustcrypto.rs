//! The portable backend: RustCrypto's `aes-gcm`, `hkdf` and `sha2`, with the key bytes in this process' memory.

mod local;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U12;
use aes_gcm::aes::Aes192;
use aes_gcm::{Aes128Gcm, Aes256Gcm, AesGcm, KeyInit};
use dekker_crypto::{CbcKey, SecretboxKey};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::appending::{AppendingKey, ExportableKey, LocalGcmKey};
use super::entropy::Entropy;
use super::keys::{
    DEK_SOURCE_LEN, DekSourceType, INFO_LEN, KeyError, KeyStore, LocalCipher, LocalKey, NONCE_LEN,
    OpenError, OpeningKey, SealingKey, TAG_LEN,
};
use super::secret::Secret;

/// Keys in this process' memory, erased when dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct RustCrypto;

impl KeyStore for RustCrypto {
    fn generate(
        &self,
        source_type: DekSourceType,
        entropy: &dyn Entropy,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        let mut bytes = Zeroizing::new(vec![0; DEK_SOURCE_LEN]);
        entropy.fill(&mut bytes)?;
        let bytes = Secret::new(core::mem::take(&mut *bytes));
        let key = Key::new(source_type, &bytes)?;
        Ok(Box::new(ExportableKey::new(bytes, key)))
    }

    fn local(&self, cipher: LocalCipher, bytes: &[u8]) -> Result<Box<dyn LocalKey>, KeyError> {
        let len = bytes.len();
        match cipher {
            LocalCipher::AesGcm => Cipher::new(bytes)
                .map(|cipher| Box::new(LocalGcmKey::new(Key::Cipher(cipher))) as Box<dyn LocalKey>),
            LocalCipher::AesCbc => CbcKey::new(bytes).map(|key| Box::new(key) as Box<dyn LocalKey>),
            LocalCipher::Secretbox => {
                SecretboxKey::new(bytes).map(|key| Box::new(key) as Box<dyn LocalKey>)
            }
        }
        .ok_or(KeyError::LocalLength { len })
    }

    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        Ok(Arc::new(Key::new(source_type, bytes)?))
    }

    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError> {
        let key = Key::new(source_type, bytes)?;
        let bytes = Secret::new(bytes.expose().to_vec());
        Ok(Box::new(ExportableKey::new(bytes, key)))
    }
}

/// An expanded AES key, or a seed from which a key is derived for each value.
enum Key {
    Cipher(Cipher),
    Seed(Secret),
}

impl Key {
    fn new(source_type: DekSourceType, bytes: &Secret) -> Result<Self, KeyError> {
        let len = bytes.expose().len();
        match source_type {
            DekSourceType::AesGcmKey => Cipher::new(bytes.expose())
                .map(Self::Cipher)
                .ok_or(KeyError::Length { source_type, len }),
            DekSourceType::HkdfSha256XnonceAesGcmSeed if len < DEK_SOURCE_LEN => {
                Err(KeyError::Length { source_type, len })
            }
            DekSourceType::HkdfSha256XnonceAesGcmSeed => {
                Ok(Self::Seed(Secret::new(bytes.expose().to_vec())))
            }
        }
    }
}

impl AppendingKey for Key {
    fn append(
        &self,
        header: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        match self {
            Self::Cipher(cipher) => cipher.seal(header, aad, plaintext, out),
            Self::Seed(seed) => {
                let (info, nonce) =
                    header.split_first_chunk::<INFO_LEN>().ok_or(KeyError::Cipher)?;
                derive(seed, info).ok_or(KeyError::Cipher)?.seal(nonce, aad, plaintext, out)
            }
        }
    }
}

impl OpeningKey for Key {
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        match self {
            Self::Cipher(cipher) => cipher.open(aad, sealed),
            Self::Seed(seed) => {
                let (info, sealed) =
                    sealed.split_first_chunk::<INFO_LEN>().ok_or(OpenError::TooShort)?;
                derive(seed, info).ok_or(OpenError::Failed)?.open(aad, sealed)
            }
        }
    }
}

/// Derives a value's key: the first 32 bytes of HKDF-Expand-SHA256(prk = seed, info), without an extract step. Upstream: aes_extended_nonce.go; RFC
/// 5869 §2.3.
fn derive(seed: &Secret, info: &[u8; INFO_LEN]) -> Option<Cipher> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::from_prk(seed.expose()).ok()?.expand(info, key.as_mut()).ok()?;
    Cipher::new(key.as_ref())
}

/// AES-GCM with each key size that upstream accepts. The DEKs that Dekker generates are always AES-256.
enum Cipher {
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<AesGcm<Aes192, U12>>),
    Aes256(Box<Aes256Gcm>),
}

impl Cipher {
    fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Gcm::new_from_slice(key).ok().map(Box::new).map(Self::Aes128),
            24 => AesGcm::new_from_slice(key).ok().map(Box::new).map(Self::Aes192),
            32 => Aes256Gcm::new_from_slice(key).ok().map(Box::new).map(Self::Aes256),
            _ => None,
        }
    }

    fn seal(
        &self,
        nonce: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError> {
        let nonce: &[u8; NONCE_LEN] = nonce.try_into().map_err(|_| KeyError::Cipher)?;
        let start = out.len();
        // Reserve everything at once: a buffer that grows later would leave a copy of the plaintext behind.
        out.reserve(plaintext.len() + TAG_LEN);
        out.extend_from_slice(plaintext);
        let text = (&mut out[start..]).into();
        let tag = match self {
            Self::Aes128(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, text),
            Self::Aes192(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, text),
            Self::Aes256(cipher) => cipher.encrypt_inout_detached(nonce.into(), aad, text),
        };
        match tag {
            Ok(tag) => {
                out.extend_from_slice(&tag);
                Ok(())
            }
            Err(_) => {
                zeroize::Zeroize::zeroize(&mut out[start..]);
                out.truncate(start);
                Err(KeyError::Cipher)
            }
        }
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::TooShort)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Failed)?;
        let mut plaintext = Zeroizing::new(ciphertext.to_vec());
        let text = plaintext.as_mut_slice().into();
        match self {
            Self::Aes128(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), aad, text, tag.into())
            }
            Self::Aes192(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), aad, text, tag.into())
            }
            Self::Aes256(cipher) => {
                cipher.decrypt_inout_detached(nonce.into(), aad, text, tag.into())
            }
        }
        .map_err(|_| OpenError::Failed)?;
        Ok(Secret::new(core::mem::take(&mut *plaintext)))
    }
}
