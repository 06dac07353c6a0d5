//! A provider as the engine sees it: a prefix, and what stands behind it.

use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use super::identity::Identity;
use crate::crypto::entropy::{Entropy, EntropyError};
use crate::crypto::keys::{KeyError, OpenError};
use crate::crypto::secret::Secret;
use crate::engine::event::{CallError, ProviderId};

/// A provider that needs nobody else to read and write.
pub trait LocalTransformer: Send + Sync {
    /// The bytes to store after the provider's prefix. `key` is the storage key, the AAD of ciphers that have one.
    ///
    /// # Errors
    /// When the cipher or the source of randomness fails.
    fn to_storage(
        &self,
        key: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
        failed: Failed<'_>,
    ) -> Result<LocalWritten, TransformError>;

    /// The plaintext, and whether it was not sealed as a write would seal it now. `stored` is what follows the provider's prefix; it is
    /// attacker-controlled and this must not panic.
    ///
    /// # Errors
    /// One opaque [`ErrorKind::DecryptFailed`] for whatever the cipher finds wrong.
    fn from_storage(
        &self,
        key: &[u8],
        stored: &[u8],
        failed: Failed<'_>,
    ) -> Result<LocalRead, TransformError>;
}

/// Told of each named key that did not do: what its values begin with, or [`UNKNOWN`] when no key matched.
pub type Failed<'a> = &'a mut dyn FnMut(&str);
/// The bytes to store, and what the values of the named key that sealed them begin with.
pub type LocalWritten = (Vec<u8>, Option<Arc<str>>);
/// The plaintext, whether it is stale, and what the values of the named key that opened it begin with.
pub type LocalRead = (Secret, bool, Option<Arc<str>>);

/// What upstream's counts call a value that nothing matches.
pub const UNKNOWN: &str = "unknown";

/// One element of a resource's list of providers.
#[derive(Clone)]
pub struct Transformer {
    /// What its values begin with, such as `k8s:enc:kms:v2:my-kms:`; empty for identity.
    pub prefix: Arc<str>,
    /// What stands behind it.
    pub transform: Transform,
}

impl Transformer {
    /// Plaintext.
    pub fn identity() -> Self {
        Self {
            prefix: "".into(),
            transform: Transform::Local(Arc::new(Identity)),
        }
    }

    /// The KMS provider behind it, if there is one.
    pub(crate) fn kms_provider(&self) -> Option<ProviderId> {
        match &self.transform {
            Transform::Local(_) => None,
            Transform::Kms(id) => Some(*id),
        }
    }
}

/// What stands behind a prefix.
#[derive(Clone)]
pub enum Transform {
    /// Answers at once.
    Local(Arc<dyn LocalTransformer>),
    /// Asks a plugin when it must.
    Kms(ProviderId),
}

/// Where a value is stored.
#[derive(Clone, Copy, Debug)]
pub struct Location<'a> {
    /// `secrets`, `deployments.apps`: the resource, then its group.
    pub resource: &'a str,
    /// The full storage key, such as `/registry/secrets/default/token`: the AAD of every provider that has one.
    pub key: &'a [u8],
}

/// What a write gives.
#[derive(Debug)]
pub struct Encrypted {
    /// The bytes to store.
    pub stored: Vec<u8>,
    /// The prefix of the transformer that wrote it; empty for identity.
    pub transformer_prefix: Arc<str>,
    /// What follows it for the key that wrote: the key's name and `:`; aesgcm, aescbc and secretbox only.
    pub key_prefix: Option<Arc<str>>,
    /// A rule of the configuration covers the resource. Without one it is plaintext, and upstream does not count it.
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID; KMS v2 only.
    pub key_id_hash: Option<Arc<str>>,
}

