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

/// What identifies the transformer and key of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels {
    /// The prefix of the transformer; empty for identity.
    pub transformer_prefix: Arc<str>,
    /// The part of the stored value that follows this prefix and names the key: the key's name and `:`. Only for aesgcm, aescbc and secretbox.
    pub key_prefix: Option<Arc<str>>,
    /// Whether a rule of the configuration covers the resource. Without a rule the value is plaintext, and upstream does not count it.
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID. Only for KMS v2.
    pub key_id_hash: Option<Arc<str>>,
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

impl Encrypted {
    pub(crate) fn new(stored: Vec<u8>, labels: Labels) -> Self {
        let Labels { transformer_prefix, key_prefix, has_rule, key_id_hash } = labels;
        Self { stored, transformer_prefix, key_prefix, has_rule, key_id_hash }
    }
}

/// How a stored value differs from what a write would produce now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueState {
    /// It does not differ: a write would use the same provider, the same key and the same type of DEK source.
    Fresh,
    /// A write would use the same provider and the same key, but the other type of DEK source. Only for KMS v2. Upstream calls such a value stale.
    OtherSource,
    /// A write would use another provider or another key. For KMS v1 also: an older Kubernetes wrote the value with AES-CBC.
    Stale,
}

impl ValueState {
    /// Returns the name: `fresh`, `other-source` or `stale`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::OtherSource => "other-source",
            Self::Stale => "stale",
        }
    }

    /// Returns whether upstream calls the value stale and writes it again. Upstream: kmsv2/envelope.go, `TransformFromStorage`.
    pub const fn is_stale(self) -> bool {
        match self {
            Self::Fresh => false,
            Self::OtherSource | Self::Stale => true,
        }
    }
}

/// The result of a read.
#[derive(Debug)]
pub struct Decrypted {
    /// The plaintext.
    pub plaintext: Secret,
    /// How the value differs from what a write would produce now. `None` if that is unknown: the value is of KMS v2, and no Status has given the key
    /// ID that a write would use.
    pub state: Option<ValueState>,
    /// The prefix of the transformer that decrypted the value; empty for identity.
    pub transformer_prefix: Arc<str>,
    /// The part of the stored value that names the key; see [`Encrypted::key_prefix`].
    pub key_prefix: Option<Arc<str>>,
    /// Whether a rule of the configuration covers the resource; see [`Encrypted::has_rule`].
    pub has_rule: bool,
    /// `sha256:<hex>` of the key ID. Only for KMS v2.
    pub key_id_hash: Option<Arc<str>>,
}

impl Decrypted {
    pub(crate) fn new(plaintext: Secret, state: Option<ValueState>, labels: Labels) -> Self {
        let Labels { transformer_prefix, key_prefix, has_rule, key_id_hash } = labels;
        Self { plaintext, state, transformer_prefix, key_prefix, has_rule, key_id_hash }
    }

    /// Returns whether the value is known to be stale, in upstream's sense: a write would no longer produce it in this form.
    pub fn is_stale(&self) -> bool {
        self.state.is_some_and(ValueState::is_stale)
    }
}
