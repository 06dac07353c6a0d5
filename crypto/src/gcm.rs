//! AES-GCM in the layouts of stored values, on ring: with a DEK, or with a seed from which a key is derived for each value.
//!
//! The caller supplies each header. dekker-core guarantees that no header is used twice with the same key.

mod cipher;
mod wiped;

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use ring::hkdf::{HKDF_SHA256, Prk};
use zeroize::{Zeroize, Zeroizing};

use self::cipher::Cipher;
use self::wiped::Wiped;
use crate::OpenError;

/// The length of an AES-GCM nonce, 12 bytes.
pub const NONCE_LEN: usize = 12;
/// The length of an AES-GCM tag, 16 bytes.
pub const TAG_LEN: usize = 16;
/// The length of the key derivation's info, 32 bytes.
pub const INFO_LEN: usize = 32;
/// The minimum length of a seed, 32 bytes.
pub const SEED_MIN_LEN: usize = 32;

/// An expanded key in this process' memory, erased when dropped.
pub struct GcmKey(Kind);

enum Kind {
    Cipher(Cipher),
    Seed(Box<Wiped<Prk>>),
}

impl GcmKey {
    /// Creates a key from an AES key of 16, 24 or 32 bytes. Its headers are `nonce[12]`. Returns `None` for any other length.
    pub fn aes(bytes: &[u8]) -> Option<Self> {
        Cipher::new(bytes).map(Kind::Cipher).map(Self)
    }

    /// Creates a key from a seed of at least [`SEED_MIN_LEN`] bytes. Its headers are `info[32] nonce[12]`. Returns `None` if the seed is shorter.
    ///
    /// The AES key of each value is the first 32 bytes of HKDF-Expand-SHA256(prk = seed, info), without an extract step: RFC 5869 §2.3, upstream's
    /// aes_extended_nonce.go.
    pub fn seed(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= SEED_MIN_LEN).then(|| {
            let prk = Prk::new_less_safe(HKDF_SHA256, bytes);
            Self(Kind::Seed(Box::new(Wiped::new(prk))))
        })
    }

    /// Returns the length of the header of each value: 12 bytes, or 44 for a seed.
    pub const fn header_len(&self) -> usize {
        match &self.0 {
            Kind::Cipher(_) => NONCE_LEN,
            Kind::Seed(_) => INFO_LEN + NONCE_LEN,
        }
    }

    /// Appends `ciphertext ‖ tag[16]` to `out`. The caller guarantees that no header is used twice with the same key.
    ///
    /// # Errors
    /// Returns an error if the header has the wrong length, or the plaintext is longer than AES-GCM allows. `out` then has its previous content.
    pub fn seal(
        &self,
        header: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        match &self.0 {
            Kind::Cipher(cipher) => cipher.seal(header, aad, plaintext, out),
            Kind::Seed(seed) => {
                let (info, nonce) = header.split_first_chunk().ok_or(SealError)?;
                let key = Cipher::derive(seed.get(), info).ok_or(SealError)?;
                key.seal(nonce, aad, plaintext, out)
            }
        }
    }

    /// Opens `header ‖ ciphertext ‖ tag[16]` into `out`, which is first erased and emptied. All bytes may be attacker-controlled; this function does
    /// not panic.
    ///
    /// # Errors
    /// Returns [`OpenError::TooShort`] if the header is incomplete, and [`OpenError::Failed`] for every other cause. `out` is then empty.
    pub fn open(
        &self,
        aad: &[u8],
        sealed: &[u8],
        out: &mut Zeroizing<Vec<u8>>,
    ) -> Result<(), OpenError> {
        // Erases as one block; `Vec`'s own `zeroize` erases element by element.
        out.as_mut_slice().zeroize();
        out.clear();
        match &self.0 {
            Kind::Cipher(cipher) => cipher.open(aad, sealed, out),
            Kind::Seed(seed) => {
                let (info, sealed) = sealed.split_first_chunk().ok_or(OpenError::TooShort)?;
                let key = Cipher::derive(seed.get(), info).ok_or(OpenError::Failed)?;
                key.open(aad, sealed, out)
            }
        }
    }
}

impl fmt::Debug for GcmKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GcmKey(..)")
    }
}

/// The cipher could not seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealError;

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cipher failed")
    }
}

impl core::error::Error for SealError {}

#[cfg(test)]
mod tests;
