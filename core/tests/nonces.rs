//! No nonce is used twice, however many threads share a DEK.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_core::crypto::keys::{DekSourceType, KeyError, KeyStore};
use dekker_core::crypto::nonce::{CounterNonces, CounterRange, Exhausted};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::provider::kms::message::EncryptedDekSource;
use dekker_core::provider::kms::v2::envelope::EncryptedObject;
use dekker_core::provider::kms::v2::write_dek::{SealError, WriteDek};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The worst case: the random part of every nonce is the same, so only the counter makes nonces differ.
struct Constant;
impl Entropy for Constant {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        bytes.fill(0);
        Ok(())
    }
}

struct Counting(AtomicU64);
impl Entropy for Counting {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in bytes.chunks_mut(8) {
            let number = self.0.fetch_add(1, Ordering::Relaxed);
            chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

struct Failing;
impl Entropy for Failing {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

fn dek(source_type: DekSourceType, range: CounterRange) -> WriteDek {
    let key = RustCrypto.generate(source_type, &Constant).unwrap();
    let source = EncryptedDekSource::new(vec![1], "key-1", [].into()).unwrap();
    WriteDek::new("", key, source_type, source, range).unwrap()
}

/// Returns the values that `threads` threads seal with one DEK. Each thread stops when sealing fails or when it has sealed `each` values.
fn sealed(dek: &WriteDek, entropy: &dyn Entropy, threads: usize, each: usize) -> Vec<Vec<u8>> {
    std::thread::scope(|scope| {
        let one = || {
            let seal = |_| dek.seal(b"aad", b"plaintext", entropy).ok();
            (0..each).map_while(seal).collect::<Vec<_>>()
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
        running.into_iter().flat_map(|one| one.join().unwrap()).collect()
    })
}

fn headers(values: &[Vec<u8>], len: usize) -> BTreeSet<Vec<u8>> {
    let header =
        |value: &Vec<u8>| EncryptedObject::decode(value).unwrap().encrypted_data[..len].to_vec();
    values.iter().map(header).collect()
}

#[test]
fn threads_that_share_a_dek_never_share_a_nonce() {
    let values = sealed(&dek(DekSourceType::AesGcmKey, CounterRange::WHOLE), &Constant, 8, 5000);
    assert_eq!(values.len(), 40_000);
    assert_eq!(headers(&values, 12).len(), 40_000);
}

#[test]
fn threads_that_share_a_seed_never_share_an_info() {
    let entropy = Counting(AtomicU64::new(0));
    let source_type = DekSourceType::HkdfSha256XnonceAesGcmSeed;
    let values = sealed(&dek(source_type, CounterRange::WHOLE), &entropy, 8, 500);
    assert_eq!(headers(&values, 44).len(), 4000);
}

#[test]
fn threads_use_exactly_the_whole_range() {
    let range = CounterRange { start: u64::MAX - 1000, end: u64::MAX };
    let dek = dek(DekSourceType::AesGcmKey, range);
    let values = sealed(&dek, &Constant, 8, 5000);
    assert_eq!((values.len(), headers(&values, 12).len()), (1000, 1000));
    let exhausted = Err(SealError::Exhausted(Exhausted));
    assert_eq!(dek.seal(b"", b"", &Constant), exhausted, "and it never wraps");
}

#[test]
fn failed_randomness_seals_nothing_and_skips_a_nonce() {
    let dek = dek(DekSourceType::AesGcmKey, CounterRange::WHOLE);
    let failed = Err(SealError::Key(KeyError::Entropy(EntropyError)));
    assert_eq!(dek.seal(b"", b"", &Failing), failed);
    let value = dek.seal(b"", b"", &Constant).unwrap();
    let object = EncryptedObject::decode(&value).unwrap();
    assert_eq!(object.encrypted_data[4..12], 1_000_000_002u64.to_le_bytes());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn disjoint_ranges_give_disjoint_nonces(start in 0u64..u64::MAX - 200, sizes in prop::collection::vec(0u64..40, 1..5)) {
        let mut seen = BTreeSet::new();
        let mut next = start;
        for size in sizes {
            let range = CounterRange { start: next, end: next + size };
            next += size;
            let nonces = CounterNonces::new(range);
            let given: Vec<_> = std::iter::from_fn(|| nonces.next().ok()).collect();
            prop_assert_eq!(given.len() as u64, size);
            for nonce in given {
                prop_assert!(seen.insert(nonce.counter().unwrap()));
            }
        }
    }
}
