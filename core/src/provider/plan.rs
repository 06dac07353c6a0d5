//! How to encrypt or decrypt one value: which key, which nonce, which bytes.
//!
//! A plan is carried out where the value is. In this process that is [`SealPlan::seal`] or [`ReadPlan::open`]; a host that keeps keys and values
//! itself does the same with its own keys.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::frame::Frame;
use super::kms::v2::write_dek::WriteDek;
use super::local::LocalKeys;
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{KeyError, LocalKey, OpenError, OpeningKey, SealingKey, TAG_LEN};
use crate::crypto::nonce::Nonce;
use crate::crypto::secret::Secret;

/// How to get the bytes to store from a plaintext.
#[derive(Debug)]
pub enum WritePlan {
    /// Store the plaintext itself.
    Copy,
    /// Seal the plaintext.
    Seal(SealPlan),
}

impl WritePlan {
    /// Carries out the plan in this process. `aad` is the storage key.
    ///
    /// # Errors
    /// Returns an error if the cipher or the source of randomness fails.
    pub fn write(
        self,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        match self {
            Self::Copy => Ok(plaintext.to_vec()),
            Self::Seal(plan) => plan.seal(aad, plaintext, entropy),
        }
    }
}

/// A key, what surrounds the values that it seals, and the nonce for one of them. A plan is used once, because its nonce is.
pub struct SealPlan {
    sealer: Sealer,
    nonce: Nonce,
}

/// What seals.
enum Sealer {
    /// The DEK in use of a KMS v2 provider.
    Dek(Arc<WriteDek>),
    /// A DEK that seals only this value.
    Once(Box<dyn SealingKey>, Arc<Frame>),
    /// The first key of a local provider.
    Local(Arc<LocalKeys>),
}

/// The key of a plan.
#[derive(Clone, Copy)]
pub enum SealKey<'p> {
    /// A DEK or seed.
    Dek(&'p dyn SealingKey),
    /// A key of the configuration.
    Local(&'p dyn LocalKey),
}

impl SealPlan {
    pub(crate) fn dek(dek: Arc<WriteDek>, nonce: Nonce) -> Self {
        Self { sealer: Sealer::Dek(dek), nonce }
    }

    /// Seals one value with a DEK that seals no other.
    pub(crate) fn once(key: Box<dyn SealingKey>, frame: Frame) -> Self {
        Self { sealer: Sealer::Once(key, Arc::new(frame)), nonce: Nonce::RANDOM }
    }

    pub(crate) fn local(keys: Arc<LocalKeys>) -> Self {
        let nonce = Nonce::of_local(keys.cipher());
        Self { sealer: Sealer::Local(keys), nonce }
    }

    /// Returns a plan with the same key and another nonce. Returns `None` if the DEK has no nonce left, or if it seals only one value.
    pub(crate) fn again(&self) -> Option<Self> {
        match &self.sealer {
            Sealer::Dek(dek) => Some(Self::dek(dek.clone(), dek.next_nonce().ok()?)),
            Sealer::Once(..) => None,
            Sealer::Local(keys) => Some(Self::local(keys.clone())),
        }
    }

    /// Returns the key that seals. Returns `None` if the provider has no key, which validation of the configuration rules out.
    pub fn key(&self) -> Option<SealKey<'_>> {
        match &self.sealer {
            Sealer::Dek(dek) => Some(SealKey::Dek(dek.key())),
            Sealer::Once(key, _) => Some(SealKey::Dek(&**key)),
            Sealer::Local(keys) => keys.first().map(SealKey::Local),
        }
    }

    /// Returns what surrounds the values of this key. It is the same [`Arc`] in all plans of one key.
    pub fn frame(&self) -> &Arc<Frame> {
        match &self.sealer {
            Sealer::Dek(dek) => dek.frame(),
            Sealer::Once(_, frame) => frame,
            Sealer::Local(keys) => keys.frame(),
        }
    }

    /// Returns the nonce.
    pub const fn nonce(&self) -> &Nonce {
        &self.nonce
    }

    /// Obtains the random part of the nonce, and returns the whole stored value. `aad` is the storage key.
    ///
    /// # Errors
    /// Returns an error if the cipher or the source of randomness fails.
    pub fn seal(
        self,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        let Self { sealer, nonce } = self;
        let seal = |key: &dyn SealingKey, frame: &Frame, nonce: Nonce| {
            let header = nonce.header(entropy)?;
            frame.around(&header, plaintext.len() + TAG_LEN, |envelope| {
                key.seal(envelope, aad, plaintext)
            })
        };
        match &sealer {
            Sealer::Dek(dek) => seal(dek.key(), dek.frame(), nonce),
            Sealer::Once(key, frame) => seal(&**key, frame, nonce),
            Sealer::Local(keys) => {
                let key = keys.first().ok_or(KeyError::Cipher)?;
                let header = nonce.header(entropy)?;
                // The start of a local provider's values does not depend on their length.
                keys.frame().around(&header, 0, |envelope| key.seal(envelope, aad, plaintext))
            }
        }
    }
}

impl core::fmt::Debug for SealPlan {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("SealPlan(..)")
    }
}

/// How to get the plaintext of a stored value.
#[derive(Clone, Debug)]
pub enum ReadPlan {
    /// The stored bytes are the plaintext.
    Copy,
    /// Open a part of the value.
    Open {
        /// The key that opens it.
        key: OpenKey,
        /// The part: header and ciphertext.
        range: Range<usize>,
    },
}

impl ReadPlan {
    /// Carries out the plan in this process. `aad` is the storage key.
    ///
    /// # Errors
    /// Returns an error if the value cannot be opened with this key.
    pub fn open(&self, aad: &[u8], stored: &[u8]) -> Result<Secret, OpenError> {
        match self {
            Self::Copy => Ok(Secret::new(stored.to_vec())),
            Self::Open { key, range } => {
                let sealed = stored.get(range.clone()).ok_or(OpenError::Failed)?;
                key.open(aad, sealed)
            }
        }
    }
}

/// A key that opens.
#[derive(Clone)]
pub enum OpenKey {
    /// A DEK or seed.
    Dek(Arc<dyn OpeningKey>),
    /// A key of the configuration, or a DEK of KMS v1 from before Kubernetes 1.25.
    Local(Arc<dyn LocalKey>),
}

impl OpenKey {
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        match self {
            Self::Dek(key) => key.open(aad, sealed),
            Self::Local(key) => key.open(aad, sealed),
        }
    }
}

impl core::fmt::Debug for OpenKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("OpenKey(..)")
    }
}
