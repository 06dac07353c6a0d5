//! Decrypted DEKs, for reading only.

mod lru;

use alloc::sync::Arc;
use core::num::NonZeroUsize;

use self::lru::Lru;
use sha2::{Digest, Sha256};

use crate::crypto::keys::{DekSourceType, OpenError, OpeningKey};
use crate::crypto::local::LocalKey;
use crate::crypto::secret::Secret;

/// A DEK or seed that a stored value names. It can open; by type it can never seal, because the nonces that its owner used are not known.
#[derive(Clone)]
pub struct ReadDek {
    key: Arc<dyn OpeningKey>,
    cbc: Option<Arc<dyn LocalKey>>,
}

impl ReadDek {
    /// From a handle that can only open.
    pub fn new(key: Arc<dyn OpeningKey>) -> Self {
        Self { key, cbc: None }
    }

    /// The same key for AES-GCM and, should that fail, for AES-CBC, which KMS v1 wrote before Kubernetes 1.25.
    pub fn with_cbc_fallback(key: Arc<dyn OpeningKey>, cbc: Arc<dyn LocalKey>) -> Self {
        Self {
            key,
            cbc: Some(cbc),
        }
    }

    /// Opens a sealed value; also whether the fallback did, so that the value should be rewritten.
    ///
    /// # Errors
    /// As [`OpeningKey::open`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<(Secret, bool), OpenError> {
        match (self.key.open(aad, sealed), &self.cbc) {
            (Ok(plaintext), _) => Ok((plaintext, false)),
            (Err(error), None) => Err(error),
            // What AES-GCM said is said: the fallback adds nothing that a person could use, and something that an attacker might.
            (Err(error), Some(cbc)) => match cbc.open(aad, sealed) {
                Ok(plaintext) => Ok((plaintext, true)),
                Err(_) => Err(error),
            },
        }
    }
}

/// Names one encrypted DEK source:
///
/// `SHA-256(type[4, big-endian] ‖ len[2] source ‖ len[2] keyID ‖ (count[4] ‖ (len[2] key ‖ len[2] value)…)?)`, annotations sorted by key, their
/// count only if there are any. Upstream: kmsv2/envelope.go, `generateCacheKey`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

impl CacheKey {
    /// Of parts that are within their limits, so that each length fits in two bytes; `annotations` come sorted by key.
    pub fn new<'a>(
        source_type: DekSourceType,
        encrypted_dek_source: &[u8],
        key_id: &str,
        annotations: impl ExactSizeIterator<Item = (&'a str, &'a [u8])>,
    ) -> Self {
        let put = |hash: &mut Sha256, bytes: &[u8]| {
            // Within the limits of `message`, which every caller has checked, nothing is longer than 32 KiB.
            hash.update((bytes.len() as u16).to_be_bytes());
            hash.update(bytes);
        };
        let count = annotations.len();
        let mut hash = Sha256::new();
        hash.update(source_type.number().to_be_bytes());
        put(&mut hash, encrypted_dek_source);
        put(&mut hash, key_id.as_bytes());
        if count > 0 {
            hash.update((count as u32).to_be_bytes());
            for (key, value) in annotations {
                put(&mut hash, key.as_bytes());
                put(&mut hash, value);
            }
        }
        Self(hash.finalize().into())
    }
}

/// Decrypted DEKs, the least recently used leaving first.
///
/// Upstream never bounds its cache (kmsv2/cache.go). This one is bounded so that stored values cannot fill the memory. The default,
/// [`DekCache::DEFAULT_CAPACITY`], is far above what a cluster has: one entry per key ID and API server restart since the last migration.
pub struct DekCache(Lru<ReadDek>);

impl DekCache {
    /// 100 000 DEKs, about 100 MB when full. Upstream expects "a few thousand entries" at the most.
    pub const DEFAULT_CAPACITY: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

    /// Holds at most `capacity` DEKs; memory is taken as they come.
    pub fn new(capacity: NonZeroUsize) -> Self {
        Self(Lru::new(capacity.get()))
    }

    /// The DEK, which now is the most recently used.
    pub fn find(&mut self, key: &CacheKey) -> Option<ReadDek> {
        self.0.get(key).cloned()
    }

    /// Adds a DEK; the least recently used one leaves if there is no room.
    pub fn insert(&mut self, key: CacheKey, dek: ReadDek) {
        self.0.insert(key, dek);
    }

    /// How many DEKs it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
