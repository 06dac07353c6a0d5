//! What a published vector is, and how a stored value holds it.

use std::collections::{BTreeMap, BTreeSet};

use crate::provider::Provider;

/// What a vector is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// `iv[12] ‖ ciphertext ‖ tag[16]`.
    AesGcm,
    /// `iv[16] ‖ ciphertext`, padded as PKCS#7 says.
    AesCbc,
    /// `nonce[24] ‖ tag[16] ‖ ciphertext`.
    Secretbox,
}

impl Cipher {
    const fn iv_len(self) -> usize {
        match self {
            Self::AesGcm => 12,
            Self::AesCbc => 16,
            Self::Secretbox => 24,
        }
    }
}

/// One vector.
#[derive(Clone, Debug)]
pub struct Vector {
    /// Its number in its set: Wycheproof's `tcId`; elsewhere it is counted from 1.
    pub id: usize,
    /// As it stands in the configuration.
    pub key: Vec<u8>,
    /// IV or nonce.
    pub iv: Vec<u8>,
    /// The storage key, which AES-GCM authenticates.
    pub aad: Vec<u8>,
    /// Ciphertext and tag, in the order in which they follow the IV.
    pub sealed: Vec<u8>,
    /// What is sealed. For an invalid vector: what its author meant to seal, or nothing.
    pub plaintext: Vec<u8>,
    /// Whether it must open.
    pub valid: bool,
}

/// How the plaintexts of a set end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As the cipher has it.
    Own,
    /// Whole blocks without any padding, which no value can be.
    Unpadded,
}

/// Vectors of one source for one cipher.
#[derive(Debug)]
pub struct Set {
    /// Whose they are.
    pub name: &'static str,
    /// What they are for.
    pub cipher: Cipher,
    /// How their plaintexts end.
    pub ending: Ending,
    /// Those that a stored value can hold.
    pub vectors: Vec<Vector>,
    /// How many no stored value can hold, by the bits of their IV: its length is the only reason there is.
    pub left_out: BTreeMap<usize, usize>,
    /// The ids of invalid vectors that upstream opens.
    pub open_in_upstream: BTreeSet<usize>,
}

impl Set {
    /// The vectors that a stored value can hold, and counts of those that it cannot.
    pub fn new(name: &'static str, cipher: Cipher, vectors: impl Iterator<Item = Vector>) -> Self {
        let fits = |vector: &Vector| vector.iv.len() == cipher.iv_len();
        let (vectors, others): (Vec<_>, Vec<_>) = vectors.partition(fits);
        let mut left_out = BTreeMap::new();
        for vector in others {
            *left_out.entry(vector.iv.len() * 8).or_default() += 1;
        }
        assert!(!vectors.is_empty(), "{name}");
        Self {
            name,
            cipher,
            ending: Ending::Own,
            vectors,
            left_out,
            open_in_upstream: BTreeSet::new(),
        }
    }

    /// The providers of a configuration that can hold these.
    pub fn providers(&self) -> &'static [Provider] {
        match self.cipher {
            Cipher::AesGcm => &[Provider::Local("aesgcm"), Provider::KmsV2],
            Cipher::AesCbc => &[Provider::Local("aescbc")],
            Cipher::Secretbox => &[Provider::Local("secretbox")],
        }
    }

    /// What is stored of a vector after `iv`.
    ///
    /// Blocks without padding are followed by two more, made from the vector alone: a block X, then the last block of the vector again. X is
    /// chosen so that the repeated block decrypts to 16 bytes of padding. What X decrypts to depends on the key, so the test does not check it.
    pub fn sealed(&self, vector: &Vector) -> Vec<u8> {
        let mut sealed = vector.sealed.clone();
        if self.ending == Ending::Unpadded {
            let blocks = [&*vector.iv, &*vector.sealed].concat();
            let (rest, last) = blocks.split_last_chunk::<16>().expect("a block");
            let (_, before) = rest.split_last_chunk::<16>().expect("an IV");
            let plaintext = vector.plaintext.last_chunk::<16>().expect("a block");
            sealed.extend((0..16).map(|at| plaintext[at] ^ before[at] ^ 16));
            sealed.extend(last);
        }
        sealed
    }

    /// Whether a value of [`Self::sealed`] was read as it should be.
    pub fn is_plaintext(&self, vector: &Vector, read: &[u8]) -> bool {
        match self.ending {
            Ending::Own => read == vector.plaintext,
            Ending::Unpadded => {
                read.starts_with(&vector.plaintext) && read.len() == vector.plaintext.len() + 16
            }
        }
    }
}
