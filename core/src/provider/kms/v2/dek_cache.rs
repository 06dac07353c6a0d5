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

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of what upstream's `generateCacheKey` (v0.37.2) gives for the same.
    #[test]
    fn keys_are_of_the_bytes_that_upstream_hashes() {
        let long = "k".repeat(1024);
        type Case<'a> = (
            &'a str,
            DekSourceType,
            &'a [u8],
            &'a str,
            &'a [(&'a str, &'a [u8])],
            &'a str,
        );
        let table: [Case; 5] = [
            (
                "a key",
                DekSourceType::AesGcmKey,
                &[1, 2, 3],
                "id1",
                &[],
                "f4ec161c4970912830d4ee6175d47852976b3890ca36430da7eb1d72cddba540",
            ),
            (
                "a seed",
                DekSourceType::HkdfSha256XnonceAesGcmSeed,
                &[1, 2, 3],
                "id1",
                &[],
                "8aa37ad6931200fb3817e9af07e0be327e9d00e06d0b19dab3b5ab2ce5d9e88c",
            ),
            (
                "annotations",
                DekSourceType::AesGcmKey,
                &[1, 2, 3],
                "id1",
                &[("a", &[4, 5]), ("b", &[6, 7])],
                "141e670efee8addb492caae409e36e21b842b5c643d0ff3002218df6c605796c",
            ),
            (
                "all others",
                DekSourceType::HkdfSha256XnonceAesGcmSeed,
                &[4, 5, 6],
                "id2",
                &[("x", &[9, 10]), ("y", &[11, 12])],
                "22d9edb1745fd764f603346226a840feb1d9a4058fc8447dd5a7ea4b1df9b467",
            ),
            (
                "the longest",
                DekSourceType::HkdfSha256XnonceAesGcmSeed,
                &[7; 1024],
                &long,
                &[("a.example", &[8; 32_000]), ("b.example", &[])],
                "90d59e4660bebd12f671c9b40544645af4c496c908ca1dd792e5c2cfa89a75e0",
            ),
        ];
        for (desc, source_type, source, key_id, annotations, expected) in table {
            let key = CacheKey::new(source_type, source, key_id, annotations.iter().copied());
            let shown: alloc::string::String = key
                .0
                .iter()
                .map(|byte| alloc::format!("{byte:02x}"))
                .collect();
            assert_eq!(shown, expected, "{desc}");
        }
    }

    #[test]
    fn every_part_makes_another_key() {
        let mut keys = alloc::collections::BTreeSet::new();
        for source_type in [
            DekSourceType::AesGcmKey,
            DekSourceType::HkdfSha256XnonceAesGcmSeed,
        ] {
            for source in [&[1, 2, 3], &[4, 5, 6]] {
                for key_id in ["id1", "id2"] {
                    for annotations in [
                        [("a", &[4u8, 5][..]), ("b", &[6, 7])],
                        [("x", &[9, 10]), ("y", &[11, 12])],
                    ] {
                        let annotations = annotations.into_iter();
                        keys.insert(CacheKey::new(source_type, source, key_id, annotations));
                    }
                }
            }
        }
        assert_eq!(keys.len(), 16);
    }
}
