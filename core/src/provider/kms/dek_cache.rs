//! Decrypted DEKs, for reading only.

mod lru;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::hash::Hasher;
use core::num::NonZeroUsize;

use self::lru::Lru;
use sha2::{Digest, Sha256};
use siphasher::sip::SipHasher13;

use crate::crypto::keys::{DekSourceType, LocalKey, OpenError, OpeningKey};
use crate::crypto::secret::Secret;

/// A DEK or seed that decrypts stored values. By design the type cannot encrypt, because the nonces that the DEK's owner has used are not known here.
#[derive(Clone)]
pub struct ReadDek {
    key: Arc<dyn OpeningKey>,
    cbc: Option<Arc<dyn LocalKey>>,
}

impl ReadDek {
    /// Creates a DEK from a handle that can only decrypt.
    pub fn new(key: Arc<dyn OpeningKey>) -> Self {
        Self { key, cbc: None }
    }

    /// Creates a DEK that tries AES-GCM first and then, with the same key, AES-CBC, which KMS v1 used before Kubernetes 1.25.
    pub fn with_cbc_fallback(key: Arc<dyn OpeningKey>, cbc: Arc<dyn LocalKey>) -> Self {
        Self { key, cbc: Some(cbc) }
    }

    /// Returns the handle that decrypts with AES-GCM.
    pub fn opening(&self) -> &Arc<dyn OpeningKey> {
        &self.key
    }

    /// Returns the handle that decrypts with AES-CBC, if values with this DEK may be AES-CBC.
    pub fn cbc(&self) -> Option<&Arc<dyn LocalKey>> {
        self.cbc.as_ref()
    }

    /// Decrypts a sealed value.
    ///
    /// # Errors
    /// The same as for [`OpeningKey::open`].
    pub fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Opened, OpenError> {
        match (self.key.open(aad, sealed), &self.cbc) {
            (Ok(plaintext), _) => Ok(Opened { plaintext, is_cbc: false }),
            (Err(error), None) => Err(error),
            // Return the error of AES-GCM. That of AES-CBC would not help a person, but could help an attacker.
            (Err(error), Some(cbc)) => match cbc.open(aad, sealed) {
                Ok(plaintext) => Ok(Opened { plaintext, is_cbc: true }),
                Err(_) => Err(error),
            },
        }
    }
}

/// A value that a [`ReadDek`] decrypted.
#[derive(Debug)]
pub struct Opened {
    /// The plaintext.
    pub plaintext: Secret,
    /// Whether AES-CBC decrypted it. The value should then be rewritten.
    pub is_cbc: bool,
}

/// Everything that identifies an encrypted DEK source in a stored value. All parts are within their limits.
#[derive(Clone, Copy, Debug)]
pub struct DekName<'a> {
    /// The type of the DEK source.
    pub source_type: DekSourceType,
    /// The encrypted DEK or seed.
    pub source: &'a [u8],
    /// The key ID in clear text; empty for KMS v1.
    pub key_id: &'a str,
    /// The annotations, sorted by key.
    pub annotations: &'a [(&'a str, &'a [u8])],
}

