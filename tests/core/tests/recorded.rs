//! Recorded ciphertexts in core's key store: each opens, and none opens after any bit was changed.

use dekker_core::crypto::keys::{DekSourceType, KeyError, KeyStore, OpenError};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::crypto::secret::Secret;
use dekker_tests::recorded;

#[test]
fn recorded_ciphertexts_open() {
    for vector in recorded::all() {
        let key = Secret::new(vector.source.clone());
        let key = RustCrypto.import(vector.source_type, &key).expect("a key");
        let plaintext = key.open(&vector.aad, &vector.stored).expect(&vector.name);
        assert_eq!(plaintext.expose(), vector.plaintext, "{}", vector.name);
    }
}

#[test]
fn every_altered_bit_fails_with_the_same_error() {
    for vector in recorded::all() {
        let name = &vector.name;
        let source = Secret::new(vector.source.clone());
        let key = RustCrypto.import(vector.source_type, &source).expect("a key");
        let failed =
            |aad: &[u8], stored: &[u8]| key.open(aad, stored).err() == Some(OpenError::Failed);
        for bit in 0..vector.stored.len() * 8 {
            let mut stored = vector.stored.clone();
            stored[bit / 8] ^= 1 << (bit % 8);
            assert!(failed(&vector.aad, &stored), "{name}: bit {bit} of the value");
        }
        for bit in 0..vector.aad.len() * 8 {
            let mut aad = vector.aad.clone();
            aad[bit / 8] ^= 1 << (bit % 8);
            assert!(failed(&aad, &vector.stored), "{name}: bit {bit} of the AAD");
        }
        for bit in 0..vector.source.len() * 8 {
            let mut source = vector.source.clone();
            source[bit / 8] ^= 1 << (bit % 8);
            let key = RustCrypto.import(vector.source_type, &Secret::new(source));
            let error = key.expect("a key").open(&vector.aad, &vector.stored).err();
            assert_eq!(error, Some(OpenError::Failed), "{name}: bit {bit} of the key");
        }
        for len in 0..vector.stored.len() {
            let error = key.open(&vector.aad, &vector.stored[..len]).err();
            let expected = if len < vector.source_type.header_len() {
                OpenError::TooShort
            } else {
                OpenError::Failed
            };
            assert_eq!(error, Some(expected), "{name}: the first {len} bytes");
        }
    }
}

#[test]
fn keys_of_other_lengths_are_refused() {
    let accepts = |source_type, len| {
        let error = RustCrypto.import(source_type, &Secret::new(vec![7; len])).err();
        assert!(error.is_none() || error == Some(KeyError::Length { source_type, len }));
        error.is_none()
    };
    for len in 0..=100 {
        let is_aes = accepts(DekSourceType::AesGcmKey, len);
        assert_eq!(is_aes, [16, 24, 32].contains(&len), "a key of {len} bytes");
        let is_seed = accepts(DekSourceType::HkdfSha256XnonceAesGcmSeed, len);
        assert_eq!(is_seed, len >= 32, "a seed of {len} bytes");
    }
}
