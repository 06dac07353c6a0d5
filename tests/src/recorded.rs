//! Ciphertexts that kube-apiserver's own code made, read from `vectors/recorded.json`, which names its source.

use dekker_core::crypto::keys::DekSourceType;
use serde::Deserialize;

/// One recorded ciphertext.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Its name in the file.
    pub name: String,
    /// Whether `source` is a DEK or a seed.
    pub source_type: DekSourceType,
    /// The DEK or seed.
    pub source: Vec<u8>,
    /// The additional authenticated data.
    pub aad: Vec<u8>,
    /// The value as it was stored.
    pub stored: Vec<u8>,
    /// The decrypted value.
    pub plaintext: Vec<u8>,
}

#[derive(Deserialize)]
struct File {
    vectors: Vec<Vector>,
}

#[derive(Deserialize)]
struct Vector {
    name: String,
    key: Option<String>,
    seed: Option<String>,
    aad: String,
    stored: String,
    plaintext: String,
}

/// Decodes hex digits.
///
/// # Panics
/// Panics if the text is not hex.
pub fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| {
        let pair = std::str::from_utf8(pair).expect("ASCII");
        u8::from_str_radix(pair, 16).expect("hex")
    };
    digits.map(byte).collect()
}

/// Returns all recorded ciphertexts.
///
/// # Panics
/// Panics if the file is malformed.
pub fn all() -> Vec<Recorded> {
    let file = include_str!("../vectors/recorded.json");
    let file: File = serde_json::from_str(file).expect("the file's own format");
    assert!(!file.vectors.is_empty());
    let recorded = |vector: Vector| {
        let (source_type, source) = match (vector.key, vector.seed) {
            (Some(key), None) => (DekSourceType::AesGcmKey, key),
            (None, Some(seed)) => (DekSourceType::HkdfSha256XnonceAesGcmSeed, seed),
            both => panic!("one of key and seed: {both:?}"),
        };
        Recorded {
            name: vector.name,
            source_type,
            source: hex(&source),
            aad: hex(&vector.aad),
            stored: hex(&vector.stored),
            plaintext: hex(&vector.plaintext),
        }
    };
    file.vectors.into_iter().map(recorded).collect()
}
