//! AES-GCM with each key size that upstream accepts. The DEKs that Dekker generates are always AES-256.

use alloc::boxed::Box;
use alloc::vec::Vec;

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::consts::U12;
use aes_gcm::aes::Aes192;
use aes_gcm::{AesGcm, KeyInit};
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, Tag, UnboundKey};
use ring::hkdf::Prk;
use zeroize::{Zeroize, Zeroizing};

use super::wiped::Wiped;
use super::{INFO_LEN, NONCE_LEN, SealError, TAG_LEN};
use crate::OpenError;

pub(super) enum Cipher {
    Ring(Box<Wiped<LessSafeKey>>),
    /// ring does not support AES-192.
    Aes192(Box<AesGcm<Aes192, U12>>),
}

impl Cipher {
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => UnboundKey::new(&AES_128_GCM, key).ok().map(Self::ring),
            24 => AesGcm::new_from_slice(key).ok().map(Box::new).map(Self::Aes192),
            32 => UnboundKey::new(&AES_256_GCM, key).ok().map(Self::ring),
            _ => None,
        }
    }

    /// Derives the key of one value from a seed.
    pub(super) fn derive(seed: &Prk, info: &[u8; INFO_LEN]) -> Option<Self> {
        let info = [info.as_slice()];
        let key = seed.expand(&info, &AES_256_GCM).ok()?;
        Some(Self::ring(key.into()))
    }

    fn ring(key: UnboundKey) -> Self {
        Self::Ring(Box::new(Wiped::new(LessSafeKey::new(key))))
    }

    pub(super) fn seal(
        &self,
        nonce: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        let nonce: &[u8; NONCE_LEN] = nonce.try_into().map_err(|_| SealError)?;
        let start = out.len();
        // Reserve everything at once: a buffer that grows later would leave a copy of the plaintext behind.
        out.reserve(plaintext.len() + TAG_LEN);
        out.extend_from_slice(plaintext);
        let text = &mut out[start..];
        let tag: Option<[u8; TAG_LEN]> = match self {
            Self::Ring(key) => key
                .get()
                .seal_in_place_separate_tag(
                    Nonce::assume_unique_for_key(*nonce),
                    Aad::from(aad),
                    text,
                )
                .ok()
                .and_then(|tag| tag.as_ref().try_into().ok()),
            Self::Aes192(key) => {
                key.encrypt_inout_detached(nonce.into(), aad, text.into()).ok().map(Into::into)
            }
        };
        match tag {
            Some(tag) => {
                out.extend_from_slice(&tag);
                Ok(())
            }
            None => {
                out[start..].zeroize();
                out.truncate(start);
                Err(SealError)
            }
        }
    }

    /// Opens into `out`, which must be empty.
    pub(super) fn open(
        &self,
        aad: &[u8],
        sealed: &[u8],
        out: &mut Zeroizing<Vec<u8>>,
    ) -> Result<(), OpenError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::TooShort)?;
        let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or(OpenError::Failed)?;
        out.extend_from_slice(ciphertext);
        let opened = match self {
            Self::Ring(key) => key
                .get()
                .open_in_place_separate_tag(
                    Nonce::assume_unique_for_key(*nonce),
                    Aad::from(aad),
                    Tag::from(*tag),
                    out,
                    0..,
                )
                .is_ok(),
            Self::Aes192(key) => key
                .decrypt_inout_detached(nonce.into(), aad, out.as_mut_slice().into(), tag.into())
                .is_ok(),
        };
        if opened {
            Ok(())
        } else {
            out.as_mut_slice().zeroize();
            out.clear();
            Err(OpenError::Failed)
        }
    }
}
