//! Decrypted DEKs, for reading only.

mod lru;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::num::NonZeroUsize;

use self::lru::Lru;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher13;

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

    /// The handle that opens with AES-GCM.
    pub fn opening(&self) -> &Arc<dyn OpeningKey> {
        &self.key
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

/// All that tells one encrypted DEK source from another, as a stored value has it. Its parts are within their limits.
#[derive(Clone, Copy, Debug)]
pub struct DekName<'a> {
    /// What it is.
    pub source_type: DekSourceType,
    /// The encrypted DEK or seed.
    pub source: &'a [u8],
    /// In the clear; empty for KMS v1.
    pub key_id: &'a str,
    /// Sorted by key.
    pub annotations: &'a [(&'a str, &'a [u8])],
}

impl DekName<'_> {
    /// `type[4, big-endian] ‖ len[2] source ‖ len[2] keyID ‖ (count[4] ‖ (len[2] key ‖ len[2] value)…)?`, part by part; the count only if there
    /// are annotations. Upstream: kmsv2/envelope.go, `generateCacheKey`.
    fn parts(&self, mut put: impl FnMut(&[u8])) {
        put(&self.source_type.number().to_be_bytes());
        let mut sized = |bytes: &[u8]| {
            // Within the limits of `message`, which every caller has checked, nothing is longer than 32 KiB; nor than two bytes say in KMS v1.
            put(&(bytes.len() as u16).to_be_bytes());
            put(bytes);
        };
        sized(self.source);
        sized(self.key_id.as_bytes());
        if !self.annotations.is_empty() {
            put(&(self.annotations.len() as u32).to_be_bytes());
            for (key, value) in self.annotations {
                for bytes in [key.as_bytes(), value] {
                    put(&(bytes.len() as u16).to_be_bytes());
                    put(bytes);
                }
            }
        }
    }

    fn len(&self) -> usize {
        let mut len = 0usize;
        self.parts(|part| len += part.len());
        len
    }

    /// For where names are kept whatever their length.
    pub fn key(&self) -> CacheKey {
        let mut hash = Sha256::new();
        self.parts(|part| hash.update(part));
        CacheKey(hash.finalize().into())
    }
}

/// SHA-256 of a [`DekName`]'s parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

/// 512 bytes: a longer name is kept as its SHA-256. Those of real plugins are shorter, and are compared without hashing at each read.
const NAME_KEPT_MAX: usize = 512;

/// What the cache compares a name with.
enum Sought<'a> {
    Exact(DekName<'a>),
    Hash(CacheKey),
}

impl<'a> Sought<'a> {
    fn new(name: DekName<'a>) -> Self {
        if name.len() <= NAME_KEPT_MAX {
            Self::Exact(name)
        } else {
            Self::Hash(name.key())
        }
    }

    fn parts(&self, mut put: impl FnMut(&[u8])) {
        match self {
            Self::Exact(name) => name.parts(put),
            // One byte more than the type of a name that is kept begins with: no such name is equal.
            Self::Hash(CacheKey(hash)) => {
                put(&[0xff]);
                put(hash);
            }
        }
    }

    fn is(&self, kept: &[u8]) -> bool {
        let mut rest = Some(kept);
        self.parts(|part| rest = rest.and_then(|rest| rest.strip_prefix(part)));
        rest.is_some_and(<[u8]>::is_empty)
    }
}

/// Decrypted DEKs, the least recently used leaving first.
///
/// Upstream never bounds its cache (kmsv2/cache.go). This one is bounded so that stored values cannot fill the memory. The default,
/// [`DekCache::DEFAULT_CAPACITY`], is far above what a cluster has: one entry per key ID and API server restart since the last migration.
pub struct DekCache {
    deks: Lru<ReadDek>,
    /// Where a name is looked for follows from this too: nobody who makes up values can make up many names for one place.
    places: SipHasher13,
}

