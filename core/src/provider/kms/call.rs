//! A KMS call: its IDs, its requests and answers, its error, and how a plugin's texts are shown.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use super::annotations::Annotations;
use super::message::key_id_hash;
use crate::config::{KmsVersion, SocketAddress};

/// Identifies a KMS call. The engine chooses it; the host answers each call once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Identifies a KMS provider. It is stable across reloads while the provider's name, version, endpoint, timeout and, for KMS v1, cache size stay the
/// same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProviderId(pub u32);

/// The data that the host needs to call a KMS provider's plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KmsProviderInfo {
    /// The provider's ID in actions.
    pub id: ProviderId,
    /// The provider's name in the configuration.
    pub name: Arc<str>,
    /// The version of the KMS protocol to use.
    pub version: KmsVersion,
    /// The endpoint as the configuration contains it.
    pub endpoint: String,
    /// The endpoint, parsed.
    pub address: SocketAddress,
    /// The time limit of each call.
    pub timeout: Duration,
}

/// The request of a Decrypt call: an encrypted DEK source.
#[derive(Clone, PartialEq, Eq)]
pub struct DecryptRequest {
    /// The ciphertext that the plugin's Encrypt returned.
    pub ciphertext: Vec<u8>,
    /// The key ID in clear text: send it to the plugin, but never show it to a person.
    pub key_id: String,
    /// The annotations that the plugin's Encrypt returned.
    pub annotations: Annotations,
}

impl fmt::Debug for DecryptRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key_id_hash = key_id_hash(&self.key_id);
        f.debug_struct("DecryptRequest").field("key_id_hash", &key_id_hash).finish_non_exhaustive()
    }
}

/// A plugin's response to Status.
#[derive(Clone, PartialEq, Eq)]
pub struct StatusResponse {
    /// `v2` or `v2beta1`.
    pub version: String,
    /// `ok`, or a description of the problem.
    pub healthz: String,
    /// The ID of the key that the plugin currently encrypts with, in clear text.
    pub key_id: String,
}

impl fmt::Debug for StatusResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusResponse")
            .field("version", &self.version)
            .field("healthz", &self.healthz)
            .finish_non_exhaustive()
    }
}

/// A plugin's response to Encrypt.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptResponse {
    /// The encrypted DEK source.
    pub ciphertext: Vec<u8>,
    /// The ID of the key that encrypted it, in clear text.
    pub key_id: String,
    /// The annotations to store with it.
    pub annotations: Annotations,
}

impl fmt::Debug for EncryptResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptResponse")
            .field("ciphertext_len", &self.ciphertext.len())
            .finish_non_exhaustive()
    }
}

/// The error of a failed KMS call, as gRPC reports it. If the code is 0, the error is not a gRPC status, and only its message is displayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// The gRPC status code; 0 if there is none.
    pub code: u32,
    /// The status message, which comes from the plugin.
    pub message: String,
}

impl CallError {
    /// The maximum length of a plugin's text when it is shown, 1 KiB. The limit keeps the plugin from filling a log.
    pub const MESSAGE_MAX: usize = 1024;

    /// Returns the error of a call whose deadline passed.
    pub fn deadline_exceeded() -> Self {
        Self { code: 4, message: "context deadline exceeded".into() }
    }

    /// Returns the gRPC status code, or `None` if the error is not a gRPC status.
    pub fn grpc_code(&self) -> Option<u32> {
        (self.code != 0).then_some(self.code)
    }

    /// Returns the same error with `key_id` replaced by its hash in the message, in case the plugin included it. People see only the hash of a key
    /// ID.
    pub(crate) fn without(self, key_id: &str) -> Self {
        Self { code: self.code, message: without_key_id(&self.message, key_id) }
    }

    /// Returns the name of a gRPC status code, as Go prints it.
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
        if code < NAMES.len() as u32 { NAMES[code as usize] } else { "Unknown" }
    }
}

/// Formats the error as Go's gRPC does: `rpc error: code = Unavailable desc = …`.
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

/// The minimum length of a key ID that is replaced in a plugin's texts, 4 bytes. A shorter one would match by chance.
const KEY_ID_FOUND_MIN: usize = 4;

/// Returns a plugin's text with the key ID replaced by its hash.
pub(crate) fn without_key_id(text: &str, key_id: &str) -> String {
    if key_id.len() < KEY_ID_FOUND_MIN {
        return text.into();
    }
    text.replace(key_id, &key_id_hash(key_id))
}

/// Returns a plugin's text as it may be shown to a person; see [`shown`] and [`without_key_id`].
pub(crate) fn shown_without(text: &str, key_id: &str) -> String {
    shown(&without_key_id(text, key_id))
}

/// Returns an external text as it may be shown to a person: cut at [`CallError::MESSAGE_MAX`], with control characters replaced by spaces.
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

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn codes_above_16_are_unknown() {
        for (code, expected) in [
            (0, "OK"),
            (14, "Unavailable"),
            (16, "Unauthenticated"),
            (17, "Unknown"),
            (u32::MAX, "Unknown"),
        ] {
            assert_eq!(CallError::code_name(code), expected, "{code}");
        }
    }

    #[test]
    fn a_shown_text_is_cut_at_its_limit_and_has_no_control_characters() {
        let max = CallError::MESSAGE_MAX;
        let a = |len: usize| "a".repeat(len);
        for (desc, text, expected) in [
            ("the longest", a(max), a(max)),
            ("one byte more", a(max + 1), a(max) + "…"),
            ("a character that ends at the limit", a(max - 2) + "ä", a(max - 2) + "ä"),
            ("a character that crosses the limit", a(max - 1) + "ä", a(max - 1) + "…"),
            ("control characters", "a\n\u{1b}[31mb".to_string(), "a  [31mb".to_string()),
        ] {
            assert_eq!(shown(&text), expected, "{desc}");
        }
    }

    #[test]
    fn a_key_id_of_four_bytes_or_more_is_replaced_by_its_hash() {
        assert_eq!(without_key_id("no key abc", "abc"), "no key abc");
        let replaced = without_key_id("no key abcd", "abcd");
        assert_eq!(replaced, "no key ".to_string() + &key_id_hash("abcd"));
    }
}
