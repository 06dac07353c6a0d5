//! Which DEK writes, and for how long: one state machine per KMS v2 provider.
//!
//! ```text
//!            probe()                    key ID new, or the DEK must go            answer valid, key IDs agree          same bytes back
//!   Idle ───────────────▶ Status ─────────────────────────────────────▶ Encrypt ────────────────────────────▶ Verify ─────────────────▶ Idle
//!    ▲                      │ key ID unchanged: the expiry moves on        │                                     │                  new DEK
//!    └──────────────────────┴────────────── any failure: the old DEK stays, with its old expiry ("coast") ──────┘
//! ```
//!
//! Upstream: encryptionconfig/config.go, `kmsv2PluginProbe`. Two departures. Upstream extends the expiry even when the plugin calls itself
//! unhealthy (kubernetes#138950); here only [`Coast::Upstream`] does. And a new DEK is decrypted by the plugin once before its first use: a
//! plugin that cannot decrypt what it encrypted must never cost a value.

mod probe;

use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use core::time::Duration;

use self::probe::Probe;
use super::write_dek::WriteDek;
use crate::crypto::keys::DekSourceType;
use crate::crypto::nonce::CounterRange;
use crate::crypto::secret::Secret;
use crate::engine::event::DecryptRequest;
use crate::provider::kms::answer::LastAnswer;
use crate::time::Timestamp;

/// 1 minute: upstream's kmsv2PluginHealthzPositiveInterval.
pub const POLL_WHILE_HEALTHY: Duration = Duration::from_secs(60);
/// 10 seconds: upstream's kmsv2PluginHealthzNegativeInterval.
pub const POLL_WHILE_UNHEALTHY: Duration = Duration::from_secs(10);
/// 3 minutes: upstream's kmsv2PluginWriteDEKSourceMaxTTL. Measured from before the Status call was sent.
pub const WRITE_DEK_MAX_TTL: Duration = Duration::from_secs(180);
/// How long a plugin that answers unhealthy may keep its DEK in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Coast {
    /// An unhealthy answer never extends the write DEK's life.
    #[default]
    Strict,
    /// As kube-apiserver does: an unhealthy answer with a valid key ID extends it.
    Upstream,
}

/// What the key state asks of the plugin, one call at a time.
#[derive(Debug)]
pub enum Request {
    /// Its Status.
    Status,
    /// To encrypt a new DEK.
    Encrypt {
        /// Names the rotation in both sides' logs.
        uid: String,
        /// The DEK or seed.
        plaintext: Secret,
    },
    /// To decrypt what it just encrypted.
    Decrypt {
        /// Names the rotation in both sides' logs.
        uid: String,
        /// What to decrypt.
        request: DecryptRequest,
    },
}

/// What an answer led to.
#[derive(Debug)]
pub enum Step {
    /// The probe goes on with this call.
    Call(Request),
    /// The probe is over.
    Done(Outcome),
}

/// How a probe ended.
#[derive(Debug)]
pub struct Outcome {
    /// `None` when the plugin is healthy; in upstream's words otherwise.
    pub fault: Option<String>,
    /// A new DEK is in use: what changed, for the log.
    pub rotated: Option<String>,
    /// A new DEK was due and could not be generated.
    pub generation_failed: bool,
}

/// What a Status answer says of the plugin, for the counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyIdFromStatus {
    /// `sha256:<hex>`.
    Valid(Arc<str>),
    /// Upstream's error code: `empty` or `too_long`.
    Invalid(&'static str),
}

/// The DEK in use, with its expiry.
pub struct Current {
    /// What encrypts.
    pub dek: Arc<WriteDek>,
    /// When it was generated.
    pub since: Timestamp,
    /// After this it encrypts no more.
    pub expiry: Timestamp,
    /// Counts the DEKs of this key state.
    pub serial: u64,
}

