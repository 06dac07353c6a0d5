//! The KMS v1 provider: a new DEK for each write, cached for reading.
//!
//! A value is `prefix ‖ len[2, big-endian] encryptedDEK[len] nonce[12] ciphertext tag[16]`. Before Kubernetes 1.25, the part after the DEK was
//! `iv[16] ciphertext` of AES-CBC. A read tries AES-GCM first and then AES-CBC; a value that AES-CBC decrypts is stale. Upstream:
//! encrypt/envelope/envelope.go and encryptionconfig/config.go (kmsPluginProbe, unionTransformers).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::num::NonZeroUsize;
use core::ops::Range;

use crate::crypto::keys::{DekSourceType, KeyError, KeyStore, LocalCipher, SealingKey};
use crate::crypto::secret::{DekBytes, Secret};
use crate::map::SortedMap;
use crate::provider::error::{ErrorKind, TransformError};
use crate::provider::frame::{Frame, Start};
use crate::provider::kms::annotations::Annotations;
use crate::provider::kms::call::{
    CallError, CallId, DecryptRequest, EncryptResponse, KmsProviderInfo,
};
use crate::provider::kms::dek_cache::{CacheKey, DekCache, DekName, KeptName, ReadDek};
use crate::provider::kms::last_answer::{FreshAnswer, LastAnswer};
use crate::provider::kms::probe_step::{Outcome, Request, Step};
use crate::provider::kms::step::{DekNeeded, OpenStep, ReadStep};
use crate::provider::plan::SealPlan;
use crate::provider::stored::{Missing, Stored};
use crate::provider::value::ValueState;
use crate::time::Timestamp;

/// A KMS v1 provider.
pub struct KmsV1 {
    /// The data that the host needs to call the plugin.
    pub info: KmsProviderInfo,
    /// The configuration's `cachesize`. If it is negative, there is no cache.
    pub cache_size: i32,
    /// The decrypted DEKs, or `None` if `cachesize` is negative.
    pub cache: Option<DekCache>,
    /// The Decrypt calls under way, so that each DEK is requested only once.
    pub(crate) in_flight: SortedMap<CacheKey, CallId>,
    health: Option<LastAnswer>,
    /// Whether a probe is under way. The engine tracks which of its two calls is pending.
    is_probing: bool,
    /// Whether the engine only decrypts. There are then no probes, because a probe sends Encrypt.
    read_only: bool,
}

impl KmsV1 {
    /// Creates a provider that has not been probed yet. `seed` is the random seed of its cache.
    pub fn new(info: KmsProviderInfo, cache_size: i32, seed: &[u8; 16]) -> Self {
        let capacity = usize::try_from(cache_size).ok().and_then(NonZeroUsize::new);
        Self {
            info,
            cache_size,
            cache: capacity.map(|capacity| DekCache::new(capacity, seed)),
            in_flight: SortedMap::new(),
            health: None,
            is_probing: false,
            read_only: false,
        }
    }

    /// Creates the provider of an engine that only decrypts. It is never probed: its health is that of the plugin's last Decrypt.
    pub fn read_only(info: KmsProviderInfo, cache_size: i32, seed: &[u8; 16]) -> Self {
        Self { read_only: true, ..Self::new(info, cache_size, seed) }
    }

