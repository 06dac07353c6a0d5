//! The DEK that encrypts.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::envelope::frame;
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, KeyError, SealingKey, TAG_LEN};
use crate::crypto::nonce::{CounterNonces, CounterRange, Exhausted, Nonce};
use crate::provider::frame::Frame;
use crate::provider::kms::dek_cache::{DekName, ReadDek};
use crate::provider::kms::message::EncryptedDekSource;
use crate::provider::stored::same;

/// A DEK or seed that encrypts, with its nonces. It is not `Clone`, because its counter has one owner. Threads share it through `&self`.
pub struct WriteDek {
    key: Box<dyn SealingKey>,
    nonces: Nonces,
    read: ReadDek,
    source: EncryptedDekSource,
    frame: Arc<Frame>,
}

enum Nonces {
    Counter(CounterNonces),
    Extended,
}

impl WriteDek {
    /// Creates a write DEK from a newly generated key and the encrypted DEK source that the plugin made from it. `prefix` is that of the provider's
    /// values. `range` contains the counter values that this owner may use; a seed has no counter.
    ///
    /// # Errors
    /// Returns an error if the backend no longer has the key.
    pub fn new(
        prefix: &str,
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
            frame: Arc::new(frame(prefix, &source, source_type)),
            key,
            source,
        })
    }

    /// Returns the type of the DEK source.
    pub fn source_type(&self) -> DekSourceType {
        match self.nonces {
            Nonces::Counter(_) => DekSourceType::AesGcmKey,
            Nonces::Extended => DekSourceType::HkdfSha256XnonceAesGcmSeed,
        }
    }

    /// Returns the DEK source, encrypted by the plugin.
    pub fn source(&self) -> &EncryptedDekSource {
        &self.source
    }

    /// Returns the same DEK for reading.
    pub fn read(&self) -> &ReadDek {
        &self.read
    }

    /// Returns whether a stored value names this DEK.
    pub fn is_named(&self, name: DekName<'_>) -> bool {
        let DekName { source_type, source, key_id, annotations } = name;
        same(source, self.source.ciphertext())
            && same(key_id.as_bytes(), self.source.key_id().as_str().as_bytes())
            && source_type == self.source_type()
            && self.source.annotations().iter().eq(annotations.iter().copied())
    }

    /// Returns whether no nonces are left. A seed never runs out.
    pub fn is_used_up(&self) -> bool {
        match &self.nonces {
            Nonces::Counter(nonces) => nonces.is_used_up(),
            Nonces::Extended => false,
        }
    }

    /// Returns a second handle that seals, and the next `len` values of the counter, which no other owner uses from now on. A seed has no counter, so
    /// its range is empty. Returns `None` if fewer values are left or the backend no longer has the key.
    pub fn lease(&self, len: u64) -> Option<(Box<dyn SealingKey>, CounterRange)> {
        let key = self.key.share().ok()?;
        let range = match &self.nonces {
            Nonces::Counter(nonces) => nonces.cut(len)?,
            Nonces::Extended => CounterRange { start: 0, end: 0 },
        };
        Some((key, range))
    }

    /// Calls `use_name` with the name of this DEK, as its values contain it.
    pub fn with_name<T>(&self, use_name: impl FnOnce(DekName<'_>) -> T) -> T {
        let annotations: Vec<_> = self.source.annotations().iter().collect();
        use_name(DekName {
            source_type: self.source_type(),
            source: self.source.ciphertext(),
            key_id: self.source.key_id().as_str(),
            annotations: &annotations,
        })
    }

    /// Returns the key, to seal with a nonce of [`Self::next_nonce`].
    pub fn key(&self) -> &dyn SealingKey {
        &*self.key
    }

    /// Returns what surrounds the values of this DEK.
    pub const fn frame(&self) -> &Arc<Frame> {
        &self.frame
    }

    /// Returns a nonce that this DEK has not used before.
    ///
    /// # Errors
    /// Returns an error if no nonce is left. A seed always has one.
    pub fn next_nonce(&self) -> Result<Nonce, Exhausted> {
        match &self.nonces {
            Nonces::Counter(nonces) => nonces.next(),
            Nonces::Extended => Ok(Nonce::EXTENDED),
        }
    }

    /// Encrypts a value and returns the whole stored form: `prefix ‖ EncryptedObject`. The output is the only allocation.
    ///
    /// # Errors
    /// Returns [`SealError::Exhausted`] if no nonce is left, and [`SealError::Key`] if the cipher or the source of randomness fails.
    pub fn seal(
        &self,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, SealError> {
        let header = self.next_nonce()?.header(entropy).map_err(KeyError::from)?;
        Ok(self.frame.around(&header, plaintext.len() + TAG_LEN, |envelope| {
            self.key.seal(envelope, aad, plaintext)
        })?)
    }
}

/// The reason why a value was not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// No nonce was left.
    Exhausted(Exhausted),
    /// The cipher or the source of randomness failed.
    Key(KeyError),
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted(error) => error.fmt(f),
            Self::Key(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for SealError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Exhausted(error) => Some(error),
            Self::Key(error) => Some(error),
        }
    }
}

impl From<Exhausted> for SealError {
    fn from(error: Exhausted) -> Self {
        Self::Exhausted(error)
    }
}

impl From<KeyError> for SealError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}
