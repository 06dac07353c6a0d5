//! What goes into the engine and what comes out of it.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::config::{KmsVersion, SocketAddress};
use crate::crypto::secret::Secret;
use crate::provider::kms::message::Annotations;
use crate::provider::transformer::{Decrypted, Encrypted, TransformError};

/// Names an operation: chosen by the caller, unique among those still open on one engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

/// Names a KMS call: chosen by the engine, answered once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names a KMS provider: stable over reloads while its name, version, endpoint and timeout stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(pub u32);

/// A KMS provider as the host needs it to place calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsProviderInfo {
    /// Its name in actions.
    pub id: ProviderId,
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The protocol to speak.
    pub version: KmsVersion,
    /// The endpoint as the configuration gives it.
    pub endpoint: String,
    /// The endpoint, parsed.
    pub address: SocketAddress,
    /// The deadline of each call.
    pub timeout: Duration,
}

/// What the host must do next.
#[derive(Debug)]
pub enum Action {
    /// Ask the plugin for its Status; answer with [`Event::Status`].
    CallStatus {
        /// Comes back with the answer.
        call: CallId,
        /// Whom to ask.
        provider: ProviderId,
    },
    /// Ask the plugin to encrypt; answer with [`Event::Encrypted`].
    CallEncrypt {
        /// Comes back with the answer.
        call: CallId,
        /// Whom to ask.
        provider: ProviderId,
        /// The request's `uid`.
        uid: String,
        /// A DEK or seed.
        plaintext: Secret,
    },
    /// Ask the plugin to decrypt; answer with [`Event::Decrypted`].
    CallDecrypt {
        /// Comes back with the answer.
        call: CallId,
        /// Whom to ask.
        provider: ProviderId,
        /// The request's `uid`.
        uid: String,
        /// What to decrypt.
        request: DecryptRequest,
    },
    /// A parked write is done.
    ToStorageDone {
        /// The caller's name for it.
        op: OpId,
        /// As `to_storage` would have answered.
        outcome: Result<Encrypted, TransformError>,
    },
    /// A parked read is done.
    FromStorageDone {
        /// The caller's name for it.
        op: OpId,
        /// As `from_storage` would have answered.
        outcome: Result<Decrypted, TransformError>,
    },
    /// A parked health check is done.
    HealthDone {
        /// The caller's name for it.
        op: OpId,
        /// As `health` would have answered.
        checks: Vec<Check>,
    },
    /// A reload took effect, or was refused and why. After a refusal the old configuration still serves.
    ReloadDone {
        /// Why it was refused.
        outcome: Result<(), String>,
    },
    /// Nothing uses this provider any more: close its connection.
    CloseProvider {
        /// Which.
        provider: ProviderId,
    },
    /// Write a log line.
    Log(LogLine),
}

/// An encrypted DEK source, as the plugin's Decrypt takes it.
#[derive(Clone, PartialEq, Eq)]
pub struct DecryptRequest {
    /// What the plugin's Encrypt gave.
    pub ciphertext: Vec<u8>,
    /// In the clear: for the plugin, never for a person.
    pub key_id: String,
    /// What the plugin added.
    pub annotations: Annotations,
}

impl fmt::Debug for DecryptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_id_hash = crate::provider::kms::message::key_id_hash(&self.key_id);
        f.debug_struct("DecryptRequest")
            .field("key_id_hash", &key_id_hash)
            .finish_non_exhaustive()
    }
}

/// A plugin's answer to Status.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusResponse {
    /// `v2` or `v2beta1`.
    pub version: String,
    /// `ok`, or what is wrong.
    pub healthz: String,
    /// The key ID that encrypts now, in the clear.
    pub key_id: String,
}

/// A plugin's answer to Encrypt.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptResponse {
    /// The encrypted DEK source.
    pub ciphertext: Vec<u8>,
    /// The key ID that it was encrypted with, in the clear.
    pub key_id: String,
    /// To be stored with it.
    pub annotations: Annotations,
}

/// A failed KMS call, as gRPC says it; or, where the code is 0, a fault that is no gRPC status and whose message is all there is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// gRPC status code; 0 for none.
    pub code: u32,
    /// The status message; comes from the plugin.
    pub message: String,
}

