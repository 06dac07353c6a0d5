//! The KMS v2 provider: one DEK while the key ID is stable, nonces that never repeat, and a cache of DEKs for reading.
//!
//! [`key_state`] decides which DEK encrypts; [`write_dek`] holds that DEK; [`dek_cache`](super::dek_cache) holds the DEKs that only decrypt; [`envelope`] is the stored
//! form. Upstream: pkg/storage/value/encrypt/envelope/kmsv2 and encryptionconfig/config.go.

pub mod envelope;
pub mod key_state;
pub mod write_dek;

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::sync::Arc;
use core::ops::Range;

use self::envelope::Fields;
use self::key_state::{Current, KeyState, WriteKey};
use crate::config::KmsVersion;
use crate::crypto::keys::{DekSourceType, OpeningKey};
use crate::crypto::nonce::Exhausted;
use crate::map::SortedMap;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::annotations::Annotations;
use crate::provider::kms::call::{CallId, DecryptRequest, KmsProviderInfo};
use crate::provider::kms::dek_cache::{CacheKey, DekCache, ReadDek};
use crate::provider::kms::message;
use crate::provider::kms::step::{DekNeeded, OpenStep, ReadStep, WriteStep};
use crate::provider::plan::SealPlan;
use crate::provider::prefix;
use crate::provider::stored::{Missing, Stored, same};
use crate::provider::value::ValueState;
use crate::time::Timestamp;

/// A KMS v2 provider: its key state and its decrypted DEKs.
pub struct KmsV2 {
    /// The data that the host needs to call the plugin.
    pub info: KmsProviderInfo,
    /// Decides which DEK encrypts.
    pub state: KeyState,
    /// The decrypted DEKs, for reading.
    pub cache: DekCache,
    /// The Decrypt calls under way, so that each DEK is requested only once.
    pub(crate) in_flight: SortedMap<CacheKey, CallId>,
    /// Whether the DEK in use has encrypted a value or was leased. It is then in the cache, so that its values can be read from the cache after it is
    /// replaced. As in upstream, a DEK that was never used is not cached.
    pub has_written: bool,
    /// The DEK of the last read that named one in the usual form.
    pub(crate) last_read: Option<LastRead>,
}

/// What follows the sealed bytes in the value of the last read, and the DEK that it names. The DEK has opened a value.
pub(crate) struct LastRead {
    end: Box<[u8]>,
    dek: ReadDek,
    key_id: Box<str>,
    hash: Arc<str>,
    source_type: DekSourceType,
}

/// The maximum length of the bytes that are kept for the next read, 2 KiB. Longer ones are parsed each time.
const END_KEPT_MAX: usize = 2048;

impl KmsV2 {
    /// Plans a write. Returns [`WriteStep::Priming`] if the write must wait for the first probe, or for the probe that replaces a DEK that may no
    /// longer encrypt.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotReady`] if there is no DEK that may encrypt, and [`ErrorKind::NoncesExhausted`] if the DEK has no nonce left, in which
    /// case its replacement is due.
    pub fn write(&mut self, now: Timestamp) -> Result<WriteStep, TransformError> {
        if self.state.is_priming() {
            return Ok(WriteStep::Priming);
        }
        let Some(current) = self.state.current() else {
            return Err(self.unprimed());
        };
        let dek = match current.validate_encrypt_capability(now) {
            Ok(dek) => dek.clone(),
            Err(_) if self.state.is_replacing() => return Ok(WriteStep::Priming),
            Err(message) => return Err(TransformError::new(ErrorKind::NotReady, message)),
        };
        self.keep_current();
        match dek.next_nonce() {
            Ok(nonce) => {
                let key_id_hash = Some(dek.source().key_id().hash().clone());
                Ok(WriteStep::Seal { plan: SealPlan::dek(dek, nonce), key_id_hash })
            }
            Err(Exhausted) => {
                self.state.force_rotation(now);
                let message = alloc::format!(
                    "the DEK of KMS provider {} has no nonce left; it is due to be replaced",
                    self.info.name
                );
                Err(TransformError::new(ErrorKind::NoncesExhausted, message))
            }
        }
    }

