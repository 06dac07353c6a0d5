//! A probe: the Status call, and the calls that follow from its answer.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{
    Access, Coast, Current, KeyIdFromStatus, KeyState, POLL_WHILE_HEALTHY, POLL_WHILE_UNHEALTHY,
    Probe, ProbeFault, Rotation, StatusStep, WRITE_DEK_MAX_TTL,
};
use crate::config::KmsVersion;
use crate::crypto::entropy::{Entropy, uuid};
use crate::crypto::keys::{DekSourceType, KeyError, KeyStore, SealingKey};
use crate::crypto::secret::DekBytes;
use crate::provider::error::aggregate;
use crate::provider::kms::call::{
    CallError, DecryptRequest, EncryptResponse, StatusResponse, shown_without,
};
use crate::provider::kms::last_answer::LastAnswer;
use crate::provider::kms::message::{EncryptedDekSource, KeyId, MessageError, key_id_hash};
use crate::provider::kms::probe_step::{Outcome, Request, Step};
use crate::provider::kms::v2::write_dek::WriteDek;
use crate::provider::prefix;
use crate::time::Timestamp;

impl KeyState {
    /// Starts a probe, unless one is under way.
    pub fn probe(&mut self, now: Timestamp) -> Option<Request> {
        if self.is_probing() {
            return None;
        }
        self.sent = now;
        self.probe = Probe::Status { sent: now };
        Some(Request::Status)
    }

    /// Handles the answer to [`Request::Status`].
    pub fn on_status(
        &mut self,
        answer: Result<StatusResponse, CallError>,
        keys: &dyn KeyStore,
        entropy: &dyn Entropy,
        now: Timestamp,
    ) -> StatusStep {
        let Probe::Status { sent } = core::mem::replace(&mut self.probe, Probe::Idle) else {
            return StatusStep { step: self.unexpected(now), key_id: None };
        };
        let status = match answer {
            Ok(status) => status,
            Err(error) => return StatusStep { step: self.status_failed(error, now), key_id: None },
        };
        let mut faults = self.status_faults(&status);
        let key_id = match KeyId::try_from(status.key_id.as_str()) {
            Ok(key_id) => key_id,
            Err(error) => {
                let code = if error == MessageError::KeyIdEmpty { "empty" } else { "too_long" };
                faults.push(format!(
                    "got invalid KMSv2 KeyID hash \"{}\": {error}",
                    key_id_hash(&status.key_id)
                ));
                let key_id = Some(KeyIdFromStatus::Invalid(code));
                return StatusStep { step: self.unhealthy(&faults, now), key_id };
            }
        };
        StatusStep {
            key_id: Some(KeyIdFromStatus::Valid(key_id.hash().clone())),
            step: match self.coast {
                Coast::Strict if !faults.is_empty() => self.unhealthy(&faults, now),
                Coast::Strict | Coast::Upstream if self.is_read_only() => {
                    self.access = Access::ReadOnly { key_id: Some(key_id) };
                    self.finish(&faults, None, now)
                }
                Coast::Strict | Coast::Upstream => {
                    let expiry = sent + WRITE_DEK_MAX_TTL;
                    if self.extend_current(&key_id, expiry) {
                        self.finish(&faults, None, now)
                    } else {
                        self.begin_rotation((keys, entropy), key_id, expiry, faults, now)
                    }
                }
            },
        }
    }

    /// Ends a probe whose Status failed.
    fn status_failed(&mut self, error: CallError, now: Timestamp) -> Step {
        let error = self.without_key_id(error);
        // As in upstream, the caller of the probe gets the wrapped error, and later callers that reuse the answer get the unwrapped one.
        let fault = ProbeFault {
            now: format!(
                "failed to perform status section of the healthz check for KMS Provider {}, error: {error}",
                self.name
            ),
            later: error.to_string(),
        };
        self.done(Some(fault), None, now)
    }

    /// Returns the errors in a Status answer, except those of its key ID.
    fn status_faults(&mut self, status: &StatusResponse) -> Vec<String> {
        let mut faults = Vec::new();
        if status.healthz != "ok" {
            faults.push(format!(
                "got unexpected healthz status: {}",
                shown_without(&status.healthz, &status.key_id)
            ));
        }
        if status.version != "v2" && status.version != "v2beta1" {
            faults.push(format!(
                "expected KMSv2 API version v2, got {}",
                shown_without(&status.version, &status.key_id)
            ));
        } else {
            faults.extend(self.version_fault(&status.version));
        }
        faults
    }

