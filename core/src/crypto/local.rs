//! Keys from the configuration file.

use alloc::vec::Vec;

use super::entropy::Entropy;
use super::keys::{KeyError, OpenError};
use super::secret::Secret;

/// The cipher that a key of the configuration file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalCipher {
    /// AES-GCM with keys of 16, 24 or 32 bytes: `nonce[12] ciphertext tag[16]`, with a random nonce.
    AesGcm,
    /// AES-CBC with PKCS#7 and keys of 16, 24 or 32 bytes: `iv[16] ciphertext`. Not authenticated.
    AesCbc,
    /// XSalsa20-Poly1305 with keys of 32 bytes, as NaCl's secretbox: `nonce[24] tag[16] ciphertext`.
    Secretbox,
}

/// A key that seals and opens by itself: it chooses its nonces.
pub trait LocalKey: Send + Sync {
    /// Seals a value. Ciphers without authenticated data ignore `aad`.
    ///
    /// # Errors
    /// Returns an error if `entropy` or the cipher fails.
    fn seal(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError>;

    /// Opens a value. All bytes are attacker-controlled; implementations must not panic.
    ///
    /// # Errors
    /// Returns [`OpenError::TooShort`] based on the length alone, and [`OpenError::Failed`] for every other cause, without distinction, not even by
    /// timing.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError>;
}
