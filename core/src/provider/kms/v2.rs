//! The KMS v2 provider: one DEK while the key ID is stable, nonces that never repeat, reads from a cache.
//!
//! [`key_state`] decides which DEK writes; [`write_dek`] holds it; [`dek_cache`] holds those that only read; [`envelope`] is the stored form.
//! Upstream: pkg/storage/value/encrypt/envelope/kmsv2 and encryptionconfig/config.go.

pub mod dek_cache;
pub mod envelope;
pub mod key_state;
pub mod write_dek;

use alloc::string::ToString;
use alloc::sync::Arc;

use self::dek_cache::{CacheKey, DekCache, ReadDek};
use self::envelope::EncryptedObject;
use self::key_state::KeyState;
use self::write_dek::SealError;
use crate::crypto::entropy::Entropy;
use crate::crypto::nonce::NonceError;
use crate::engine::event::{CallId, DecryptRequest, KmsProviderInfo};
use crate::map::SortedMap;
use crate::provider::kms::message::Annotations;
use crate::provider::kms::{DekNeeded, ReadStep, WriteStep};
use crate::provider::transformer::{ErrorKind, TransformError};
use crate::time::Timestamp;

/// One KMS v2 provider: its key state and its decrypted DEKs.
pub struct KmsV2 {
    /// What the host needs to place its calls.
    pub info: KmsProviderInfo,
    /// Which DEK writes.
    pub state: KeyState,
    /// The DEKs that read.
    pub cache: DekCache,
    /// Decrypts under way: each DEK is asked for once.
    pub(crate) in_flight: SortedMap<CacheKey, CallId>,
    /// The DEK in use has written and is in the cache, where its values find it after it was replaced. As in upstream, one that never wrote
    /// is never there.
    pub has_written: bool,
}

impl KmsV2 {
    /// Writes a value, or waits for the end of the first probe, or of the one that replaces a DEK which may encrypt no more.
    ///
    /// # Errors
    /// [`ErrorKind::NotReady`] without a DEK that may encrypt; [`ErrorKind::NoncesExhausted`], after which a rotation is due.
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
                    "the DEK of KMS provider {} has no nonce left; a new one is on its way",
                    self.info.name
                );
                Err(TransformError::new(ErrorKind::NoncesExhausted, message))
            }
            Err(SealError::Nonce(NonceError::Entropy(error))) => Err(error.into()),
            Err(SealError::Key(error)) => Err(error.into()),
        }
    }

    /// Reads what follows the prefix. `resumed` is what the plugin made of the DEK that an earlier step needed; `key_id_hash` is set once the
    /// value's DEK is at hand, as upstream counts the key ID then, whether or not the DEK opens the value.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`], [`ErrorKind::DecryptFailed`]; [`ErrorKind::NotReady`] before the first successful Status.
    pub fn read(
        &mut self,
        aad: &[u8],
        stored: &[u8],
        resumed: Option<ReadDek>,
        key_id_hash: &mut Option<Arc<str>>,
    ) -> Result<ReadStep, TransformError> {
        let object = EncryptedObject::decode(stored)
            .map_err(|error| TransformError::new(ErrorKind::Malformed, error.to_string()))?;
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
            let annotations = annotations
                .map(|(key, value)| (key.to_string(), value.to_vec()))
                .collect();
            let request = DecryptRequest {
                ciphertext: object.encrypted_dek_source.to_vec(),
                key_id: object.key_id.to_string(),
                annotations: Annotations::sorted(annotations),
            };
            return Ok(ReadStep::NeedsDek(
                name.key(),
                DekNeeded {
                    request,
                    source_type: object.source_type,
                    cbc_fallback: false,
                },
            ));
        };
        *key_id_hash = Some(if has_other_key_id {
            crate::provider::kms::message::key_id_hash(object.key_id).into()
        } else {
            write_key_id.hash().clone()
        });
        let (plaintext, _) = dek.open(aad, object.encrypted_data)?;
        // Only now is it known to be the right one: a plugin that once answers with another DEK must not make a value unreadable for as long
        // as the cache lives. Upstream keeps what it gets, for an hour.
        if let Some(dek) = resumed
            && !current.dek.is_named(name)
        {
            self.cache.insert(name, dek);
        }
        Ok(ReadStep::Done { plaintext, stale })
    }

    /// Keeps the DEK in use for reading, as if it had written.
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

    /// The DEK of what follows the prefix, if it is at hand.
    pub fn known_dek(&mut self, stored: &[u8]) -> Option<&ReadDek> {
        let object = EncryptedObject::decode(stored).ok()?;
        let name = object.dek_name();
        match self.state.current() {
            Some(current) if current.dek.is_named(name) => Some(current.dek.read()),
            _ => self.cache.find(name),
        }
    }

    /// Keeps the DEK of what follows the prefix.
    pub fn learn(&mut self, stored: &[u8], dek: ReadDek) {
        if let Ok(object) = EncryptedObject::decode(stored) {
            let name = object.dek_name();
            self.cache.insert(name, dek);
        }
    }

    fn unprimed(&self) -> TransformError {
        let reason = self
            .state
            .last_answer()
            .and_then(|(_, fault)| fault)
            .unwrap_or("it was not asked yet");
        let message = alloc::format!(
            "KMS provider {} has had no successful Status yet: {reason}",
            self.info.name
        );
        TransformError::new(ErrorKind::NotReady, message)
    }
}
