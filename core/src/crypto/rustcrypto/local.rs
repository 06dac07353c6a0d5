//! aescbc and secretbox: adds the random IV or nonce to the ciphers of `dekker-crypto`.

use alloc::vec::Vec;

use dekker_crypto::{CbcKey, SecretboxKey, cbc, secretbox};
use zeroize::Zeroizing;

use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{KeyError, LocalKey, OpenError};
use crate::crypto::secret::Secret;

/// Upstream: encrypt/aes/aes.go, `NewCBCTransformer`.
impl LocalKey for CbcKey {
    fn seal(
        &self,
        _aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        let mut iv = [0; cbc::BLOCK_LEN];
        entropy.fill(&mut iv)?;
        Ok(Self::seal(self, &iv, plaintext))
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        Self::open(self, sealed).map(secret)
    }
}

/// Upstream: encrypt/secretbox/secretbox.go.
impl LocalKey for SecretboxKey {
    fn seal(
        &self,
        _aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        let mut nonce = [0; secretbox::NONCE_LEN];
        entropy.fill(&mut nonce)?;
        Self::seal(self, &nonce, plaintext).ok_or(KeyError::Cipher)
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        Self::open(self, sealed).map(secret)
    }
}

fn secret(mut plaintext: Zeroizing<Vec<u8>>) -> Secret {
    Secret::new(core::mem::take(&mut *plaintext))
}
