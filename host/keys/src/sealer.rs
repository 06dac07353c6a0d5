//! Seals values as plans describe them.

use std::sync::Arc;

use dekker_crypto::gcm::TAG_LEN;
use dekker_crypto::layout::{self, FIELD_START_MAX, field_start};
use dekker_crypto::{GcmKey, gcm};

use crate::LocalKey;

/// The length of the longest header: the info and nonce of a seed.
const HEADER_MAX: usize = gcm::INFO_LEN + gcm::NONCE_LEN;

/// The resource `sealer`: a key, and what surrounds its values.
pub(crate) struct Sealer {
    pub(crate) key: Key,
    pub(crate) prefix: Vec<u8>,
    pub(crate) start: Start,
    pub(crate) end: Vec<u8>,
}

pub(crate) enum Key {
    Dek(Arc<GcmKey>),
    Local(Arc<LocalKey>),
}

pub(crate) enum Start {
    Fixed(Vec<u8>),
    Field(u8),
}

/// Why a value was not sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSealed {
    /// There is no randomness.
    Random,
    /// The cipher failed, or it has no counter.
    Cipher,
}

impl std::fmt::Display for NotSealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Random => "the source of randomness failed",
            Self::Cipher => "the cipher failed",
        })
    }
}

impl std::error::Error for NotSealed {}

impl Key {
    fn header_len(&self) -> usize {
        match self {
            Self::Dek(key) => key.header_len(),
            Self::Local(key) => key.header_len(),
        }
    }

    fn sealed_len(&self, len: usize) -> usize {
        match self {
            Self::Dek(_) => len + TAG_LEN,
            Self::Local(key) => key.sealed_len(len),
        }
    }
}

impl Sealer {
    pub(crate) fn seal(
        &self,
        counter: Option<u64>,
        aad: &[u8],
        plaintext: &[u8],
        random: impl FnOnce(&mut [u8]) -> wasmtime::Result<()>,
    ) -> Result<Vec<u8>, NotSealed> {
        let mut header = [0; HEADER_MAX];
        let header = &mut header[..self.key.header_len()];
        match counter {
            Some(counter) => {
                let mut fresh = [0; 4];
                random(&mut fresh).map_err(|_| NotSealed::Random)?;
                let nonce = layout::counted(fresh, counter);
                if header.len() != nonce.len() {
                    return Err(NotSealed::Cipher);
                }
                header.copy_from_slice(&nonce);
            }
            None => random(header).map_err(|_| NotSealed::Random)?,
        }
        let header = &*header;
        let sealed_len = self.key.sealed_len(plaintext.len());
        let mut field = [0; FIELD_START_MAX];
        let start = match &self.start {
            Start::Fixed(bytes) => bytes,
            Start::Field(tag) => field_start(&mut field, *tag, (header.len() + sealed_len) as u64),
        };
        let parts = [&*self.prefix, start, header];
        let around = parts.iter().map(|part| part.len()).sum::<usize>() + self.end.len();
        let mut out = Vec::with_capacity(around + sealed_len);
        for part in parts {
            out.extend_from_slice(part);
        }
        let sealed = match &self.key {
            Key::Dek(key) => key.seal(header, aad, plaintext, &mut out).ok(),
            Key::Local(key) => key.seal(header, aad, plaintext, &mut out),
        };
        sealed.ok_or(NotSealed::Cipher)?;
        out.extend_from_slice(&self.end);
        Ok(out)
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sealer(..)")
    }
}
