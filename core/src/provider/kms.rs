//! The KMS providers, whose key encryption keys stay with a plugin.

pub mod annotations;
pub mod call;
pub mod dek_cache;
pub mod last_answer;
pub mod message;
pub mod probe_step;
pub mod step;
pub mod v1;
pub mod v2;
pub mod with_dek;

use alloc::boxed::Box;

use self::last_answer::{FreshAnswer, LastAnswer};
use self::step::{ReadStep, WriteStep};
use self::v1::KmsV1;
use self::v2::KmsV2;
use crate::crypto::secret::DekBytes;
use crate::map::SortedMap;
use crate::provider::error::TransformError;
use crate::provider::kms::call::{CallError, CallId, EncryptResponse, KmsProviderInfo};
use crate::provider::kms::dek_cache::{CacheKey, DekCache, KeptName, ReadDek};
use crate::provider::kms::probe_step::{Request, Step};
use crate::provider::stored::{Missing, Stored};
use crate::time::Timestamp;

/// A KMS provider of either version.
pub enum Kms {
    /// KMS v1, with a new DEK for each write.
    V1(Box<KmsV1>),
    /// KMS v2, with one DEK while the key ID is stable.
    V2(Box<KmsV2>),
}

impl Kms {
    /// Returns the data that the host needs to call the plugin.
    pub fn info(&self) -> &KmsProviderInfo {
        match self {
            Self::V1(v1) => &v1.info,
            Self::V2(v2) => &v2.info,
        }
    }

    /// Returns the cache of decrypted DEKs, or `None` if the provider has no cache.
    pub fn cache(&self) -> Option<&DekCache> {
        match self {
            Self::V1(v1) => v1.cache.as_ref(),
            Self::V2(v2) => Some(&v2.cache),
        }
    }

    /// Returns the Decrypt calls under way, so that each DEK is requested only once.
    pub(crate) fn in_flight(&mut self) -> &mut SortedMap<CacheKey, CallId> {
        match self {
            Self::V1(v1) => &mut v1.in_flight,
            Self::V2(v2) => &mut v2.in_flight,
        }
    }

    /// Plans a write, as far as possible without the plugin.
    ///
    /// # Errors
    /// See [`KmsV2::write`].
    pub fn write(&mut self, now: Timestamp) -> Result<WriteStep, TransformError> {
        match self {
            Self::V1(_) => Ok(WriteStep::NeedsEncryptedDek),
            Self::V2(v2) => v2.write(now),
        }
    }

    /// Plans a read, as far as possible without the plugin. `stored` is the part after the prefix. `resumed` is the DEK that an earlier step needed
    /// and that the plugin has decrypted.
    ///
    /// # Errors
    /// See [`KmsV2::read`] and [`KmsV1::read`].
    pub fn read(
        &mut self,
        stored: Stored<'_>,
        resumed: Option<&ReadDek>,
    ) -> Result<Result<ReadStep, TransformError>, Missing> {
        match self {
            Self::V1(v1) => v1.read(stored, resumed),
            Self::V2(v2) => v2.read(stored, resumed),
        }
    }

    /// Caches a DEK that has opened a value. `name` comes from this provider's [`OpenStep::keep`](step::OpenStep::keep).
    pub fn keep(&mut self, name: KeptName, dek: ReadDek) {
        match self {
            Self::V1(v1) => {
                if let Some(cache) = &mut v1.cache {
                    cache.insert_kept(name, dek);
                }
            }
            Self::V2(v2) => v2.cache.insert_kept(name, dek),
        }
    }

    /// Returns the plugin's last health answer, if it is recent enough to be reused.
    pub fn fresh_answer(&self, now: Timestamp) -> FreshAnswer<'_> {
        match self {
            Self::V1(v1) => v1.fresh_answer(now),
            Self::V2(v2) => v2.state.fresh_answer(now),
        }
    }

    /// Returns the last health answer regardless of its age.
    pub fn last_answer(&self) -> Option<&LastAnswer> {
        match self {
            Self::V1(v1) => v1.last_answer(),
            Self::V2(v2) => v2.state.last_answer(),
        }
    }

    /// Returns when the next poll is due. KMS v1 is not polled.
    pub fn poll_due(&self) -> Option<Timestamp> {
        match self {
            Self::V1(_) => None,
            Self::V2(v2) => v2.state.poll_due(),
        }
    }

    /// Starts a probe, unless one is under way. Returns its first call.
    pub fn probe(&mut self, now: Timestamp) -> Option<Request> {
        match self {
            Self::V1(v1) => v1.probe(),
            Self::V2(v2) => v2.state.probe(now),
        }
    }

    /// Handles the answer to a probe's Encrypt.
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

    /// Handles the answer to a probe's Decrypt.
    pub fn on_decrypted(&mut self, answer: Result<DekBytes, CallError>, now: Timestamp) -> Step {
        match self {
            Self::V1(v1) => v1.on_decrypted(answer, now),
            Self::V2(v2) => v2.state.on_verified(answer, now),
        }
    }
}
