//! How far a read or a write gets without the plugin.

use alloc::sync::Arc;

use super::call::DecryptRequest;
use super::dek_cache::{CacheKey, KeptName, ReadDek};
use crate::crypto::keys::DekSourceType;
use crate::provider::plan::SealPlan;
use crate::provider::value::ValueState;

use core::ops::Range;

/// How far a write gets without the plugin.
pub enum WriteStep {
    /// The value can be sealed.
    Seal {
        /// How to seal it.
        plan: SealPlan,
        /// `sha256:<hex>` of the key ID. Only for KMS v2.
        key_id_hash: Option<Arc<str>>,
    },
    /// The write must wait for a probe: the first one, or the one that replaces a DEK that may no longer encrypt.
    Priming,
    /// The write needs a separate DEK, which the plugin must encrypt.
    NeedsEncryptedDek,
}

/// How far a read gets without the plugin.
pub enum ReadStep {
    /// The value can be opened.
    Open(OpenStep),
    /// The read must wait for the first probe.
    Priming,
    /// The read needs a DEK that is not cached and that the plugin must decrypt.
    NeedsDek(CacheKey, DekNeeded),
}

/// The DEK of a value, before it has opened the value.
pub struct OpenStep {
    /// The DEK.
    pub dek: ReadDek,
    /// The sealed bytes, counted from the beginning of the whole value.
    pub range: Range<usize>,
    /// `sha256:<hex>` of the key ID. Only for KMS v2. Upstream counts the key ID as soon as the DEK is available.
    pub key_id_hash: Option<Arc<str>>,
    /// How the value differs from what a write would produce; see [`Decrypted::state`](crate::provider::value::Decrypted::state).
    pub state: Option<ValueState>,
    /// The name under which to cache the DEK when it has opened the value, if the plugin has just decrypted the DEK. Only then is it known to be the
    /// right one: if the plugin returned a wrong DEK once and it were cached earlier, the value would be unreadable for the lifetime of the cache.
    /// Upstream caches the DEK unchecked, for an hour.
    pub keep: Option<KeptName>,
}

/// A DEK that the plugin must decrypt.
pub struct DekNeeded {
    /// The request for the plugin.
    pub request: DecryptRequest,
    /// The type of the DEK source.
    pub source_type: DekSourceType,
    /// Whether values with this DEK may be AES-CBC.
    pub cbc_fallback: bool,
}