    /// Plans a read. `stored` is the part after the prefix. `resumed` is the DEK that an earlier step needed and that the plugin has decrypted.
    ///
    /// # Errors
    /// Returns [`Missing`] if the window of the value is too small, and [`ErrorKind::Malformed`] if the value cannot be parsed.
    pub fn read(
        &mut self,
        stored: Stored<'_>,
        resumed: Option<&ReadDek>,
    ) -> Result<Result<ReadStep, TransformError>, Missing> {
        let Some(EncryptedDek { bytes: encrypted_dek, sealed }) = EncryptedDek::of(stored)? else {
            return Ok(Err(TransformError::new(
                ErrorKind::Malformed,
                "invalid data encountered by envelope transformer: failed to read uint16 length prefixed data".to_string(),
            )));
        };
        let name = name(encrypted_dek);
        let mut keep = None;
        let dek = match (resumed, &mut self.cache) {
            (Some(dek), cache) => {
                keep = cache.as_ref().map(|cache| cache.keep(name));
                Some(dek)
            }
            (None, Some(cache)) => cache.find(name),
            (None, None) => None,
        };
        let Some(dek) = dek else {
            let request = DecryptRequest {
                ciphertext: encrypted_dek.to_vec(),
                key_id: String::new(),
                annotations: Annotations::default(),
            };
            let source_type = DekSourceType::AesGcmKey;
            let needed = DekNeeded { request, source_type, cbc_fallback: true };
            return Ok(Ok(ReadStep::NeedsDek(name.key(), needed)));
        };
        Ok(Ok(ReadStep::Open(OpenStep {
            dek: dek.clone(),
            range: stored.range(sealed),
            key_id_hash: None,
            state: Some(state(false)),
            keep,
        })))
    }

    /// Plans a write with a DEK that was generated for it and that the plugin has encrypted. Also returns the name and the DEK to cache when the value
    /// is sealed, if there is a cache.
    ///
    /// # Errors
    /// Returns an error if the encrypted DEK is empty, if its length does not fit in two bytes, or if the backend no longer has the key.
    pub fn seal(
        &self,
        prefix: &str,
        dek: Box<dyn SealingKey>,
        encrypted_dek: &[u8],
        keys: &dyn KeyStore,
    ) -> Result<(SealPlan, Option<(KeptName, ReadDek)>), TransformError> {
        let len = match u16::try_from(encrypted_dek.len()) {
            Ok(len) if len > 0 => len,
            _ => {
                let message = format!(
                    "the KMS plugin encrypted a DEK to {} bytes, expected 1 to {}",
                    encrypted_dek.len(),
                    u16::MAX
                );
                return Err(TransformError::new(ErrorKind::Kms, message));
            }
        };
        let frame = Frame {
            prefix: prefix.into(),
            start: Start::Fixed([&len.to_be_bytes(), encrypted_dek].concat()),
            end: Vec::new(),
        };
        let keep = match &self.cache {
            Some(cache) => {
                Some((cache.keep(name(encrypted_dek)), read_dek(keys, &dek.to_encrypt()?)?))
            }
            None => None,
        };
        Ok((SealPlan::once(dek, frame), keep))
    }

    /// Returns how full the cache is, from 0 to 1, or `None` if there is no cache.
    pub fn cache_fill(&self) -> Option<f64> {
        let cache = self.cache.as_ref()?;
        Some(cache.len() as f64 / f64::from(self.cache_size))
    }

