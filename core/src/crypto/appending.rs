//! Keys made of a cipher key that appends to a buffer: for backends that keep keys in this process' memory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::keys::{Envelope, KeyError, LocalKey, OpenError, OpeningKey, SealingKey, TAG_LEN};
use super::secret::Secret;

/// A cipher key that appends to a buffer. [`ExportableKey`] turns it into a [`SealingKey`], [`LocalGcmKey`] into a [`LocalKey`].
pub trait AppendingKey: OpeningKey {
    /// Appends `ciphertext ‖ tag[16]` to `out`. The caller guarantees that no header is used twice with the same key.
    ///
    /// # Errors
    /// Returns an error if the header has the wrong length, or the plaintext is longer than AES-GCM allows. `out` then has its previous content.
    fn append(
        &self,
        header: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), KeyError>;
}

/// A key that can seal, and its bytes, which the plugin encrypts.
pub struct ExportableKey<K> {
    bytes: Secret,
    key: Arc<K>,
}

impl<K> ExportableKey<K> {
    /// Combines a key with the bytes that it was created from.
    pub fn new(bytes: Secret, key: K) -> Self {
        let key = Arc::new(key);
        Self { bytes, key }
    }
}

impl<K: AppendingKey> SealingKey for ExportableKey<K> {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        envelope.assemble(plaintext.len() + TAG_LEN, |out| {
            self.key.append(envelope.header, aad, plaintext, out)
        })
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

/// A key of the aesgcm provider: `nonce[12] ciphertext tag[16]` with a random nonce. Upstream: encrypt/aes/aes.go, `NewGCMTransformer`.
pub struct LocalGcmKey<K>(K);

impl<K> LocalGcmKey<K> {
    /// Creates a key from one whose header is a nonce of 12 bytes.
    pub fn new(key: K) -> Self {
        Self(key)
    }
}

impl<K: AppendingKey> LocalKey for LocalGcmKey<K> {
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError> {
        envelope.assemble(plaintext.len() + TAG_LEN, |out| {
            self.0.append(envelope.header, aad, plaintext, out)
        })
    }

    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        self.0.open(aad, sealed)
    }
}
