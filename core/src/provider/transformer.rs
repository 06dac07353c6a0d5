//! A provider as the engine uses it: a prefix and the transformer for it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::identity::Identity;
use crate::crypto::entropy::{Entropy, EntropyError};
use crate::crypto::keys::{KeyError, OpenError};
use crate::crypto::secret::Secret;
use crate::engine::event::{CallError, ProviderId};

/// A provider that encrypts and decrypts without a plugin.
pub trait LocalTransformer: Send + Sync {
    /// Encrypts `plaintext` and returns the bytes to store after the provider's prefix. `key` is the storage key. Ciphers that support AAD use it as
    /// the AAD.
    ///
    /// # Errors
    /// Returns an error if the cipher or the source of randomness fails.
    fn to_storage(
        &self,
        key: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
        failed: Failed<'_>,
    ) -> Result<LocalWritten, TransformError>;

    /// Decrypts `stored`, the part of a value after the provider's prefix. Returns the plaintext, and whether the value is stale: not encrypted as a
    /// write would encrypt it now. `stored` is attacker-controlled; implementations must not panic.
    ///
    /// # Errors
    /// Returns an error if the value cannot be decrypted. A wrong key, a wrong location and altered bytes are one opaque
    /// [`ErrorKind::DecryptFailed`].
    fn from_storage(
        &self,
        key: &[u8],
        stored: &[u8],
        failed: Failed<'_>,
    ) -> Result<LocalRead, TransformError>;
}

/// A callback for each named key that failed. Its argument is the prefix of the key's values, or [`UNKNOWN`] if no key matched.
pub type Failed<'a> = &'a mut dyn FnMut(&str);
/// The bytes to store, and the prefix of the values of the named key that encrypted them, if there is one.
pub type LocalWritten = (Vec<u8>, Option<Arc<str>>);
/// The plaintext, whether it is stale, and the prefix of the values of the named key that decrypted it, if there is one.
pub type LocalRead = (Secret, bool, Option<Arc<str>>);

/// Upstream's metric label for a value that no prefix matches.
pub const UNKNOWN: &str = "unknown";

/// An element of a resource's list of providers.
#[derive(Clone)]
pub struct Transformer {
    /// The prefix of its values, such as `k8s:enc:kms:v2:my-kms:`; empty for identity.
    pub prefix: Arc<str>,
    /// The transformer for values with this prefix.
    pub transform: Transform,
}

impl Transformer {
    /// Returns the identity transformer, which stores plaintext.
    pub fn identity() -> Self {
        Self { prefix: "".into(), transform: Transform::Local(Arc::new(Identity)) }
    }

    /// Returns the KMS provider of this transformer, or `None` if it is local.
    pub(crate) fn kms_provider(&self) -> Option<ProviderId> {
        match &self.transform {
            Transform::Local(_) => None,
            Transform::Kms(id) => Some(*id),
        }
    }
}

/// The transformer for a prefix.
#[derive(Clone)]
pub enum Transform {
    /// A local provider, which returns its result at once.
    Local(Arc<dyn LocalTransformer>),
    /// A KMS provider, which calls its plugin if necessary.
    Kms(ProviderId),
}

/// The location of a stored value.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// The resource, then its group: `secrets`, `deployments.apps`.
    pub resource: &'a str,
    /// The full storage key, such as `/registry/secrets/default/token`. Every provider that supports AAD uses it as the AAD.
    pub key: &'a [u8],
}

/// The result of a write.
#[derive(Debug)]
pub struct Encrypted {
    /// The bytes to store.
    pub stored: Vec<u8>,
    /// The prefix of the transformer that encrypted the value; empty for identity.
    pub transformer_prefix: Arc<str>,
    /// The part of the stored value that follows this prefix and names the key: the key's name and `:`. Only for aesgcm, aescbc and secretbox.
    pub key_prefix: Option<Arc<str>>,
    /// Whether a rule of the configuration covers the resource. Without a rule the value is plaintext, and upstream does not count it.
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID. Only for KMS v2.
    pub key_id_hash: Option<Arc<str>>,
}

/// The result of a read.
#[derive(Debug)]
pub struct Decrypted {
    /// The plaintext.
    pub plaintext: Secret,
    /// Whether the value should be rewritten, because a write would no longer produce it in this form.
    pub stale: bool,
    /// The prefix of the transformer that decrypted the value; empty for identity.
    pub transformer_prefix: Arc<str>,
    /// The part of the stored value that names the key; see [`Encrypted::key_prefix`].
    pub key_prefix: Option<Arc<str>>,
    /// Whether a rule of the configuration covers the resource; see [`Encrypted::has_rule`].
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID. Only for KMS v2.
    pub key_id_hash: Option<Arc<str>>,
}

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
    /// A cipher or the source of randomness failed.
    Internal,
}

impl ErrorKind {
    /// Returns whether the same operation may succeed later without any change to its input.
    pub const fn is_transient(self) -> bool {
        match self {
            Self::Kms | Self::NotReady | Self::NoncesExhausted | Self::Overloaded => true,
            Self::NoMatchingPrefix
            | Self::EncryptedData
            | Self::DecryptFailed
            | Self::Malformed
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
