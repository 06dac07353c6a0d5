//! The key state of a KMS v2 provider: which DEK encrypts, and for how long. It is one state machine for each provider.
//!
//! ```text
//!            probe()                    key ID new, or the DEK must go            answer valid, key IDs agree          same bytes back
//!   Idle ───────────────▶ Status ─────────────────────────────────────▶ Encrypt ────────────────────────────▶ Verify ─────────────────▶ Idle
//!    ▲                      │ key ID unchanged: the expiry moves on        │                                     │                  new DEK
//!    └──────────────────────┴────────────── any failure: the old DEK stays, with its old expiry ("coast") ──────┘
//! ```
//!
//! The probe of a read-only key state ends with the Status answer: it generates no DEK.
//!
//! Upstream: encryptionconfig/config.go, `kmsv2PluginProbe`. There are three differences:
//!
//! - Upstream extends the expiry even if the plugin reports that it is unhealthy (kubernetes#138950). Here only [`Coast::Upstream`] does.
//! - The plugin must decrypt a new DEK once before its first use, so that no value is lost to a plugin that cannot decrypt what it encrypted.
//! - Upstream reports every change of the plugin's version as an error. Here only [`Coast::Upstream`] does; otherwise a plugin may be upgraded.

mod probe;

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use super::write_dek::WriteDek;
use crate::crypto::keys::{DekSourceType, SealingKey};
use crate::crypto::nonce::CounterRange;
use crate::provider::kms::last_answer::{FreshAnswer, LastAnswer};
use crate::provider::kms::message::{EncryptedDekSource, KeyId};
use crate::provider::kms::probe_step::Step;
use crate::time::Timestamp;

/// The time between polls after a good answer, 1 minute: upstream's kmsv2PluginHealthzPositiveInterval.
pub const POLL_WHILE_HEALTHY: Duration = Duration::from_secs(60);
/// The time between polls after a bad answer, 10 seconds: upstream's kmsv2PluginHealthzNegativeInterval.
pub const POLL_WHILE_UNHEALTHY: Duration = Duration::from_secs(10);
/// How long a write DEK may encrypt after a good Status, 3 minutes: upstream's kmsv2PluginWriteDEKSourceMaxTTL. Measured from before the Status call
/// was sent.
pub const WRITE_DEK_MAX_TTL: Duration = Duration::from_secs(180);
/// Whether the answer of an unhealthy plugin extends the expiry of its write DEK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coast {
    /// An unhealthy answer never extends the expiry.
    #[default]
    Strict,
    /// An unhealthy answer with a valid key ID extends the expiry, as in kube-apiserver.
    Upstream,
}

/// What a Status answer contains as the key ID, for the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyIdFromStatus {
    /// The hash of a valid key ID: `sha256:<hex>`.
    Valid(Arc<str>),
    /// Upstream's error code for an invalid key ID: `empty` or `too_long`.
    Invalid(&'static str),
}

/// The next step of a probe after a Status answer.
#[derive(Debug)]
pub struct StatusStep {
    /// The next step.
    pub step: Step,
    /// What the answer contains as the key ID, or `None` if the call failed.
    pub key_id: Option<KeyIdFromStatus>,
}

/// The DEK in use, with its expiry.
pub struct Current {
    /// The DEK that encrypts.
    pub dek: Arc<WriteDek>,
    /// When it was generated.
    pub since: Timestamp,
    /// When the DEK stops encrypting.
    pub expiry: Timestamp,
    /// The number of the DEK among all DEKs that this key state has used.
    pub serial: u64,
}

impl Current {
    /// Returns the DEK if it has not expired.
    ///
    /// # Errors
    /// Returns the error text of a write after the expiry. Upstream: kmsv2/envelope.go, `ValidateEncryptCapability`.
    pub fn validate_encrypt_capability(&self, now: Timestamp) -> Result<&Arc<WriteDek>, String> {
        if now > self.expiry {
            let hash = self.dek.source().key_id().hash();
            return Err(format!(
                "encryptedDEKSource with keyID hash \"{hash}\" expired at {} (current time is {now})",
                self.expiry
            ));
        }
        Ok(&self.dek)
    }
}

/// The key that a write would use.
#[derive(Clone, Copy, Debug)]
pub struct WriteKey<'a> {
    /// The key ID.
    pub id: &'a KeyId,
    /// The type of the DEK source.
    pub source_type: DekSourceType,
}

/// Whether a key state provides DEKs to write with.
#[derive(Debug)]
enum Access {
    /// It provides DEKs.
    ReadWrite,
    /// It only asks for Status. Holds the key ID of the last healthy answer.
    ReadOnly { key_id: Option<KeyId> },
}

/// The state of a probe.
enum Probe {
    Idle,
    Status { sent: Timestamp },
    Encrypt(Rotation),
    Verify(Rotation, EncryptedDekSource),
}

/// The error of a probe.
struct ProbeFault {
    /// For the caller of this probe.
    now: String,
    /// For later callers that reuse the answer.
    later: String,
}

/// A new DEK that is not in use yet.
struct Rotation {
    uid: String,
    key: Box<dyn SealingKey>,
    status_key_id: KeyId,
    begun: Timestamp,
    expiry: Timestamp,
    /// The errors in the Status answer that caused the rotation. Only [`Coast::Upstream`] continues in spite of errors.
    faults: Vec<String>,
}