impl DekName<'_> {
    /// Calls `put` with each part of `type[4, big-endian] ‖ len[2] source ‖ len[2] keyID ‖ (count[4] ‖ (len[2] key ‖ len[2] value)…)?`, where the
    /// count is present only if there are annotations. Upstream: kmsv2/envelope.go, `generateCacheKey`.
    fn parts(&self, mut put: impl FnMut(&[u8])) {
        put(&self.source_type.number().to_be_bytes());
        let mut sized = |bytes: &[u8]| {
            // Two bytes are enough: every caller has checked the limits of `message`, which allow at most 32 KiB, and in KMS v1 the source's length
            // is itself stored in two bytes.
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

    /// Returns a key of fixed length for the name, for maps that would otherwise have to store whole names.
    pub fn key(&self) -> CacheKey {
        let mut hash = Sha256::new();
        self.parts(|part| hash.update(part));
        CacheKey(hash.finalize().into())
    }
}

/// SHA-256 of a [`DekName`]'s parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CacheKey([u8; 32]);

/// The maximum length of a name that is stored whole, 512 bytes. A longer name is stored as its SHA-256. The names of real plugins are shorter, so a
/// read compares them without computing a SHA-256.
const NAME_KEPT_MAX: usize = 512;

/// The form of a name that the cache compares.
enum Sought<'a> {
    Exact(DekName<'a>),
    Hash(CacheKey),
}

impl<'a> Sought<'a> {
    fn new(name: DekName<'a>) -> Self {
        if name.len() <= NAME_KEPT_MAX { Self::Exact(name) } else { Self::Hash(name.key()) }
    }

    fn parts(&self, mut put: impl FnMut(&[u8])) {
        match self {
            Self::Exact(name) => name.parts(put),
            // A name that is stored whole begins with 0, the first byte of its type, so it never equals a hash, which begins with 0xff.
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

/// An owned name, as one cache stores it.
#[derive(Clone, Debug)]
pub struct KeptName {
    place: u64,
    kept: Box<[u8]>,
}

/// A bounded cache of decrypted DEKs, which evicts the least recently used one.
///
/// Upstream's cache is not bounded (kmsv2/cache.go). This one is, so that stored values cannot fill the memory. The default capacity,
/// [`DekCache::DEFAULT_CAPACITY`], is far more than a cluster needs: one entry for each key ID and API server restart since the last migration.
pub struct DekCache {
    deks: Lru<ReadDek>,
    /// The keyed hash that determines where a name is stored. Its key is random, so that an attacker who chooses the names cannot make many of them
    /// collide.
    places: SipHasher13,
}

impl DekCache {
    /// The default capacity, 100 000 DEKs: about 100 MB when full. Upstream expects "a few thousand entries" at the most.
    pub const DEFAULT_CAPACITY: NonZeroUsize = NonZeroUsize::new(100_000).unwrap();

    /// Creates a cache for at most `capacity` DEKs. Memory is allocated as DEKs are added. `seed` must be random; it determines only where entries
    /// are stored.
    pub fn new(capacity: NonZeroUsize, seed: &[u8; 16]) -> Self {
        Self { deks: Lru::new(capacity), places: SipHasher13::new_with_key(seed) }
    }

    /// Returns a DEK and marks it as the most recently used.
    pub fn find(&mut self, name: DekName<'_>) -> Option<&ReadDek> {
        let sought = Sought::new(name);
        self.deks.get(self.place(&sought), |kept| sought.is(kept))
    }

    /// Adds a DEK. If the cache is full, evicts the least recently used one.
    pub fn insert(&mut self, name: DekName<'_>, dek: ReadDek) {
        let kept = self.keep(name);
        self.insert_kept(kept, dek);
    }

    /// Returns an owned copy of a name, as this cache stores it.
    pub fn keep(&self, name: DekName<'_>) -> KeptName {
        let sought = Sought::new(name);
        let mut kept = Vec::with_capacity(name.len().min(NAME_KEPT_MAX));
        sought.parts(|part| kept.extend_from_slice(part));
        KeptName { place: self.place(&sought), kept: kept.into() }
    }

    /// As [`Self::insert`], with a name of this cache.
    pub fn insert_kept(&mut self, name: KeptName, dek: ReadDek) {
        self.deks.insert(name.place, name.kept, dek);
    }

    fn place(&self, sought: &Sought<'_>) -> u64 {
        let mut hasher = self.places;
        sought.parts(|part| hasher.write(part));
        hasher.finish()
    }

    /// Returns the number of DEKs in the cache.
    pub fn len(&self) -> usize {
        self.deks.len()
    }

    /// Returns whether the cache is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects the SHA-256 of the bytes that upstream's `generateCacheKey` (v0.37.2) returns for the same names.
    #[test]
    fn keys_hash_the_same_bytes_as_upstream() {
        let long = "k".repeat(1024);
        type Case<'a> =
            (&'a str, DekSourceType, &'a [u8], &'a str, &'a [(&'a str, &'a [u8])], &'a str);
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
            let name = DekName { source_type, source, key_id, annotations };
            let shown: alloc::string::String =
                name.key().0.iter().map(|byte| alloc::format!("{byte:02x}")).collect();
            assert_eq!(shown, expected, "{desc}");
        }
    }

    #[test]
    fn every_part_changes_the_key() {
        let mut keys = alloc::collections::BTreeSet::new();
        for source_type in [DekSourceType::AesGcmKey, DekSourceType::HkdfSha256XnonceAesGcmSeed] {
            for source in [&[1, 2, 3], &[4, 5, 6]] {
                for key_id in ["id1", "id2"] {
                    for annotations in [
                        [("a", &[4u8, 5][..]), ("b", &[6, 7])],
                        [("x", &[9, 10]), ("y", &[11, 12])],
                    ] {
                        let name =
                            DekName { source_type, source, key_id, annotations: &annotations };
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
    fn a_name_is_kept_whole_up_to_its_limit_and_compared_whole() {
        // A type of 4 bytes and two lengths of 2 bytes surround the source and the key ID.
        let source = [7; NAME_KEPT_MAX - 4 - 2 - 2 - 3];
        let name = |source| DekName {
            source_type: DekSourceType::AesGcmKey,
            source,
            key_id: "id1",
            annotations: &[],
        };
        assert_eq!(name(&source).len(), NAME_KEPT_MAX);
        let bytes = |sought: &Sought<'_>| {
            let mut bytes = Vec::new();
            sought.parts(|part| bytes.extend_from_slice(part));
            bytes
        };
        let whole = Sought::new(name(&source));
        assert_eq!(bytes(&whole).len(), NAME_KEPT_MAX);
        let longer = [&source[..], &[7]].concat();
        let hash = Sought::new(name(&longer));
        assert_eq!(bytes(&hash).len(), 1 + 32);
        for (sought, other) in [(&whole, &hash), (&hash, &whole)] {
            let kept = bytes(sought);
            assert!(sought.is(&kept) && !other.is(&kept));
            assert!(!sought.is(&kept[1..]) && !sought.is(&[&kept[..], &[0]].concat()));
        }
    }

    #[test]
    fn places_depend_on_the_name_and_on_the_seed() {
        let names = [&[1][..], &[2]].map(|source| DekName {
            source_type: DekSourceType::AesGcmKey,
            source,
            key_id: "id1",
            annotations: &[],
        });
        let places = [[3; 16], [4; 16]].map(|seed| {
            let cache = DekCache::new(DekCache::DEFAULT_CAPACITY, &seed);
            names.map(|name| cache.place(&Sought::new(name)))
        });
        let distinct: alloc::collections::BTreeSet<_> = places.as_flattened().iter().collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn a_dek_is_found_only_under_its_name() {
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
            DekName { source_type: hkdf, ..base },
            DekName { source: &[1, 2], ..base },
            DekName { source: &[1, 2, 3, 0], ..base },
            DekName { source: &[], ..base },
            DekName { key_id: "id2", ..base },
            DekName { key_id: "", ..base },
            DekName { annotations: &annotations, ..base },
            DekName { annotations: &annotations[..1], ..base },
            DekName { source: &long, ..base },
            DekName { source: &long, key_id: "id2", ..base },
            DekName { source: &long[1..], ..base },
        ];
        let mut cache = DekCache::new(DekCache::DEFAULT_CAPACITY, &[3; 16]);
        for (at, name) in (0..).zip(names) {
            assert!(cache.find(name).is_none(), "{name:?}");
            cache.insert(name, ReadDek::new(Arc::new(Nothing(at))));
        }
        for (at, name) in (0u32..).zip(names) {
            let found = cache.find(name).unwrap().open(&[], &[]).unwrap();
            assert_eq!(found.plaintext.expose(), at.to_le_bytes(), "{name:?}");
        }
        assert_eq!(cache.len(), names.len());
    }
}