    /// Extends the expiry of the DEK in use. Returns `false` if it must be replaced, or if there is none.
    fn extend_current(&mut self, key_id: &KeyId, expiry: Timestamp) -> bool {
        match &mut self.current {
            Some(current)
                if !self.rotation_due
                    && current.dek.source().key_id() == key_id
                    && current.dek.source_type() == self.source_type =>
            {
                current.expiry = current.expiry.max(expiry);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Generates a new DEK, which the plugin must encrypt.
    fn begin_rotation(
        &mut self,
        with: (&dyn KeyStore, &dyn Entropy),
        status_key_id: KeyId,
        expiry: Timestamp,
        mut faults: Vec<String>,
        now: Timestamp,
    ) -> Step {
        let (keys, entropy) = with;
        match self.new_dek(keys, entropy) {
            Ok((uid, key, plaintext)) => {
                let request = Request::Encrypt { uid: uid.clone(), plaintext };
                let rotation = Rotation { uid, key, status_key_id, begun: now, expiry, faults };
                self.probe = Probe::Encrypt(rotation);
                Step::Call(request)
            }
            Err(error) => {
                faults.push(self.rotation_fault("", &error.to_string(), status_key_id.hash(), ""));
                match self.unhealthy(&faults, now) {
                    Step::Done(outcome) => {
                        Step::Done(Outcome { generation_failed: true, ..outcome })
                    }
                    call @ Step::Call(_) => call,
                }
            }
        }
    }

    /// Handles the answer to [`Request::Encrypt`].
    pub fn on_encrypted(
        &mut self,
        answer: Result<EncryptResponse, CallError>,
        now: Timestamp,
    ) -> Step {
        let Probe::Encrypt(rotation) = core::mem::replace(&mut self.probe, Probe::Idle) else {
            return self.unexpected(now);
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let error = error.without(rotation.status_key_id.as_str());
                return self.rotation_failed(
                    rotation,
                    &format!("failed to encrypt DEK, error: {error}"),
                    "",
                    now,
                );
            }
        };
        let encrypt_hash = key_id_hash(&answer.key_id);
        let source =
            match EncryptedDekSource::new(answer.ciphertext, &answer.key_id, answer.annotations) {
                Ok(source) => source,
                Err(error) => {
                    let prefix = match error {
                        MessageError::KeyIdEmpty | MessageError::KeyIdTooLong { .. } => {
                            "failed to validate key id: "
                        }
                        _ => "",
                    };
                    return self.rotation_failed(rotation, &format!("{prefix}{error}"), "", now);
                }
            };
        if *source.key_id() != rotation.status_key_id {
            return self.rotation_failed(rotation, "<nil>", &encrypt_hash, now);
        }
        let request = Request::Decrypt {
            uid: rotation.uid.clone(),
            request: DecryptRequest {
                ciphertext: source.ciphertext().to_vec(),
                key_id: source.key_id().as_str().to_string(),
                annotations: source.annotations().clone(),
            },
        };
        self.probe = Probe::Verify(rotation, source);
        Step::Call(request)
    }

    /// Handles the answer to [`Request::Decrypt`].
    pub fn on_verified(&mut self, answer: Result<DekBytes, CallError>, now: Timestamp) -> Step {
        let Probe::Verify(rotation, source) = core::mem::replace(&mut self.probe, Probe::Idle)
        else {
            return self.unexpected(now);
        };
        let hash = source.key_id().hash().to_string();
        let fault = match answer {
            Ok(decrypted) => match rotation.key.is(&decrypted) {
                Ok(true) => None,
                Ok(false) => Some(
                    "the plugin decrypted the new DEK to different bytes; the DEK is not used"
                        .to_string(),
                ),
                Err(error) => Some(error.to_string()),
            },
            Err(error) => {
                let error = error.without(source.key_id().as_str());
                Some(format!(
                    "the plugin could not decrypt the new DEK, which is not used, error: {error}"
                ))
            }
        };
        if let Some(fault) = fault {
            return self.rotation_failed(rotation, &fault, &hash, now);
        }
        let Rotation { uid, key, status_key_id: _, begun, expiry, faults } = rotation;
        let prefix = prefix::kms_provider(KmsVersion::V2, &self.name);
        let dek = match WriteDek::new(&prefix, key, self.source_type, source, self.range) {
            Ok(dek) => dek,
            Err(error) => return self.unhealthy(&[error.to_string()], now),
        };
        let old = self
            .current
            .as_ref()
            .map_or("none", |current| current.dek.source().key_id().hash())
            .to_string();
        self.replace(Arc::new(dek), begun, expiry);
        self.rotation_due = false;
        let rotated = format!(
            "a new DEK is in use, uid {uid}, key ID hash {hash}, previously {old}, valid until {expiry}"
        );
        self.finish(&faults, Some(rotated), now)
    }

    /// Returns an error if a valid version differs from the previous one and must be reported.
    ///
    /// MUST DIFFER: upstream holds the plugin to its first version for the lifetime of the process, so a plugin that is upgraded from `v2beta1` to
    /// `v2` stops all writes. Here an upgrade is accepted. A downgrade is reported as an error once and then accepted. In both cases a new DEK
    /// verifies that the changed plugin can encrypt and decrypt. [`Coast::Upstream`] behaves as upstream does.
    fn version_fault(&mut self, version: &str) -> Option<String> {
        let first = self.version.get_or_insert_with(|| version.to_string());
        if first == version {
            return None;
        }
        let fault = format!(
            "KMSv2 API version should not change after the initial status response version {first}, got {version}"
        );
        match self.coast {
            Coast::Upstream => Some(fault),
            Coast::Strict => {
                *first = version.to_string();
                self.rotation_due = true;
                (version != "v2").then_some(fault)
            }
        }
    }

    /// Replaces the current key ID with its hash in the error of a Status call, because the plugin may name the key that it used last.
    fn without_key_id(&self, error: CallError) -> CallError {
        match self.write_key() {
            Some(key) => error.without(key.id.as_str()),
            None => error,
        }
    }

    fn new_dek(
        &self,
        keys: &dyn KeyStore,
        entropy: &dyn Entropy,
    ) -> Result<(String, Box<dyn SealingKey>, DekBytes), KeyError> {
        let uid = uuid(entropy)?;
        let key = keys.generate(self.source_type, entropy)?;
        let plaintext = key.to_encrypt()?;
        Ok((uid, key, plaintext))
    }

    fn rotation_failed(
        &mut self,
        rotation: Rotation,
        error: &str,
        encrypt_hash: &str,
        now: Timestamp,
    ) -> Step {
        let mut faults = rotation.faults;
        faults.push(self.rotation_fault(
            &rotation.uid,
            error,
            rotation.status_key_id.hash(),
            encrypt_hash,
        ));
        self.unhealthy(&faults, now)
    }

    /// Returns upstream's text for a failed rotation: encryptionconfig/config.go, the end of `rotateDEKOnKeyIDChange`. If there is no DEK in use, its
    /// state error reports that, and its expiry is Go's zero time.
    fn rotation_fault(
        &self,
        uid: &str,
        error: &str,
        status_hash: &str,
        encrypt_hash: &str,
    ) -> String {
        let use_seed = self.source_type == DekSourceType::HkdfSha256XnonceAesGcmSeed;
        let (state_error, state_hash, expiry) = match &self.current {
            Some(current) => {
                ("<nil>", &**current.dek.source().key_id().hash(), current.expiry.to_string())
            }
            None => ("got unexpected nil transformer", "", "0001-01-01T00:00:00Z".to_string()),
        };
        format!(
            "failed to rotate DEK uid=\"{uid}\", useSeed={use_seed}, errState={state_error}, errGen={error}, statusKeyIDHash=\"{status_hash}\", \
             encryptKeyIDHash=\"{encrypt_hash}\", stateKeyIDHash=\"{state_hash}\", expirationTimestamp={expiry}"
        )
    }

    fn unhealthy(&mut self, faults: &[String], now: Timestamp) -> Step {
        self.finish(faults, None, now)
    }

    fn unexpected(&mut self, now: Timestamp) -> Step {
        self.unhealthy(&["received an answer to a call that is not pending".to_string()], now)
    }

    /// Ends a probe whose Status was answered.
    fn finish(&mut self, faults: &[String], rotated: Option<String>, now: Timestamp) -> Step {
        let fault = (!faults.is_empty()).then(|| {
            let faults = aggregate(faults.iter().map(String::as_str));
            format!("kmsv2 Provider {} is not healthy, error: {faults}", self.name)
        });
        let fault = fault.map(|fault| ProbeFault { now: fault.clone(), later: fault });
        self.done(fault, rotated, now)
    }

    /// Ends a probe.
    fn done(&mut self, fault: Option<ProbeFault>, rotated: Option<String>, now: Timestamp) -> Step {
        let (fault, later) = fault.map(|ProbeFault { now, later }| (now, later)).unzip();
        self.probe = Probe::Idle;
        self.asked = Some(self.sent);
        let has_expired = |current: &Current| now > current.expiry;
        self.next_poll = if later.is_some() {
            now + POLL_WHILE_UNHEALTHY
        } else if self.current.as_ref().is_some_and(has_expired) {
            // The answer came so late that the DEK has already expired again, because its expiry counts from when the Status call was sent.
            now
        } else {
            now + POLL_WHILE_HEALTHY
        };
        self.health = Some(LastAnswer { at: now, fault: later });
        Step::Done(Outcome { fault, rotated, generation_failed: false })
    }
}
