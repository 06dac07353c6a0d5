//! A key that seals, together with its bytes: for backends that keep keys in this process' memory.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::keys::{Envelope, KeyError, OpeningKey, SealingKey};
use super::secret::Secret;

/// A cipher key that appends to a buffer. [`ExportableKey`] turns it into a [`SealingKey`].
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
        let mut out = envelope.begin(plaintext.len());
        self.key.append(envelope.header, aad, plaintext, &mut out)?;
        out.extend_from_slice(envelope.end);
        Ok(out)
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
