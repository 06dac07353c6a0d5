//! A provider as the engine uses it: a prefix and the transformer for it.

use alloc::sync::Arc;

use super::kms::call::ProviderId;
use super::local::LocalKeys;

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
            Transform::Identity | Transform::Local(_) => None,
            Transform::Kms(id) => Some(*id),
        }
    }
}

/// The transformer for a prefix.
#[derive(Clone)]
pub enum Transform {
    /// Stores plaintext.
    Identity,
    /// Encrypts with keys of the configuration.
    Local(Arc<LocalKeys>),
    /// A KMS provider, which calls its plugin if necessary.
    Kms(ProviderId),
}