    /// Plans a read. `stored` is the part after the prefix. `resumed` is the DEK that an earlier step needed and that the plugin has decrypted.
    ///
    /// # Errors
    /// Returns [`Missing`] if the window of the value is too small. Returns [`ErrorKind::Malformed`] if the value cannot be parsed, and
    /// [`ErrorKind::NotReady`] before the first successful Status, unless the engine only decrypts.
    pub fn read(
        &mut self,
        stored: Stored<'_>,
        resumed: Option<&ReadDek>,
    ) -> Result<Result<ReadStep, TransformError>, Missing> {
        // Nearly all values that are read one after another end with the same bytes, which name their DEK.
        let split = envelope::split(stored)?;
        if let Some((sealed, end)) = &split
            && let Some(known) = self.known_by(end, stored.range(sealed.clone()))
        {
            let is_ready = self.is_ready();
            return Ok(
                is_ready.map(|ready| if ready { ReadStep::Open(known) } else { ReadStep::Priming })
            );
        }
        let fields = match Fields::decode(stored)? {
            Ok(fields) => fields,
            Err(error) => {
                let prefix = prefix::kms(KmsVersion::V2).len() + self.info.name.len() + 1;
                let message = error.after(prefix).to_string();
                return Ok(Err(TransformError::new(ErrorKind::Malformed, message)));
            }
        };
        // The end may have another sealed value, which counts. Then it does not say by itself what to open.
        let end = split.filter(|(sealed, _)| *sealed == fields.encrypted_data).map(|(_, end)| end);
        Ok(self.read_fields(stored, &fields, end, resumed))
    }

    /// Returns whether the provider can read: `false` before the first probe has ended.
    fn is_ready(&self) -> Result<bool, TransformError> {
        if self.state.is_read_only() {
            return Ok(true);
        }
        if self.state.is_priming() {
            return Ok(false);
        }
        if self.state.current().is_none() {
            return Err(self.unprimed());
        }
        Ok(true)
    }

    /// Returns the range that a DEK opens, if the bytes after the sealed value name it as those of the last read or of the DEK in use do. `dek` and
    /// `hash` are of a plan of this provider, so the state of that plan holds for this value, too. Returns `None` also if the window of the value is
    /// too small. `stored` is the part after the prefix.
    pub(crate) fn range_by_end(
        &self,
        stored: Stored<'_>,
        dek: &Arc<dyn OpeningKey>,
        hash: &Arc<str>,
    ) -> Option<Range<usize>> {
        let (sealed, end) = envelope::split(stored).ok()??;
        let is_named = |known: &ReadDek, known_hash: &Arc<str>, known_end: &[u8]| {
            Arc::ptr_eq(known.opening(), dek)
                && Arc::ptr_eq(known_hash, hash)
                && same(end, known_end)
        };
        let is_own = self.state.current().is_some_and(|Current { dek, .. }| {
            is_named(dek.read(), dek.source().key_id().hash(), &dek.frame().end)
        });
        let is_known = is_own
            || self
                .last_read
                .as_ref()
                .is_some_and(|LastRead { dek, hash, end, .. }| is_named(dek, hash, end));
        is_known.then(|| stored.range(sealed))
    }

    /// Plans a read by the bytes after the sealed value, if they name the DEK in use or the one of the last read in the usual form.
    fn known_by(&self, end: &[u8], range: Range<usize>) -> Option<OpenStep> {
        let own = self.state.current().filter(|current| same(end, &current.dek.frame().end));
        let (dek, hash, state) = if let Some(Current { dek, .. }) = own {
            (dek.read(), dek.source().key_id().hash(), Some(ValueState::Fresh))
        } else {
            let last = self.last_read.as_ref().filter(|last| same(end, &last.end))?;
            (&last.dek, &last.hash, self.value_state(&last.key_id, last.source_type))
        };
        let key_id_hash = Some(hash.clone());
        Some(OpenStep { dek: dek.clone(), range, key_id_hash, state, keep: None })
    }