    /// See [`super::Kms::fresh_answer`].
    pub fn fresh_answer(&self, now: Timestamp) -> FreshAnswer<'_> {
        match &self.health {
            Some(LastAnswer { fault: Some(fault), .. }) if self.read_only => {
                FreshAnswer::Bad(fault)
            }
            // Nothing is known against the plugin, and KMS v1 has no call that would find out without encrypting.
            Some(_) | None if self.read_only => FreshAnswer::Good,
            Some(answer) => answer.fresh(now),
            None => FreshAnswer::Missing,
        }
    }

    /// Handles the answer to the Decrypt of a read, which is all that an engine that only decrypts learns of the plugin's health.
    pub fn on_read(&mut self, answer: &Result<DekBytes, CallError>, now: Timestamp) {
        if self.read_only {
            let fault = answer.as_ref().err().map(|error| {
                format!(
                    "the last Decrypt of KMS provider {} failed, error: {error}",
                    self.info.name
                )
            });
            self.health = Some(LastAnswer { at: now, fault });
        }
    }

    /// See [`super::Kms::last_answer`].
    pub fn last_answer(&self) -> Option<&LastAnswer> {
        self.health.as_ref()
    }

    /// Starts a probe, unless one is under way or the engine only decrypts: Encrypt and then Decrypt of `ping`.
    pub fn probe(&mut self) -> Option<Request> {
        if self.is_probing || self.read_only {
            return None;
        }
        self.is_probing = true;
        Some(Request::Encrypt { uid: String::new(), plaintext: b"ping".to_vec().into() })
    }

    /// Handles the answer to the probe's Encrypt.
    pub fn on_encrypted(
        &mut self,
        answer: Result<EncryptResponse, CallError>,
        now: Timestamp,
    ) -> Step {
        match answer {
            Ok(answer) => Step::Call(Request::Decrypt {
                uid: String::new(),
                request: DecryptRequest {
                    ciphertext: answer.ciphertext,
                    key_id: String::new(),
                    annotations: Annotations::default(),
                },
            }),
            Err(error) => self.done(Some(("encrypt", &error)), now),
        }
    }

    /// Handles the answer to the probe's Decrypt.
    pub fn on_decrypted(&mut self, answer: Result<DekBytes, CallError>, now: Timestamp) -> Step {
        match answer {
            Ok(_) => self.done(None, now),
            Err(error) => self.done(Some(("decrypt", &error)), now),
        }
    }

    /// Ends the probe. As in upstream, the caller of the probe gets the wrapped error, and later callers that reuse the answer get the unwrapped one.
    fn done(&mut self, error: Option<(&str, &CallError)>, now: Timestamp) -> Step {
        self.is_probing = false;
        let fault = error.map(|(_, error)| error.to_string());
        self.health = Some(LastAnswer { at: now, fault });
        Step::Done(Outcome {
            fault: error.map(|(section, error)| {
                format!(
                    "failed to perform {section} section of the healthz check for KMS Provider {}, error: {error}",
                    self.info.name
                )
            }),
            rotated: None,
            generation_failed: false,
        })
    }
}

/// Creates the keys for AES-GCM and AES-CBC from a DEK that the plugin decrypted.
///
/// # Errors
/// Returns an error if the length of the DEK is not valid for AES.
pub fn read_dek(keys: &dyn KeyStore, bytes: &DekBytes) -> Result<ReadDek, KeyError> {
    let gcm = keys.import_dek(DekSourceType::AesGcmKey, bytes)?;
    let cbc: Box<_> = keys.local_dek(LocalCipher::AesCbc, bytes)?;
    Ok(ReadDek::with_cbc_fallback(gcm, cbc.into()))
}

/// As [`read_dek`], for a DEK that the caller has.
pub(super) fn v1_dek(keys: &dyn KeyStore, bytes: &Secret) -> Result<ReadDek, KeyError> {
    let gcm = keys.import(DekSourceType::AesGcmKey, bytes)?;
    let cbc: Box<_> = keys.local(LocalCipher::AesCbc, bytes.expose())?;
    Ok(ReadDek::with_cbc_fallback(gcm, cbc.into()))
}

/// Returns the state of a value. KMS v1 has no key IDs, so a value counts as fresh unless its cipher is the one from before Kubernetes 1.25.
pub(crate) fn state(is_cbc: bool) -> ValueState {
    if is_cbc { ValueState::Stale } else { ValueState::Fresh }
}

fn name(encrypted_dek: &[u8]) -> DekName<'_> {
    DekName {
        source_type: DekSourceType::AesGcmKey,
        source: encrypted_dek,
        key_id: "",
        annotations: &[],
    }
}

/// A value without its prefix: `len[2, big-endian] encryptedDEK[len] sealed`.
pub(super) struct EncryptedDek<'a> {
    bytes: &'a [u8],
    /// The position of the rest.
    pub(super) sealed: Range<usize>,
}

impl<'a> EncryptedDek<'a> {
    /// Splits a value. Returns `None` if it is too short.
    pub(super) fn of(stored: Stored<'a>) -> Result<Option<Self>, Missing> {
        let Some(len) = stored.first(2)?.first_chunk::<2>() else {
            return Ok(None);
        };
        let end = 2 + usize::from(u16::from_be_bytes(*len));
        Ok(stored.first(end)?.get(2..end).map(|bytes| Self { bytes, sealed: end..stored.len() }))
    }
}
