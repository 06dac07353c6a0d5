//! aescbc and secretbox, on the ciphers of `dekker-crypto`.

use alloc::vec::Vec;

use dekker_crypto::{CbcKey, SecretboxKey, secretbox};
use zeroize::Zeroizing;

use crate::crypto::keys::{Envelope, KeyError, LocalKey, OpenError};
use crate::crypto::secret::Secret;

/// Upstream: encrypt/aes/aes.go, `NewCBCTransformer`.
impl LocalKey for CbcKey {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        _aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let iv = envelope.header.try_into().map_err(|_| KeyError::Cipher)?;
        envelope.assemble(Self::sealed_len(plaintext.len()), |out| {
            Self::seal(self, iv, plaintext, out);
            Ok(())
        })
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        Self::open(self, sealed).map(secret)
    }
}

/// Upstream: encrypt/secretbox/secretbox.go.
impl LocalKey for SecretboxKey {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        _aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        let nonce = envelope.header.try_into().map_err(|_| KeyError::Cipher)?;
        envelope.assemble(secretbox::TAG_LEN + plaintext.len(), |out| {
            Self::seal(self, nonce, plaintext, out).ok_or(KeyError::Cipher)
        })
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        Self::open(self, sealed).map(secret)
    }
}

fn secret(mut plaintext: Zeroizing<Vec<u8>>) -> Secret {
    Secret::new(core::mem::take(&mut *plaintext))
}
