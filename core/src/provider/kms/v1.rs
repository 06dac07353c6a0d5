//! The KMS v1 provider: a fresh DEK for each write, kept for reading.
//!
//! A value is `prefix ‖ len[2, big-endian] encryptedDEK[len] nonce[12] ciphertext tag[16]`. Before Kubernetes 1.25 the part after the DEK was
//! `iv[16] ciphertext` of AES-CBC: a read tries AES-GCM and then that, and what the second opens is stale. Upstream:
//! encrypt/envelope/envelope.go and encryptionconfig/config.go (kmsPluginProbe, unionTransformers).

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::num::NonZeroUsize;

use super::answer::LastAnswer;
use super::v2::dek_cache::{CacheKey, DekCache, DekName, ReadDek};
use super::v2::key_state::{Outcome, Request, Step};
use super::{DekNeeded, ReadStep};
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{DekSourceType, Envelope, KeyError, KeyStore, NONCE_LEN, SealingKey};
use crate::crypto::local::LocalCipher;
use crate::crypto::secret::Secret;
use crate::engine::event::{CallError, CallId, DecryptRequest, EncryptResponse, KmsProviderInfo};
use crate::map::SortedMap;
use crate::provider::kms::message::Annotations;
use crate::provider::transformer::{ErrorKind, TransformError};
use crate::time::Timestamp;

/// One KMS v1 provider.
pub struct KmsV1 {
    /// What the host needs to place its calls.
    pub info: KmsProviderInfo,
    /// `cachesize` of the configuration; negative for no cache.
    pub cache_size: i32,
    /// The DEKs that read; `None` when `cachesize` is negative.
    pub cache: Option<DekCache>,
    /// Decrypts under way: each DEK is asked for once.
    pub(crate) in_flight: SortedMap<CacheKey, CallId>,
    health: Option<LastAnswer>,
    /// Which of a probe's two calls is under way the engine knows; here counts only that one is.
    is_probing: bool,
}

impl KmsV1 {
    /// A provider that was never asked. `seed` is the cache's.
    pub fn new(info: KmsProviderInfo, cache_size: i32, seed: &[u8; 16]) -> Self {
        let capacity = usize::try_from(cache_size).ok().and_then(NonZeroUsize::new);
        Self {
            info,
            cache_size,
            cache: capacity.map(|capacity| DekCache::new(capacity, seed)),
            in_flight: SortedMap::new(),
            health: None,
            is_probing: false,
        }
    }

    /// Reads what follows the prefix. `resumed` is what the plugin made of the DEK that an earlier step needed.
    ///
    /// # Errors
    /// [`ErrorKind::Malformed`], [`ErrorKind::DecryptFailed`].
    pub fn read(
        &mut self,
        aad: &[u8],
        stored: &[u8],
        resumed: Option<ReadDek>,
    ) -> Result<ReadStep, TransformError> {
        let (encrypted_dek, sealed) = split(stored).ok_or_else(|| {
            TransformError::new(
                ErrorKind::Malformed,
                "invalid data encountered by envelope transformer: failed to read uint16 length prefixed data".to_string(),
            )
        })?;
        let name = name(encrypted_dek);
        let cached = match (&resumed, &mut self.cache) {
            (None, Some(cache)) => cache.find(name),
            _ => None,
        };
        let Some(dek) = resumed.as_ref().or(cached) else {
            let request = DecryptRequest {
                ciphertext: encrypted_dek.to_vec(),
                key_id: String::new(),
                annotations: Annotations::default(),
            };
            return Ok(ReadStep::NeedsDek(
                name.key(),
                DekNeeded {
                    request,
                    source_type: DekSourceType::AesGcmKey,
                    cbc_fallback: true,
                },
            ));
        };
        let (plaintext, stale) = dek.open(aad, sealed)?;
        // As in KMS v2: what has opened a value is the right DEK.
        if let (Some(dek), Some(cache)) = (resumed, &mut self.cache) {
            cache.insert(name, dek);
        }
        Ok(ReadStep::Done { plaintext, stale })
    }