    /// Returns how a value differs from what a write would produce.
    fn value_state(&self, key_id: &str, source_type: DekSourceType) -> Option<ValueState> {
        let write = self.state.write_key()?;
        Some(if write.id.as_str() != key_id {
            ValueState::Stale
        } else if write.source_type == source_type {
            ValueState::Fresh
        } else {
            ValueState::OtherSource
        })
    }

    fn read_fields(
        &mut self,
        stored: Stored<'_>,
        fields: &Fields<'_>,
        end: Option<&[u8]>,
        resumed: Option<&ReadDek>,
    ) -> Result<ReadStep, TransformError> {
        if !self.is_ready()? {
            return Ok(ReadStep::Priming);
        }
        let name = fields.dek_name();
        let own = self.state.current().filter(|current| current.dek.is_named(name));
        let mut keep = None;
        let dek = if let Some(current) = own {
            current.dek.read().clone()
        } else if let Some(dek) = resumed {
            keep = Some(self.cache.keep(name));
            dek.clone()
        } else if let Some(dek) = self.cache.find(name) {
            dek.clone()
        } else {
            let annotations = fields.annotations.iter();
            let annotations =
                annotations.map(|(key, value)| (key.to_string(), value.to_vec())).collect();
            let request = DecryptRequest {
                ciphertext: fields.encrypted_dek_source.to_vec(),
                key_id: fields.key_id.to_string(),
                annotations: Annotations::sorted(annotations),
            };
            let source_type = fields.source_type;
            let needed = DekNeeded { request, source_type, cbc_fallback: false };
            return Ok(ReadStep::NeedsDek(name.key(), needed));
        };
        let hash = match self.state.write_key() {
            Some(WriteKey { id, .. }) if fields.key_id == id.as_str() => id.hash().clone(),
            _ => message::key_id_hash(fields.key_id).into(),
        };
        if let (Some(end), None) = (end, &keep)
            && end.len() <= END_KEPT_MAX
        {
            self.last_read = Some(LastRead {
                end: end.into(),
                dek: dek.clone(),
                key_id: fields.key_id.into(),
                hash: hash.clone(),
                source_type: fields.source_type,
            });
        }
        Ok(ReadStep::Open(OpenStep {
            dek,
            range: stored.range(fields.encrypted_data.clone()),
            key_id_hash: Some(hash),
            state: self.value_state(fields.key_id, fields.source_type),
            keep,
        }))
    }

    /// Caches the DEK in use for reading, as its first write does.
    pub fn keep_current(&mut self) {
        if let Some(current) = self.state.current()
            && !self.has_written
        {
            self.has_written = true;
            let cache = &mut self.cache;
            let dek = &current.dek;
            dek.with_name(|name| cache.insert(name, dek.read().clone()));
        }
    }

    /// Returns the DEK of a value if it is cached. `stored` is the part after the prefix.
    ///
    /// # Errors
    /// Returns an error if the window of the value is too small.
    pub fn known_dek(&mut self, stored: Stored<'_>) -> Result<Option<&ReadDek>, Missing> {
        // The DEK in use is in the cache as soon as it has written or was leased: before that, no value names it.
        Ok(match Fields::decode(stored)? {
            Ok(fields) => self.cache.find(fields.dek_name()),
            Err(_) => None,
        })
    }

    /// Caches the DEK of a value. `stored` is the part after the prefix.
    ///
    /// # Errors
    /// Returns an error if the window of the value is too small.
    pub fn learn(&mut self, stored: Stored<'_>, dek: ReadDek) -> Result<(), Missing> {
        if let Ok(fields) = Fields::decode(stored)? {
            let name = fields.dek_name();
            self.cache.insert(name, dek);
        }
        Ok(())
    }

    fn unprimed(&self) -> TransformError {
        let answer = self.state.last_answer();
        let reason =
            answer.and_then(|answer| answer.fault.as_deref()).unwrap_or("it has not answered");
        let message = alloc::format!(
            "KMS provider {} has had no successful Status yet: {reason}",
            self.info.name
        );
        TransformError::new(ErrorKind::NotReady, message)
    }
}
