//! aescbc and secretbox: adds the random IV or nonce to the ciphers of `dekker-ciphers`.

use alloc::vec::Vec;

use dekker_ciphers::{BLOCK, CbcKey, OpenError as Refused, SECRETBOX_NONCE_LEN, SecretboxKey};
use zeroize::Zeroizing;

use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{KeyError, OpenError};
use crate::crypto::local::LocalKey;
use crate::crypto::secret::Secret;

/// Upstream: encrypt/aes/aes.go, `NewCBCTransformer`.
impl LocalKey for CbcKey {
    fn seal(
        &self,
        _aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        let mut iv = [0; BLOCK];
        entropy.fill(&mut iv)?;
        Ok(Self::seal(self, &iv, plaintext))
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        opened(Self::open(self, sealed))
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
        let mut nonce = [0; SECRETBOX_NONCE_LEN];
        entropy.fill(&mut nonce)?;
        Self::seal(self, &nonce, plaintext).ok_or(KeyError::Cipher)
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        opened(Self::open(self, sealed))
    }
}

fn opened(outcome: Result<Zeroizing<Vec<u8>>, Refused>) -> Result<Secret, OpenError> {
    match outcome {
        Ok(mut plaintext) => Ok(Secret::new(core::mem::take(&mut *plaintext))),
        Err(Refused::TooShort) => Err(OpenError::TooShort),
        Err(Refused::Failed) => Err(OpenError::Failed),
    }
}