/// The key state of one provider.
pub struct KeyState {
    name: Arc<str>,
    source_type: DekSourceType,
    coast: Coast,
    version: Option<String>,
    current: Option<Current>,
    probe: Probe,
    /// When the most recent probe began, whether or not it has ended.
    sent: Timestamp,
    /// When the most recently completed probe began.
    asked: Option<Timestamp>,
    health: Option<LastAnswer>,
    next_poll: Timestamp,
    rotation_due: bool,
    range: CounterRange,
    access: Access,
}

impl KeyState {
    /// Creates the key state of a provider that has not been probed yet, whose first poll is due at once. `range` contains the counter values that
    /// each new DEK may use.
    pub fn new(
        name: Arc<str>,
        source_type: DekSourceType,
        coast: Coast,
        range: CounterRange,
        now: Timestamp,
    ) -> Self {
        Self {
            name,
            source_type,
            coast,
            version: None,
            current: None,
            probe: Probe::Idle,
            sent: now,
            asked: None,
            health: None,
            next_poll: now,
            rotation_due: false,
            range,
            access: Access::ReadWrite,
        }
    }

    /// Creates the key state of an engine that only decrypts. It never has a DEK: each probe ends with the Status answer.
    pub fn read_only(
        name: Arc<str>,
        source_type: DekSourceType,
        coast: Coast,
        now: Timestamp,
    ) -> Self {
        let none = CounterRange { start: 0, end: 0 };
        Self {
            access: Access::ReadOnly { key_id: None },
            ..Self::new(name, source_type, coast, none, now)
        }
    }

    /// Returns whether this key state never has a DEK. Reads then do not wait for a probe.
    pub fn is_read_only(&self) -> bool {
        match self.access {
            Access::ReadWrite => false,
            Access::ReadOnly { .. } => true,
        }
    }

    /// Returns the key that a write would use: that of the DEK in use, or in a read-only key state that of the last healthy Status.
    pub fn write_key(&self) -> Option<WriteKey<'_>> {
        match (&self.current, &self.access) {
            (Some(Current { dek, .. }), _) => {
                Some(WriteKey { id: dek.source().key_id(), source_type: dek.source_type() })
            }
            (None, Access::ReadOnly { key_id: Some(id) }) => {
                Some(WriteKey { id, source_type: self.source_type })
            }
            (None, Access::ReadOnly { key_id: None } | Access::ReadWrite) => None,
        }
    }

    /// Returns the DEK in use. Until there is one, reads and writes fail. Once there is one, reads work indefinitely.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// Returns the type of new DEKs.
    pub fn source_type(&self) -> DekSourceType {
        self.source_type
    }

    /// Returns whether the first probe has not ended yet. Operations wait for it.
    pub fn is_priming(&self) -> bool {
        self.health.is_none()
    }

    /// Returns whether a probe that began at `then` or later has ended.
    pub fn was_asked_since(&self, then: Timestamp) -> bool {
        self.asked.is_some_and(|asked| asked >= then)
    }

    /// Returns whether a probe is under way.
    pub fn is_probing(&self) -> bool {
        match self.probe {
            Probe::Idle => false,
            Probe::Status { .. } | Probe::Encrypt(_) | Probe::Verify(..) => true,
        }
    }

    /// Returns the last health answer, if it may still be reused: for 20 s if it was good, for 3 s if it was bad.
    pub fn fresh_answer(&self, now: Timestamp) -> FreshAnswer<'_> {
        self.health.as_ref().map_or(FreshAnswer::Missing, |answer| answer.fresh(now))
    }

    /// Returns the last health answer regardless of its age.
    pub fn last_answer(&self) -> Option<&LastAnswer> {
        self.health.as_ref()
    }

    /// Returns when the next poll is due, or `None` while a probe is under way.
    pub fn poll_due(&self) -> Option<Timestamp> {
        (!self.is_probing()).then_some(self.next_poll)
    }

    /// Takes over a DEK that another key state has verified, in place of the DEK in use.
    pub fn adopt(
        &mut self,
        dek: Arc<WriteDek>,
        since: Timestamp,
        expiry: Timestamp,
        now: Timestamp,
    ) {
        self.replace(dek, since, expiry);
        self.health = Some(LastAnswer { at: now, fault: None });
    }

    /// Sets the expiry of the DEK in use, as determined by the key state that owns the DEK.
    pub fn extend(&mut self, expiry: Timestamp) {
        if let Some(current) = &mut self.current {
            current.expiry = expiry;
        }
    }

    fn replace(&mut self, dek: Arc<WriteDek>, since: Timestamp, expiry: Timestamp) {
        let serial = self.current.as_ref().map_or(0, |current| current.serial) + 1;
        self.current = Some(Current { dek, since, expiry, serial });
    }

    /// Retires the DEK in use after the process or its machine was restored from a snapshot. Another copy of the memory may hold this DEK with its
    /// counter, and also the new DEK of a rotation under way, so neither may encrypt from now on. A probe under way is dropped. The next probe is due
    /// at once and generates a new DEK.
    pub fn retire(&mut self, now: Timestamp) {
        self.probe = Probe::Idle;
        self.rotation_due = true;
        self.next_poll = now;
        if let Some(current) = &mut self.current {
            let before_now = Timestamp::from_millis(now.as_millis().saturating_sub(1));
            current.expiry = current.expiry.min(before_now);
        }
    }

    /// Returns whether the DEK in use must be replaced and a probe is under way to do so.
    pub fn is_replacing(&self) -> bool {
        self.rotation_due && self.is_probing()
    }

    /// Requests a new DEK because the nonces of the DEK in use are used up. The next probe is due at once and replaces the DEK.
    pub fn force_rotation(&mut self, now: Timestamp) {
        if !self.rotation_due {
            self.rotation_due = true;
            self.next_poll = now;
        }
    }
}
