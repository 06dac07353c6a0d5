//! How far a read or a write gets without the plugin.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::call::DecryptRequest;
use super::dek_cache::CacheKey;
use crate::crypto::keys::DekSourceType;
use crate::crypto::secret::Secret;
use crate::provider::value::ValueState;

/// How far a write gets without the plugin.
pub enum WriteStep {
    /// The write is complete.
    Done {
        /// The bytes to store.
        stored: Vec<u8>,
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
    /// The read is complete.
    Done {
        /// The plaintext.
        plaintext: Secret,
        /// How the value differs from what a write would produce now; see [`Decrypted::state`](crate::provider::value::Decrypted::state).
        state: Option<ValueState>,
    },
    /// The read must wait for the first probe.
    Priming,
    /// The read needs a DEK that is not cached and that the plugin must decrypt.
    NeedsDek(CacheKey, DekNeeded),
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
