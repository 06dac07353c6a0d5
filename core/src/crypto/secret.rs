//! Bytes that are erased after use.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes: a DEK, a seed or a plaintext. They are erased when dropped, print as `Secret(..)`, and can only be compared in constant time.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `bytes`, which are erased when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the bytes themselves. Copy them only to memory that is also erased.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Returns the bytes as a plain vector. The caller must erase them.
    pub fn into_exposed(mut self) -> Vec<u8> {
        core::mem::take(&mut *self.0)
    }

    /// Returns whether both hold the same bytes, in time that does not depend on where they differ. Lengths are not secret.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // Zeroizing erases elements one by one, but spare capacity as one block. Clearing first makes all bytes spare capacity.
        self.0.clear();
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Self::new(bytes)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A DEK or seed in plaintext, on its way between a plugin and a key store.
pub enum DekBytes {
    /// The bytes.
    Here(Secret),
    /// What stands for bytes that are elsewhere. Only the key store that created it understands it; see
    /// [`SealingKey::to_encrypt`](super::keys::SealingKey::to_encrypt).
    Held(Box<dyn Any + Send + Sync>),
}

impl DekBytes {
    /// Returns the bytes, or nothing if they are not here.
    pub fn expose(&self) -> &[u8] {
        match self {
            Self::Here(secret) => secret.expose(),
            Self::Held(_) => &[],
        }
    }

    /// Returns the bytes as a plain vector, which is empty if they are not here. The caller must erase them.
    pub fn into_exposed(self) -> Vec<u8> {
        match self {
            Self::Here(secret) => secret.into_exposed(),
            Self::Held(_) => Vec::new(),
        }
    }
}

impl From<Secret> for DekBytes {
    fn from(secret: Secret) -> Self {
        Self::Here(secret)
    }
}

impl From<Vec<u8>> for DekBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Here(bytes.into())
    }
}

impl fmt::Debug for DekBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DekBytes(..)")
    }
}
