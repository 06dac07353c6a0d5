//! The error of a read or a write.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::kms::call::CallError;
use crate::crypto::entropy::EntropyError;
use crate::crypto::keys::{KeyError, OpenError};

/// The kind of error that stopped a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No provider's prefix matches.
    NoMatchingPrefix,
    /// The value is encrypted, and no rule specifies how to read this resource.
    EncryptedData,
    /// The key or the location is wrong, or the bytes were altered. These cases are deliberately not distinguished.
    DecryptFailed,
    /// The stored bytes are not a well-formed value of their provider.
    Malformed,
    /// The plugin refused the call, failed or timed out.
    Kms,
    /// The write DEK has expired, or there is none yet.
    NotReady,
    /// The write DEK has no nonce left, and is due to be replaced.
    NoncesExhausted,
    /// Too many operations are waiting for the plugin.
    Overloaded,
    /// The engine only decrypts.
    ReadOnly,
    /// A cipher or the source of randomness failed.
    Internal,
}

impl ErrorKind {
    /// Returns the name in the WIT interface, such as `no-matching-prefix`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoMatchingPrefix => "no-matching-prefix",
            Self::EncryptedData => "encrypted-data",
            Self::DecryptFailed => "decrypt-failed",
            Self::Malformed => "malformed",
            Self::Kms => "kms",
            Self::NotReady => "not-ready",
            Self::NoncesExhausted => "nonces-exhausted",
            Self::Overloaded => "overloaded",
            Self::ReadOnly => "read-only",
            Self::Internal => "internal",
        }
    }

    /// Returns whether the same operation may succeed later without any change to its input.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Kms | Self::NotReady | Self::NoncesExhausted | Self::Overloaded => true,
            Self::NoMatchingPrefix
            | Self::EncryptedData
            | Self::DecryptFailed
            | Self::Malformed
            | Self::ReadOnly
            | Self::Internal => false,
        }
    }
}

/// The error of a read or a write. It never contains a secret or a key ID.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransformError {
    /// The kind of the error.
    pub kind: ErrorKind,
    /// The message, for a person to read.
    pub message: String,
    /// The gRPC code, if a plugin's answer caused the error.
    pub grpc_code: Option<u32>,
}

impl TransformError {
    /// Creates an error that no plugin caused.
    pub const fn new(kind: ErrorKind, message: String) -> Self {
        Self { kind, message, grpc_code: None }
    }

    /// Creates the error of a failed KMS call. `what` describes the step that failed.
    pub fn kms(what: &str, error: &CallError) -> Self {
        Self {
            kind: ErrorKind::Kms,
            message: alloc::format!("{what}, error: {error}"),
            grpc_code: error.grpc_code(),
        }
    }

    /// Combines the errors of a search through several providers. The message contains all their texts. The kind and the gRPC code are those of the
    /// first transient error, or of the first error if no error is transient.
    ///
    /// If there are no errors, no provider matched, and the message is `no matching prefix found`.
    pub fn of_search(mut faults: Vec<Self>) -> Self {
        let Some(at) = faults
            .iter()
            .position(|fault| fault.kind.is_transient())
            .or(if faults.is_empty() { None } else { Some(0) })
        else {
            return Self::new(ErrorKind::NoMatchingPrefix, "no matching prefix found".to_string());
        };
        let message = aggregate(faults.iter().map(|fault| fault.message.as_str()));
        let Self { kind, message: _, grpc_code } = faults.swap_remove(at);
        Self { kind, message, grpc_code }
    }
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for TransformError {}

/// Keeps the plugin's text as it is, as upstream's KMS v1 does.
impl From<&CallError> for TransformError {
    fn from(error: &CallError) -> Self {
        Self { kind: ErrorKind::Kms, message: error.to_string(), grpc_code: error.grpc_code() }
    }
}

impl From<OpenError> for TransformError {
    fn from(error: OpenError) -> Self {
        let kind = match error {
            OpenError::TooShort => ErrorKind::Malformed,
            OpenError::Failed => ErrorKind::DecryptFailed,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<KeyError> for TransformError {
    fn from(error: KeyError) -> Self {
        Self::new(ErrorKind::Internal, error.to_string())
    }
}

impl From<EntropyError> for TransformError {
    fn from(error: EntropyError) -> Self {
        Self::new(ErrorKind::Internal, error.to_string())
    }
}

/// Joins several messages into one line as upstream does: a single message is unchanged, several become `[a, b]`, and duplicates are dropped.
///
/// Upstream: apimachinery's util/errors `Aggregate`.
pub(crate) fn aggregate<'a>(messages: impl Iterator<Item = &'a str>) -> String {
    let mut distinct: Vec<&str> = Vec::new();
    for message in messages {
        if !distinct.contains(&message) {
            distinct.push(message);
        }
    }
    match distinct.as_slice() {
        [one] => (*one).to_string(),
        many => alloc::format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_join_as_upstream_joins_them() {
        let table: [(&str, &[&str], &str); 3] = [
            ("one stands alone", &["a"], "a"),
            ("several in brackets", &["a", "b"], "[a, b]"),
            ("the same only once", &["a", "b", "a"], "[a, b]"),
        ];
        for (desc, faults, expected) in table {
            assert_eq!(aggregate(faults.iter().copied()), expected, "{desc}");
        }
    }

    #[test]
    fn a_search_error_has_the_kind_of_its_kms_error() {
        let error = TransformError::of_search(alloc::vec![
            TransformError::new(ErrorKind::DecryptFailed, "x".into()),
            TransformError { kind: ErrorKind::Kms, message: "y".into(), grpc_code: Some(14) },
        ]);
        assert_eq!(
            error,
            TransformError { kind: ErrorKind::Kms, message: "[x, y]".into(), grpc_code: Some(14) }
        );
        assert_eq!(TransformError::of_search(Vec::new()).kind, ErrorKind::NoMatchingPrefix);
    }
}
