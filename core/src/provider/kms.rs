//! Providers that keep their keys with a plugin.

pub mod answer;
pub mod at_hand;
pub mod message;
pub mod v1;
pub mod v2;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use self::v1::KmsV1;
use self::v2::KmsV2;
use self::v2::dek_cache::{CacheKey, DekCache, ReadDek};
use self::v2::key_state::{Request, Step};
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::DekSourceType;
use crate::crypto::secret::Secret;
use crate::engine::event::{CallError, CallId, DecryptRequest, EncryptResponse, KmsProviderInfo};
use crate::map::SortedMap;
use crate::provider::transformer::TransformError;
use crate::time::Timestamp;

/// A KMS provider of either version.
pub enum Kms {
    /// A fresh DEK for each write.
    V1(Box<KmsV1>),
    /// One DEK while the key ID is stable.
    V2(Box<KmsV2>),
}

/// Where a write stands after a look at what is at hand.
pub enum WriteStep {
    /// It is done.
    Done {
        /// The bytes to store.
        stored: Vec<u8>,
        /// `sha256:<hex>` of the key ID; KMS v2 only.
        key_id_hash: Option<Arc<str>>,
    },
    /// It must wait for the first probe.
    Priming,
    /// It needs a DEK of its own, which the plugin must encrypt.
    NeedsEncryptedDek,
}

/// Where a read stands after a look at what is at hand.
pub enum ReadStep {
    /// It is done.
    Done {
        /// The plaintext.
        plaintext: Secret,
        /// The value should be rewritten.
        stale: bool,
    },
    /// It must wait for the first probe.
    Priming,
    /// It needs a DEK that only the plugin can decrypt.
    NeedsDek(CacheKey, DekNeeded),
}

/// A DEK for the plugin to decrypt.
pub struct DekNeeded {
    /// What to ask.
    pub request: DecryptRequest,
    /// What the answer is.
    pub source_type: DekSourceType,
    /// Whether values of it may be AES-CBC.
    pub cbc_fallback: bool,
}

impl Kms {
    /// What the host needs to place its calls.
    pub fn info(&self) -> &KmsProviderInfo {
        match self {
            Self::V1(v1) => &v1.info,
            Self::V2(v2) => &v2.info,
        }
    }

    /// The decrypted DEKs; `None` where they are not kept.
    pub fn cache(&self) -> Option<&DekCache> {
        match self {
            Self::V1(v1) => v1.cache.as_ref(),
            Self::V2(v2) => Some(&v2.cache),
        }
    }

    /// Decrypts under way: each DEK is asked for once.
    pub(crate) fn in_flight(&mut self) -> &mut SortedMap<CacheKey, CallId> {
        match self {
            Self::V1(v1) => &mut v1.in_flight,
            Self::V2(v2) => &mut v2.in_flight,
        }
    }

    /// Writes a value, as far as that needs no plugin.
    ///
    /// # Errors
    /// See [`KmsV2::write`].
    pub fn write(
        &mut self,
        prefix: &str,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<WriteStep, TransformError> {
        match self {
            Self::V1(_) => Ok(WriteStep::NeedsEncryptedDek),
            Self::V2(v2) => v2.write(prefix, aad, plaintext, entropy, now),
        }
    }

    /// Reads what follows the prefix. `resumed` is what the plugin made of the DEK that an earlier step needed; `key_id_hash` is set once the
    /// value's DEK is at hand, `sha256:<hex>` of its key ID, whether or not it then opens the value; KMS v2 only.
    ///
    /// # Errors
    /// See [`KmsV2::read`] and [`KmsV1::read`].
    pub fn read(
        &mut self,
        aad: &[u8],
        stored: &[u8],
        resumed: Option<ReadDek>,
        key_id_hash: &mut Option<Arc<str>>,
    ) -> Result<ReadStep, TransformError> {
        match self {
            Self::V1(v1) => v1.read(aad, stored, resumed),
            Self::V2(v2) => v2.read(aad, stored, resumed, key_id_hash),
        }
    }

    /// The last answer about the plugin's health, if it may still be used.
    pub fn fresh_answer(&self, now: Timestamp) -> Option<Option<&str>> {
        match self {
            Self::V1(v1) => v1.fresh_answer(now),
            Self::V2(v2) => v2.state.fresh_answer(now),
        }
    }

    /// The last answer however old, and when it came.
    pub fn last_answer(&self) -> Option<(Timestamp, Option<&str>)> {
        match self {
            Self::V1(v1) => v1.last_answer(),
            Self::V2(v2) => v2.state.last_answer(),
        }
    }

    /// When the next poll is due; KMS v1 is not polled.
    pub fn poll_due(&self) -> Option<Timestamp> {
        match self {
            Self::V1(_) => None,
            Self::V2(v2) => v2.state.poll_due(),
        }
    }

    /// Begins a probe, unless one is under way.
    pub fn probe(&mut self, now: Timestamp) -> Option<Request> {
        match self {
            Self::V1(v1) => v1.probe(),
            Self::V2(v2) => v2.state.probe(now),
        }
    }

    /// The answer to a probe's Encrypt.
    pub fn on_encrypted(
        &mut self,
        answer: Result<EncryptResponse, CallError>,
        now: Timestamp,
    ) -> Step {
        match self {
            Self::V1(v1) => v1.on_encrypted(answer, now),
            Self::V2(v2) => v2.state.on_encrypted(answer, now),
        }
    }

    /// The answer to a probe's Decrypt.
    pub fn on_decrypted(&mut self, answer: Result<Secret, CallError>, now: Timestamp) -> Step {
        match self {
            Self::V1(v1) => v1.on_decrypted(answer, now),
            Self::V2(v2) => v2.state.on_verified(answer, now),
        }
    }
}
