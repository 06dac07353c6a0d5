//! Published vectors, and how a stored value holds them.

use std::collections::{BTreeMap, BTreeSet};

use crate::provider::Provider;

/// The cipher that a vector tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cipher {
    /// `iv[12] ‖ ciphertext ‖ tag[16]`.
    AesGcm,
    /// `iv[16] ‖ ciphertext`, padded as in PKCS#7.
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
pub(crate) struct Vector {
    /// The number in its set: Wycheproof's `tcId`, or counted from 1.
    pub id: usize,
    /// The key as it is in the configuration.
    pub key: Vec<u8>,
    /// The IV or nonce.
    pub iv: Vec<u8>,
    /// The storage key, which AES-GCM authenticates.
    pub aad: Vec<u8>,
    /// The ciphertext and the tag, in the order in which they follow the IV.
    pub sealed: Vec<u8>,
    /// The plaintext. For an invalid vector, the plaintext that its author intended, or empty.
    pub plaintext: Vec<u8>,
    /// Whether the value must open.
    pub valid: bool,
}

/// How the plaintexts of a set end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// As the cipher defines.
    Own,
    /// With whole blocks and no padding, which no stored value can have.
    Unpadded,
}

/// Vectors of one source for one cipher.
#[derive(Debug)]
pub(crate) struct Set {
    /// The name of the source and the cipher.
    pub name: &'static str,
    /// The cipher that the vectors test.
    pub cipher: Cipher,
    /// How the plaintexts end.
    pub ending: Ending,
    /// The vectors that a stored value can hold.
    pub vectors: Vec<Vector>,
    /// How many vectors no stored value can hold, by the length of their IV in bits. The length is the only reason.
    pub left_out: BTreeMap<usize, usize>,
    /// The IDs of invalid vectors that upstream opens.
    pub open_in_upstream: BTreeSet<usize>,
}

impl Set {
    /// Separates the vectors that a stored value can hold, and counts the others.
    pub(crate) fn new(
        name: &'static str,
        cipher: Cipher,
        vectors: impl Iterator<Item = Vector>,
    ) -> Self {
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

    /// Returns the configurable providers that can hold these vectors.
    pub(crate) fn providers(&self) -> &'static [Provider] {
        match self.cipher {
            Cipher::AesGcm => &[Provider::Local("aesgcm"), Provider::KmsV2],
            Cipher::AesCbc => &[Provider::Local("aescbc")],
            Cipher::Secretbox => &[Provider::Local("secretbox")],
        }
    }

    /// Returns what is stored of a vector after `iv`.
    ///
    /// Blocks without padding are followed by two more, made from the vector alone: a block X, and the last block of the vector again. X is chosen so
    /// that the repeated block decrypts to 16 bytes of padding. The decryption of X depends on the key, so the test does not check it.
    pub(crate) fn sealed(&self, vector: &Vector) -> Vec<u8> {
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

    /// Returns whether a value from [`Self::sealed`] was read correctly.
    pub(crate) fn is_plaintext(&self, vector: &Vector, read: &[u8]) -> bool {
        match self.ending {
            Ending::Own => read == vector.plaintext,
            Ending::Unpadded => {
                read.starts_with(&vector.plaintext) && read.len() == vector.plaintext.len() + 16
            }
        }
    }
}
