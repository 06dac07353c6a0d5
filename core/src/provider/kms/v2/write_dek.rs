//! The DEK that writes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::dek_cache::{DekName, ReadDek};
use super::envelope::EnvelopeTail;
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyError, SealingKey, TAG_LEN};
use crate::crypto::nonce::{CounterNonces, CounterRange, NonceError, extended};
use crate::provider::kms::message::EncryptedDekSource;

/// A DEK or seed that encrypts, with the nonces that go with it. Not `Clone`: its counter has one owner, and threads share it through `&self`.
pub struct WriteDek {
    key: Box<dyn SealingKey>,
    nonces: Nonces,
    read: ReadDek,
    source: EncryptedDekSource,
    tail: EnvelopeTail,
}

enum Nonces {
    Counter(CounterNonces),
    Extended,
}

impl WriteDek {
    /// A DEK fresh from its generator, and what the plugin made of it. `range` is what of its counter this owner may use; a seed has none.
    ///
    /// # Errors
    /// When the backend lost the key.
    pub fn new(
        key: Box<dyn SealingKey>,
        source_type: DekSourceType,
        source: EncryptedDekSource,
        range: CounterRange,
    ) -> Result<Self, KeyError> {
        Ok(Self {
            read: ReadDek::new(key.opening()?),
            nonces: match source_type {
                DekSourceType::AesGcmKey => Nonces::Counter(CounterNonces::new(range)),
                DekSourceType::HkdfSha256XnonceAesGcmSeed => Nonces::Extended,
            },
            tail: EnvelopeTail::new(&source, source_type),
            key,
            source,
        })
    }

    /// What the DEK source is.
    pub fn source_type(&self) -> DekSourceType {
        match self.nonces {
            Nonces::Counter(_) => DekSourceType::AesGcmKey,
            Nonces::Extended => DekSourceType::HkdfSha256XnonceAesGcmSeed,
        }
    }

    /// What the plugin made of it.
    pub fn source(&self) -> &EncryptedDekSource {
        &self.source
    }

    /// The same DEK, for reading.
    pub fn read(&self) -> &ReadDek {
        &self.read
    }

    /// Whether a stored value names this DEK.
    pub fn is_named(&self, name: DekName<'_>) -> bool {
        let DekName {
            source_type,
            source,
            key_id,
            annotations,
        } = name;
        same(source, self.source.ciphertext())
            && same(key_id.as_bytes(), self.source.key_id().as_str().as_bytes())
            && source_type == self.source_type()
            && self
                .source
                .annotations()
                .iter()
                .eq(annotations.iter().copied())
    }

    /// Whether it has no nonce left. A seed always has.
    pub fn is_used_up(&self) -> bool {
        match &self.nonces {
            Nonces::Counter(nonces) => nonces.is_used_up(),
            Nonces::Extended => false,
        }
    }

    /// A handle that seals, with a part of the counter that is nobody else's from now on: `len` values. A seed has no counter, and gives an
    /// empty part. `None`: not so many are left, or the backend lost the key.
    pub fn lease(&self, len: u64) -> Option<(Box<dyn SealingKey>, CounterRange)> {
        let key = self.key.share().ok()?;
        let range = match &self.nonces {
            Nonces::Counter(nonces) => nonces.cut(len)?,
            Nonces::Extended => CounterRange { start: 0, end: 0 },
        };
        Some((key, range))
    }

    /// Calls `use_name` with what its values call it.
    pub fn with_name<T>(&self, use_name: impl FnOnce(DekName<'_>) -> T) -> T {
        let annotations: Vec<_> = self.source.annotations().iter().collect();
        use_name(DekName {
            source_type: self.source_type(),
            source: self.source.ciphertext(),
            key_id: self.source.key_id().as_str(),
            annotations: &annotations,
        })
    }

    /// A whole stored value: `prefix ‖ EncryptedObject`. The output is the only allocation.
    ///
    /// # Errors
    /// [`SealError::Nonce`] when there is no nonce left or none can be had; [`SealError::Key`] when the cipher refuses.
    pub fn seal(
        &self,
        prefix: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let seal = |header: &[u8]| {
            let sealed_len = header.len() + plaintext.len() + TAG_LEN;
            self.tail.around(prefix, header, sealed_len, |envelope| {
                self.key.seal(envelope, aad, plaintext)
            })
        };
        Ok(match &self.nonces {
            Nonces::Counter(nonces) => seal(&nonces.next(entropy)?)?,
            Nonces::Extended => seal(&extended(entropy)?)?,
        })
    }
}

/// Whether all bytes are equal, eight at a time: every read compares some hundred of them, and WebAssembly's `memcmp` goes byte by byte.
fn same(a: &[u8], b: &[u8]) -> bool {
    let (words_a, rest_a) = a.as_chunks::<8>();
    let (words_b, rest_b) = b.as_chunks::<8>();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    a.len() == b.len() && words_a.iter().map(word).eq(words_b.iter().map(word)) && rest_a == rest_b
}

/// Why a value was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// No nonce.
    Nonce(NonceError),
    /// The cipher refused.
    Key(KeyError),
}

impl From<NonceError> for SealError {
    fn from(error: NonceError) -> Self {
        Self::Nonce(error)
    }
}

impl From<KeyError> for SealError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_the_same_if_all_of_them_are() {
        let bytes: Vec<u8> = (0..40).collect();
        for len in 0..bytes.len() {
            let part = &bytes[..len];
            assert!(same(part, part), "{len}");
            assert!(!same(part, &bytes[..=len]) && !same(&bytes[..=len], part));
            for at in 0..len {
                let mut other = part.to_vec();
                other[at] ^= 1;
                assert!(!same(part, &other), "byte {at} of {len}");
            }
        }
    }
}
