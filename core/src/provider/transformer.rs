//! A provider as the engine uses it: a prefix and the transformer for it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::error::TransformError;
use super::kms::call::ProviderId;
use crate::crypto::entropy::Entropy;
use crate::crypto::secret::Secret;

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
    /// [`ErrorKind::DecryptFailed`](super::error::ErrorKind::DecryptFailed).
    fn from_storage(
        &self,
        key: &[u8],
        stored: &[u8],
        failed: Failed<'_>,
    ) -> Result<LocalRead, TransformError>;
}

/// A callback for each named key that failed. Its argument is the prefix of the key's values, or [`UNKNOWN`] if no key matched.
pub type Failed<'a> = &'a mut dyn FnMut(&str);

/// A value that a local provider encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalWritten {
    /// The bytes to store after the provider's prefix.
    pub value: Vec<u8>,
    /// The prefix of the values of the named key that encrypted it, if there is one.
    pub key_prefix: Option<Arc<str>>,
}

/// A value that a local provider decrypted.
#[derive(Debug)]
pub struct LocalRead {
    /// The plaintext.
    pub plaintext: Secret,
    /// Whether the value should be rewritten.
    pub stale: bool,
    /// The prefix of the values of the named key that decrypted it, if there is one.
    pub key_prefix: Option<Arc<str>>,
}

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