impl DekCache {
    /// 100 000 DEKs, about 100 MB when full. Upstream expects "a few thousand entries" at the most.
    pub const DEFAULT_CAPACITY: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

    /// Holds at most `capacity` DEKs; memory is taken as they come. `seed` is random; it is no key of any value.
    pub fn new(capacity: NonZeroUsize, seed: &[u8; 16]) -> Self {
        Self {
            deks: Lru::new(capacity.get()),
            places: SipHasher13::new_with_key(seed),
        }
    }

    /// The DEK, which now is the most recently used.
    pub fn find(&mut self, name: DekName<'_>) -> Option<&ReadDek> {
        let sought = Sought::new(name);
        self.deks.get(self.place(&sought), |kept| sought.is(kept))
    }

    /// Adds a DEK; the least recently used one leaves if there is no room.
    pub fn insert(&mut self, name: DekName<'_>, dek: ReadDek) {
        let sought = Sought::new(name);
        let mut kept = Vec::with_capacity(name.len().min(NAME_KEPT_MAX));
        sought.parts(|part| kept.extend_from_slice(part));
        self.deks.insert(self.place(&sought), kept.into(), dek);
    }

    fn place(&self, sought: &Sought<'_>) -> u64 {
        let mut hasher = self.places;
        sought.parts(|part| hasher.write(part));
        hasher.finish()
    }

    /// How many DEKs it holds.
    pub fn len(&self) -> usize {
        self.deks.len()
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
            let name = DekName {
                source_type,
                source,
                key_id,
                annotations,
            };
            let shown: alloc::string::String = name
                .key()
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
                        let name = DekName {
                            source_type,
                            source,
                            key_id,
                            annotations: &annotations,
                        };
                        keys.insert(name.key());
                    }
                }
            }
        }
        assert_eq!(keys.len(), 16);
    }

    struct Nothing(u32);
    impl OpeningKey for Nothing {
        fn open(&self, _: &[u8], _: &[u8]) -> Result<Secret, OpenError> {
            Ok(Secret::new(self.0.to_le_bytes().to_vec()))
        }
    }

    #[test]
    fn a_dek_is_found_under_its_own_name_only() {
        let long = [7; NAME_KEPT_MAX];
        let annotations: [(&str, &[u8]); 2] = [("a", &[1]), ("b", &[])];
        let base = DekName {
            source_type: DekSourceType::AesGcmKey,
            source: &[1, 2, 3],
            key_id: "id1",
            annotations: &[],
        };
        let hkdf = DekSourceType::HkdfSha256XnonceAesGcmSeed;
        let names = [
            base,
            DekName {
                source_type: hkdf,
                ..base
            },
            DekName {
                source: &[1, 2],
                ..base
            },
            DekName {
                source: &[1, 2, 3, 0],
                ..base
            },
            DekName {
                source: &[],
                ..base
            },
            DekName {
                key_id: "id2",
                ..base
            },
            DekName { key_id: "", ..base },
            DekName {
                annotations: &annotations,
                ..base
            },
            DekName {
                annotations: &annotations[..1],
                ..base
            },
            DekName {
                source: &long,
                ..base
            },
            DekName {
                source: &long,
                key_id: "id2",
                ..base
            },
            DekName {
                source: &long[1..],
                ..base
            },
        ];
        let mut cache = DekCache::new(DekCache::DEFAULT_CAPACITY, &[3; 16]);
        for (at, name) in (0..).zip(names) {
            assert!(cache.find(name).is_none(), "{name:?}");
            cache.insert(name, ReadDek::new(Arc::new(Nothing(at))));
        }
        for (at, name) in (0u32..).zip(names) {
            let (found, _) = cache.find(name).unwrap().open(&[], &[]).unwrap();
            assert_eq!(found.expose(), at.to_le_bytes(), "{name:?}");
        }
        assert_eq!(cache.len(), names.len());
    }
}