/// What a read gives.
#[derive(Debug)]
pub struct Decrypted {
    /// The plaintext.
    pub plaintext: Secret,
    /// The value should be rewritten: it is not what a write would produce now.
    pub stale: bool,
    /// The prefix of the transformer that read it; empty for identity.
    pub transformer_prefix: Arc<str>,
    /// As [`Encrypted::key_prefix`].
    pub key_prefix: Option<Arc<str>>,
    /// As [`Encrypted::has_rule`].
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID; KMS v2 only.
    pub key_id_hash: Option<Arc<str>>,
}

/// What kind of fault stopped a read or a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No provider's prefix matches.
    NoMatchingPrefix,
    /// The value is encrypted, and no rule says how this resource is read.
    EncryptedData,
    /// Wrong key, wrong location, or altered bytes: deliberately not told apart.
    DecryptFailed,
    /// The stored bytes are not a well-formed value of their provider.
    Malformed,
    /// The plugin refused, failed or ran out of time.
    Kms,
    /// The write DEK has expired, or there is none yet.
    NotReady,
    /// The write DEK's nonces are used up; a rotation is under way.
    NoncesExhausted,
    /// Too many operations wait for the plugin.
    Overloaded,
    /// A cipher or the source of randomness failed.
    Internal,
}

impl ErrorKind {
    /// Whether the same operation may pass later, with nothing changed but time.
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

/// Why a read or a write failed. Never holds a secret or a key ID.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransformError {
    /// What kind of fault it is.
    pub kind: ErrorKind,
    /// For a person.
    pub message: String,
    /// The gRPC code, where a plugin's answer caused it.
    pub grpc_code: Option<u32>,
}

impl TransformError {
    /// A fault that no plugin caused.
    pub const fn new(kind: ErrorKind, message: String) -> Self {
        Self {
            kind,
            message,
            grpc_code: None,
        }
    }

    /// A plugin's refusal, with what was asked of it.
    pub fn kms(what: &str, error: &CallError) -> Self {
        Self {
            kind: ErrorKind::Kms,
            message: alloc::format!("{what}, error: {error}"),
            grpc_code: error.grpc_code(),
        }
    }

    /// One fault for all that a search through several providers met: all the texts, and the kind of the first that may pass later.
    ///
    /// With no fault at all, nothing matched: `no matching prefix found`.
    pub fn of_search(mut faults: Vec<Self>) -> Self {
        let Some(at) = faults
            .iter()
            .position(|fault| fault.kind.is_transient())
            .or(if faults.is_empty() { None } else { Some(0) })
        else {
            return Self::new(
                ErrorKind::NoMatchingPrefix,
                "no matching prefix found".to_string(),
            );
        };
        let message = aggregate(faults.iter().map(|fault| fault.message.as_str()));
        let Self {
            kind,
            message: _,
            grpc_code,
        } = faults.swap_remove(at);
        Self {
            kind,
            message,
            grpc_code,
        }
    }
}

impl fmt::Display for TransformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl core::error::Error for TransformError {}

/// A plugin's refusal in its own words, as upstream's KMS v1 passes it on.
impl From<&CallError> for TransformError {
    fn from(error: &CallError) -> Self {
        Self {
            kind: ErrorKind::Kms,
            message: error.to_string(),
            grpc_code: error.grpc_code(),
        }
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

/// Several faults in one line, as upstream joins them: one alone as it is, more as `[a, b]`, each only once.
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
    fn faults_join_as_upstream_joins_them() {
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
    fn search_names_the_fault_that_may_pass() {
        let error = TransformError::of_search(alloc::vec![
            TransformError::new(ErrorKind::DecryptFailed, "x".into()),
            TransformError {
                kind: ErrorKind::Kms,
                message: "y".into(),
                grpc_code: Some(14)
            },
        ]);
        assert_eq!(
            error,
            TransformError {
                kind: ErrorKind::Kms,
                message: "[x, y]".into(),
                grpc_code: Some(14)
            }
        );
        assert_eq!(
            TransformError::of_search(Vec::new()).kind,
            ErrorKind::NoMatchingPrefix
        );
    }
}