impl CallError {
    /// 1 KiB: what is kept of a text that a plugin sent, so that it cannot fill a log.
    pub const MESSAGE_MAX: usize = 1024;

    /// A call whose deadline passed.
    pub fn deadline_exceeded() -> Self {
        Self {
            code: 4,
            message: "context deadline exceeded".into(),
        }
    }

    /// The gRPC status code, if it is one.
    pub fn grpc_code(&self) -> Option<u32> {
        (self.code != 0).then_some(self.code)
    }

    /// The same, should the plugin have put this key ID into its text: a person sees only its hash.
    pub(crate) fn without(self, key_id: &str) -> Self {
        Self {
            code: self.code,
            message: without_key_id(&self.message, key_id),
        }
    }

    /// The name of a gRPC status code, as Go prints it.
    pub const fn code_name(code: u32) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "Canceled",
            "Unknown",
            "InvalidArgument",
            "DeadlineExceeded",
            "NotFound",
            "AlreadyExists",
            "PermissionDenied",
            "ResourceExhausted",
            "FailedPrecondition",
            "Aborted",
            "OutOfRange",
            "Unimplemented",
            "Internal",
            "Unavailable",
            "DataLoss",
            "Unauthenticated",
        ];
        if code < NAMES.len() as u32 {
            NAMES[code as usize]
        } else {
            "Unknown"
        }
    }
}

/// As Go's gRPC prints it: `rpc error: code = Unavailable desc = …`.
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.grpc_code() {
            f.write_str("rpc error: code = ")?;
            f.write_str(Self::code_name(code))?;
            f.write_str(" desc = ")?;
        }
        f.write_str(&shown(&self.message))
    }
}

impl core::error::Error for CallError {}

/// 4 bytes: a shorter key ID is not looked for in a plugin's texts, where it would stand by chance.
const KEY_ID_FOUND_MIN: usize = 4;

/// A plugin's text with its key ID replaced by the hash.
pub(crate) fn without_key_id(text: &str, key_id: &str) -> String {
    if key_id.len() < KEY_ID_FOUND_MIN {
        return text.into();
    }
    text.replace(key_id, &crate::provider::kms::message::key_id_hash(key_id))
}

/// A plugin's text as a person may see it; see [`shown`] and [`without_key_id`].
pub(crate) fn shown_without(text: &str, key_id: &str) -> String {
    shown(&without_key_id(text, key_id))
}

/// A text from outside as a person may see it: cut at [`CallError::MESSAGE_MAX`], without control characters.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        if shown.len() + c.len_utf8() > CallError::MESSAGE_MAX {
            shown.push('…');
            break;
        }
        shown.push(if c.is_control() { ' ' } else { c });
    }
    shown
}

/// What happened outside.
#[derive(Debug)]
pub enum Event {
    /// Answers [`Action::CallStatus`].
    Status {
        /// From the action.
        call: CallId,
        /// What the plugin said.
        outcome: Result<StatusResponse, CallError>,
    },
    /// Answers [`Action::CallEncrypt`].
    Encrypted {
        /// From the action.
        call: CallId,
        /// What the plugin said.
        outcome: Result<EncryptResponse, CallError>,
    },
    /// Answers [`Action::CallDecrypt`].
    Decrypted {
        /// From the action.
        call: CallId,
        /// What the plugin said.
        outcome: Result<Secret, CallError>,
    },
}

impl fmt::Debug for StatusResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusResponse")
            .field("version", &self.version)
            .field("healthz", &self.healthz)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for EncryptResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptResponse")
            .field("ciphertext_len", &self.ciphertext.len())
            .finish_non_exhaustive()
    }
}

/// One named check, as `/healthz` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// `kms-providers`, or `kms-provider-0` and so on.
    pub name: String,
    /// `None` when the check passes.
    pub fault: Option<String>,
}

/// One line for the host's log. Never holds a secret or a key ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// How much it matters.
    pub level: LogLevel,
    /// The KMS provider that it concerns.
    pub provider: Option<Arc<str>>,
    /// For a person.
    pub message: String,
}

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Something a person must look at.
    Error,
    /// Something that may turn into an error.
    Warn,
    /// A change of state.
    Info,
    /// Detail.
    Debug,
}
