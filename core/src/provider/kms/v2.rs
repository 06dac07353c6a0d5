//! The KMS v2 provider: one DEK while the key ID is stable, nonces that never repeat, and a cache of DEKs for reading.
//!
//! [`key_state`] decides which DEK encrypts; [`write_dek`] holds that DEK; [`dek_cache`](super::dek_cache) holds the DEKs that only decrypt; [`envelope`] is the stored
//! form. Upstream: pkg/storage/value/encrypt/envelope/kmsv2 and encryptionconfig/config.go.

pub mod envelope;
pub mod key_state;
pub mod write_dek;

use alloc::string::ToString;
use alloc::sync::Arc;

use self::envelope::EncryptedObject;
use self::key_state::KeyState;
use self::write_dek::SealError;
use crate::config::KmsVersion;
use crate::crypto::entropy::Entropy;
use crate::crypto::nonce::NonceError;
use crate::map::SortedMap;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::kms::annotations::Annotations;
use crate::provider::kms::call::{CallId, DecryptRequest, KmsProviderInfo};
use crate::provider::kms::dek_cache::{CacheKey, DekCache, ReadDek};
use crate::provider::kms::message;
use crate::provider::kms::step::{DekNeeded, ReadStep, WriteStep};
use crate::provider::prefix;
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
}

impl KmsV2 {
    /// Encrypts a value. Returns [`WriteStep::Priming`] if the write must wait for the first probe, or for the probe that replaces a DEK that may no
    /// longer encrypt.
    ///
    /// # Errors
    /// Returns [`ErrorKind::NotReady`] if there is no DEK that may encrypt, [`ErrorKind::NoncesExhausted`] if the DEK has no nonce left, in which
    /// case its replacement is due, and [`ErrorKind::Internal`] if the cipher or the source of randomness fails.
    pub fn write(
        &mut self,
        prefix: &str,
        aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> Result<WriteStep, TransformError> {
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
        match dek.seal(prefix.as_bytes(), aad, plaintext, entropy) {
            Ok(stored) => Ok(WriteStep::Done {
                stored,
                key_id_hash: Some(dek.source().key_id().hash().clone()),
            }),
            Err(SealError::Nonce(NonceError::Exhausted)) => {
                self.state.force_rotation(now);
                let message = alloc::format!(
                    "the DEK of KMS provider {} has no nonce left; it is due to be replaced",
                    self.info.name
                );
                Err(TransformError::new(ErrorKind::NoncesExhausted, message))
            }
            Err(SealError::Nonce(NonceError::Entropy(error))) => Err(error.into()),
            Err(SealError::Key(error)) => Err(error.into()),
        }
    }

    /// Decrypts a value. `stored` is the part after the prefix. `resumed` is the DEK that an earlier step needed and that the plugin has decrypted.
    /// `key_id_hash` is set as soon as the value's DEK is available, even if the DEK then fails to decrypt the value: upstream counts the key ID at
    /// that point.
    ///
    /// # Errors
    /// Returns [`ErrorKind::Malformed`] if the value cannot be parsed, [`ErrorKind::DecryptFailed`] if its DEK does not decrypt it, and
    /// [`ErrorKind::NotReady`] before the first successful Status.
    pub fn read(
        &mut self,
        aad: &[u8],
        stored: &[u8],
        resumed: Option<ReadDek>,
        key_id_hash: &mut Option<Arc<str>>,
    ) -> Result<ReadStep, TransformError> {
        let object = EncryptedObject::decode(stored).map_err(|error| {
            let prefix = prefix::kms(KmsVersion::V2).len() + self.info.name.len() + 1;
            TransformError::new(ErrorKind::Malformed, error.after(prefix).to_string())
        })?;
        if self.state.is_priming() {
            return Ok(ReadStep::Priming);
        }
        let Some(current) = self.state.current() else {
            return Err(self.unprimed());
        };
        let name = object.dek_name();
        let write_key_id = current.dek.source().key_id();
        let has_other_key_id = object.key_id != write_key_id.as_str();
        let stale = has_other_key_id || object.source_type != current.dek.source_type();
        let dek = if current.dek.is_named(name) {
            current.dek.read()
        } else if let Some(dek) = &resumed {
            dek
        } else if let Some(dek) = self.cache.find(name) {
            dek
        } else {
            let annotations = object.annotations.iter();
            let annotations =
                annotations.map(|(key, value)| (key.to_string(), value.to_vec())).collect();
            let request = DecryptRequest {
                ciphertext: object.encrypted_dek_source.to_vec(),
                key_id: object.key_id.to_string(),
                annotations: Annotations::sorted(annotations),
            };
            return Ok(ReadStep::NeedsDek(
                name.key(),
                DekNeeded { request, source_type: object.source_type, cbc_fallback: false },
            ));
        };
        *key_id_hash = Some(if has_other_key_id {
            message::key_id_hash(object.key_id).into()
        } else {
            write_key_id.hash().clone()
        });
        let plaintext = dek.open(aad, object.encrypted_data)?.plaintext;
        // Only now is the DEK known to be the right one. If the plugin returned a wrong DEK once and it were cached earlier, the value would be
        // unreadable for the lifetime of the cache. Upstream caches the DEK unchecked, for an hour.
        if let Some(dek) = resumed
            && !current.dek.is_named(name)
        {
            self.cache.insert(name, dek);
        }
        Ok(ReadStep::Done { plaintext, stale })
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
    pub fn known_dek(&mut self, stored: &[u8]) -> Option<&ReadDek> {
        let object = EncryptedObject::decode(stored).ok()?;
        // The DEK in use is in the cache as soon as it has written or was leased: before that, no value names it.
        self.cache.find(object.dek_name())
    }

    /// Caches the DEK of a value. `stored` is the part after the prefix.
    pub fn learn(&mut self, stored: &[u8], dek: ReadDek) {
        if let Ok(object) = EncryptedObject::decode(stored) {
            let name = object.dek_name();
            self.cache.insert(name, dek);
        }
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