    /// Writes a value with a DEK made for it, which the plugin has encrypted; the DEK is kept for reading.
    ///
    /// # Errors
    /// When the encrypted DEK is empty or its length does not fit in two bytes, or a cipher or the randomness fails.
    pub fn seal(
        &mut self,
        prefix: &str,
        aad: &[u8],
        plaintext: &[u8],
        dek: &dyn SealingKey,
        encrypted_dek: &[u8],
        with: (&dyn KeyStore, &dyn Entropy),
    ) -> Result<Vec<u8>, TransformError> {
        let (keys, entropy) = with;
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
        let mut nonce = [0; NONCE_LEN];
        entropy.fill(&mut nonce)?;
        let start = [&len.to_be_bytes(), encrypted_dek].concat();
        let envelope = Envelope {
            prefix: prefix.as_bytes(),
            start: &start,
            header: &nonce,
            end: &[],
        };
        let out = dek.seal(envelope, aad, plaintext)?;
        if let Some(cache) = &mut self.cache {
            cache.insert(name(encrypted_dek), read_dek(keys, &dek.export()?)?);
        }
        Ok(out)
    }

    /// How full the cache is, from 0 to 1; `None` without one.
    pub fn cache_fill(&self) -> Option<f64> {
        let cache = self.cache.as_ref()?;
        Some(cache.len() as f64 / f64::from(self.cache_size))
    }

    /// As [`super::Kms::fresh_answer`].
    pub fn fresh_answer(&self, now: Timestamp) -> Option<Option<&str>> {
        self.health.as_ref()?.fresh(now)
    }

    /// As [`super::Kms::last_answer`].
    pub fn last_answer(&self) -> Option<(Timestamp, Option<&str>)> {
        self.health.as_ref().map(LastAnswer::last)
    }

    /// Begins a probe, unless one is under way: Encrypt, then Decrypt, of `ping`.
    pub fn probe(&mut self) -> Option<Request> {
        if self.is_probing {
            return None;
        }
        self.is_probing = true;
        Some(Request::Encrypt {
            uid: String::new(),
            plaintext: Secret::new(b"ping".to_vec()),
        })
    }

    /// The answer to the probe's Encrypt.
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

    /// The answer to the probe's Decrypt.
    pub fn on_decrypted(&mut self, answer: Result<Secret, CallError>, now: Timestamp) -> Step {
        match answer {
            Ok(_) => self.done(None, now),
            Err(error) => self.done(Some(("decrypt", &error)), now),
        }
    }

    /// Upstream wraps the error for this caller, and keeps it bare for those who get the answer again.
    fn done(&mut self, error: Option<(&str, &CallError)>, now: Timestamp) -> Step {
        self.is_probing = false;
        self.health = Some(LastAnswer::new(
            now,
            error.map(|(_, error)| error.to_string()),
        ));
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

/// A DEK that the plugin decrypted, for AES-GCM and for AES-CBC.
///
/// # Errors
/// When it has no length that AES takes.
pub fn read_dek(keys: &dyn KeyStore, bytes: &Secret) -> Result<ReadDek, KeyError> {
    let gcm = keys.import(DekSourceType::AesGcmKey, bytes)?;
    let cbc: Box<_> = keys.local(LocalCipher::AesCbc, bytes.expose())?;
    Ok(ReadDek::with_cbc_fallback(gcm, cbc.into()))
}

fn name(encrypted_dek: &[u8]) -> DekName<'_> {
    DekName {
        source_type: DekSourceType::AesGcmKey,
        source: encrypted_dek,
        key_id: "",
        annotations: &[],
    }
}

/// `len[2, big-endian] encryptedDEK[len]`, and what follows.
pub(super) fn split(stored: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = stored.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
