//! Measures ring alone, and the random bytes that each nonce needs: the minimum cost of any subject.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dekker_core::crypto::entropy::Entropy;
use dekker_ring::KernelEntropy;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::{names, plaintext, values_of};
use crate::rounds::{Op, Source, Subject, Work};
use crate::vault::KEY;

/// ring's AES-256-GCM with a ready key, in place in one buffer.
pub(crate) struct Cipher {
    key: LessSafeKey,
    buffer: Vec<u8>,
}

impl Cipher {
    /// Creates a cipher with a fixed key.
    ///
    /// # Errors
    /// Returns an error if ring refuses the key.
    pub(crate) fn new() -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).ok().context("ring rejected the key")?;
        Ok(Self { key: LessSafeKey::new(key), buffer: Vec::new() })
    }

    /// Copies `text` into the buffer, and seals it there. The nonce is 4 zero bytes and the counter.
    ///
    /// # Errors
    /// Returns an error if ring cannot seal.
    pub(crate) fn seal(&mut self, counter: u64, text: &[u8]) -> Result<&[u8]> {
        self.buffer.clear();
        self.buffer.extend_from_slice(text);
        let nonce = Nonce::assume_unique_for_key(nonce(counter));
        let sealed = self.key.seal_in_place_append_tag(nonce, Aad::from(KEY), &mut self.buffer);
        sealed.ok().context("ring cannot seal the value")?;
        Ok(&self.buffer)
    }

    /// Returns `nonce[12] ciphertext tag[16]`, which [`Self::open`] opens.
    ///
    /// # Errors
    /// Returns an error if ring cannot seal.
    pub(crate) fn value(&mut self, counter: u64, text: &[u8]) -> Result<Vec<u8>> {
        let mut value = nonce(counter).to_vec();
        value.extend_from_slice(self.seal(counter, text)?);
        Ok(value)
    }

    /// Copies the ciphertext and tag into the buffer, and opens them there. Returns the plaintext.
    ///
    /// # Errors
    /// Returns an error if the value was not sealed with this key.
    pub(crate) fn open(&mut self, value: &[u8]) -> Result<&[u8]> {
        let (nonce, sealed) = value.split_at_checked(12).context("the value has no nonce")?;
        self.buffer.clear();
        self.buffer.extend_from_slice(sealed);
        let nonce = Nonce::try_assume_unique_for_key(nonce);
        let nonce = nonce.ok().context("the nonce is not 12 bytes long")?;
        let opened = self.key.open_in_place(nonce, Aad::from(KEY), &mut self.buffer);
        Ok(&*opened.ok().context("ring cannot open the value")?)
    }
}

fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

/// ring's AES-256-GCM and nothing else.
pub struct RingAlone {
    cipher: Cipher,
    nonces: u64,
    values: HashMap<usize, Vec<Vec<u8>>>,
}

impl RingAlone {
    /// Creates the subject with a fixed key.
    ///
    /// # Errors
    /// Returns an error if ring refuses the key.
    pub fn new() -> Result<Self> {
        Ok(Self { cipher: Cipher::new()?, nonces: 0, values: HashMap::new() })
    }
}

impl Subject for RingAlone {
    fn name(&self) -> &'static str {
        names::RING
    }

    fn can(&self, work: &Work) -> bool {
        work.source == Source::Counter
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        let text = plaintext(work.size);
        match work.op {
            Op::Write => {
                let start = Instant::now();
                for _ in 0..n {
                    self.nonces += 1;
                    black_box(self.cipher.seal(self.nonces, black_box(&text))?);
                }
                Ok(start.elapsed())
            }
            Op::Read => {
                let values = self.values.entry(work.size).or_default();
                while values.len() < values_of(work.size) {
                    self.nonces += 1;
                    values.push(self.cipher.value(self.nonces, &text)?);
                }
                let start = Instant::now();
                for value in values.iter().cycle().take(usize::try_from(n)?) {
                    let len = black_box(self.cipher.open(black_box(value))?).len();
                    ensure!(len == work.size, "the plaintext has the wrong length");
                }
                Ok(start.elapsed())
            }
        }
    }
}

/// The 4 random bytes of the kernel that Dekker puts into each nonce of a counter. Neither ring alone nor the floor gets any.
pub struct RandomBytes;

impl Subject for RandomBytes {
    fn name(&self) -> &'static str {
        names::RANDOM
    }

    fn can(&self, work: &Work) -> bool {
        work.source == Source::Counter && work.op == Op::Write
    }

    fn run(&mut self, _: &Work, n: u64) -> Result<Duration> {
        let start = Instant::now();
        for _ in 0..n {
            let mut bytes = [0; 4];
            let filled = KernelEntropy.fill(&mut bytes);
            filled.ok().context("the kernel has no random bytes")?;
            black_box(bytes);
        }
        Ok(start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cipher_seals_it_opens() {
        let mut cipher = Cipher::new().unwrap();
        let mut value = cipher.value(1, b"a text").unwrap();
        assert_eq!(value.len(), 12 + 6 + 16);
        assert_eq!(cipher.open(&value).unwrap(), b"a text");
        assert_ne!(cipher.value(2, b"a text").unwrap(), value, "another nonce");
        value[12] ^= 1;
        assert!(cipher.open(&value).is_err());
        assert!(cipher.open(&value[..11]).is_err());
    }
}
