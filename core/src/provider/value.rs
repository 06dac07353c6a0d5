//! A stored value: where it is, and the results of writing and reading it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::crypto::secret::Secret;

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
