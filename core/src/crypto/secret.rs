//! Bytes that must not outlive their use.

use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Secret bytes: a DEK, a seed or a plaintext. Erased when dropped; prints as `Secret(..)`; compared in constant time only.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of `bytes`, which are erased when the secret is dropped.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. Copy them only to where they are erased as well.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Gives the bytes away; erasing them is now the caller's duty.
    pub fn into_exposed(mut self) -> Vec<u8> {
        core::mem::take(&mut *self.0)
    }

    /// Whether both hold the same bytes; takes the same time wherever they differ. Their lengths are not secret.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.as_slice().ct_eq(other.0.as_slice()).into()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        // What follows the last element is erased as one block, all of it; elements would be one by one.
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