impl Current {
    /// # Errors
    /// The text that a write gets after the expiry; upstream: kmsv2/envelope.go, `ValidateEncryptCapability`.
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

/// The key state of one provider.
pub struct KeyState {
    name: Arc<str>,
    source_type: DekSourceType,
    coast: Coast,
    version: Option<String>,
    current: Option<Current>,
    probe: Probe,
    /// When the last probe began, whether or not it has ended.
    sent: Timestamp,
    /// When the last probe began that has ended.
    asked: Option<Timestamp>,
    health: Option<LastAnswer>,
    next_poll: Timestamp,
    rotation_due: bool,
    range: CounterRange,
}

impl KeyState {
    /// A provider that was never asked: [`Self::poll_due`] at once. `range` is what of each new DEK's counter it may use.
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
        }
    }

    /// The DEK in use. While there is none, no read and no write works; once there is one, reads work for ever.
    pub fn current(&self) -> Option<&Current> {
        self.current.as_ref()
    }

    /// What new DEKs are.
    pub fn source_type(&self) -> DekSourceType {
        self.source_type
    }

    /// Whether the first probe has not ended yet: operations wait for it.
    pub fn is_priming(&self) -> bool {
        self.health.is_none()
    }

    /// Whether a probe has ended that began then or later.
    pub fn was_asked_since(&self, then: Timestamp) -> bool {
        self.asked.is_some_and(|asked| asked >= then)
    }

    /// Whether a probe is under way.
    pub fn is_probing(&self) -> bool {
        match self.probe {
            Probe::Idle => false,
            Probe::Status { .. } | Probe::Encrypt(_) | Probe::Verify(..) => true,
        }
    }

    /// The last answer, if it may still be used: for 20 s if it was good, for 3 s if it was bad.
    pub fn fresh_answer(&self, now: Timestamp) -> Option<Option<&str>> {
        self.health.as_ref()?.fresh(now)
    }

    /// The last answer however old, and when it came.
    pub fn last_answer(&self) -> Option<(Timestamp, Option<&str>)> {
        self.health.as_ref().map(LastAnswer::last)
    }

    /// When the next poll is due, unless a probe is under way.
    pub fn poll_due(&self) -> Option<Timestamp> {
        (!self.is_probing()).then_some(self.next_poll)
    }

    /// Takes over a DEK that another key state has verified.
    pub fn adopt(
        &mut self,
        dek: Arc<WriteDek>,
        since: Timestamp,
        expiry: Timestamp,
        now: Timestamp,
    ) {
        self.replace(dek, since, expiry);
        self.health = Some(LastAnswer::new(now, None));
    }

    /// Sets the expiry of the DEK in use, whose own key state knows it.
    pub fn extend(&mut self, expiry: Timestamp) {
        if let Some(current) = &mut self.current {
            current.expiry = expiry;
        }
    }

    fn replace(&mut self, dek: Arc<WriteDek>, since: Timestamp, expiry: Timestamp) {
        let serial = self.current.as_ref().map_or(0, |current| current.serial) + 1;
        self.current = Some(Current {
            dek,
            since,
            expiry,
            serial,
        });
    }

    /// The process or its machine was restored from a snapshot, and what is in memory may be in another memory too: the DEK in use, its
    /// counter, and a DEK that was on its way. None of them encrypts from now on. A probe under way is given up; the next is due at once, and
    /// makes a new DEK.
    pub fn retire(&mut self, now: Timestamp) {
        self.probe = Probe::Idle;
        self.rotation_due = true;
        self.next_poll = now;
        if let Some(current) = &mut self.current {
            let before_now = Timestamp::from_millis(now.as_millis().saturating_sub(1));
            current.expiry = current.expiry.min(before_now);
        }
    }

    /// Whether a DEK that must be replaced is being replaced.
    pub fn is_replacing(&self) -> bool {
        self.rotation_due && self.is_probing()
    }

    /// The nonces of the DEK in use are used up: replace it at the next Status, which is due at once.
    pub fn force_rotation(&mut self, now: Timestamp) {
        if !self.rotation_due {
            self.rotation_due = true;
            self.next_poll = now;
        }
    }
}
