//! AES-GCM as stored values have it, on ring: with a DEK, or with a seed from which a key is derived for each value. And the random bytes that
//! keys and nonces are made of.
//!
//! dekker-core's backend for native programs (`dekker-ring`) and what a host lends to the accelerated component (`dekker-keys`) are both
//! this. It makes no nonce and counts none: a header comes from core, which guarantees that none is used twice with one key.

mod cipher;
pub mod random;
mod wiped;

use std::fmt;

use ring::hkdf::{HKDF_SHA256, Prk};
use zeroize::{Zeroize, Zeroizing};

use self::cipher::Cipher;
use self::wiped::Wiped;

/// 12 bytes: the nonce of AES-GCM.
pub const NONCE_LEN: usize = 12;
/// 16 bytes: the tag of AES-GCM.
pub const TAG_LEN: usize = 16;
/// 32 bytes: the info of the key derivation.
pub const INFO_LEN: usize = 32;
/// 32 bytes: the least that a seed has.
pub const SEED_MIN_LEN: usize = 32;

/// An expanded key in this process' memory, erased when dropped.
pub struct Key(Kind);

enum Kind {
    Cipher(Cipher),
    Seed(Box<Wiped<Prk>>),
}

impl Key {
    /// An AES key of 16, 24 or 32 bytes. A header is `nonce[12]`. `None` for any other length.
    pub fn aes(bytes: &[u8]) -> Option<Self> {
        Cipher::new(bytes).map(Kind::Cipher).map(Self)
    }

    /// A seed of at least [`SEED_MIN_LEN`] bytes. A header is `info[32] nonce[12]`. `None` for a shorter one.
    ///
    /// Each value's key is the first 32 bytes of HKDF-Expand-SHA256(prk = seed, info), without an extract step: RFC 5869 §2.3, upstream's
    /// aes_extended_nonce.go.
    pub fn seed(bytes: &[u8]) -> Option<Self> {
        (bytes.len() >= SEED_MIN_LEN).then(|| {
            let prk = Prk::new_less_safe(HKDF_SHA256, bytes);
            Self(Kind::Seed(Box::new(Wiped::new(prk))))
        })
    }

    /// Appends `ciphertext ‖ tag[16]` to `out`. The caller guarantees that no header is ever used twice with one key.
    ///
    /// # Errors
    /// When the header has another length, or the plaintext is longer than AES-GCM allows. `out` is then as it was.
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

    /// Opens `header ‖ ciphertext ‖ tag[16]` into `out`, which is erased and emptied first. All bytes may be an attacker's; this does not panic.
    ///
    /// # Errors
    /// [`OpenError::TooShort`] when not even the header is there; [`OpenError::Failed`] for everything else. `out` is then empty.
    pub fn open(
        &self,
        aad: &[u8],
        sealed: &[u8],
        out: &mut Zeroizing<Vec<u8>>,
    ) -> Result<(), OpenError> {
        // As one block: a `Vec` erases itself element by element.
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

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The cipher refused to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealError;

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cipher failed")
    }
}

impl std::error::Error for SealError {}

/// Why a value did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Shorter than its header.
    TooShort,
    /// Wrong key, wrong AAD, or altered bytes: deliberately not told apart.
    Failed,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "the stored data was shorter than the required size",
            Self::Failed => "message authentication failed",
        })
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests;
