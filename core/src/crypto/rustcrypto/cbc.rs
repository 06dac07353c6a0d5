//! AES-CBC with PKCS#7 padding, for the aescbc provider and for old values of KMS v1.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ::cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{KeyError, OpenError};
use crate::crypto::local::LocalKey;
use crate::crypto::secret::Secret;

/// 16 bytes: the block of AES, and the IV.
const BLOCK: usize = 16;

/// `iv[16] ciphertext`; the plaintext is padded to whole blocks by PKCS#7 (RFC 5652 §6.3). Upstream: encrypt/aes/aes.go,
/// `NewCBCTransformer`.
pub(super) enum CbcKey {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl CbcKey {
    /// `None` for a length that AES does not take.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128::new_from_slice(key)
                .ok()
                .map(Box::new)
                .map(Self::Aes128),
            24 => Aes192::new_from_slice(key)
                .ok()
                .map(Box::new)
                .map(Self::Aes192),
            32 => Aes256::new_from_slice(key)
                .ok()
                .map(Box::new)
                .map(Self::Aes256),
            _ => None,
        }
    }
}

impl LocalKey for CbcKey {
    fn seal(
        &self,
        _aad: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, KeyError> {
        let mut iv = [0; BLOCK];
        entropy.fill(&mut iv)?;
        // One to sixteen bytes, each its own count.
        let padding = BLOCK - plaintext.len() % BLOCK;
        let mut out = Vec::with_capacity(BLOCK + plaintext.len() + padding);
        out.extend_from_slice(&iv);
        out.extend_from_slice(plaintext);
        out.resize(BLOCK + plaintext.len() + padding, padding as u8);
        let (_, text) = out.split_at_mut(BLOCK);
        let (blocks, _) = aes::Block::slice_as_chunks_mut(text);
        match self {
            Self::Aes128(key) => {
                ::cbc::Encryptor::inner_iv_init(&**key, &iv.into()).encrypt_blocks(blocks)
            }
            Self::Aes192(key) => {
                ::cbc::Encryptor::inner_iv_init(&**key, &iv.into()).encrypt_blocks(blocks)
            }
            Self::Aes256(key) => {
                ::cbc::Encryptor::inner_iv_init(&**key, &iv.into()).encrypt_blocks(blocks)
            }
        }
        Ok(out)
    }

    fn open(&self, _aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError> {
        let (iv, ciphertext) = sealed
            .split_first_chunk::<BLOCK>()
            .ok_or(OpenError::TooShort)?;
        // An IV and nothing else makes upstream panic.
        if ciphertext.is_empty() {
            return Err(OpenError::TooShort);
        }
        if ciphertext.len() % BLOCK != 0 {
            return Err(OpenError::Failed);
        }
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let (blocks, _) = aes::Block::slice_as_chunks_mut(&mut text);
        match self {
            Self::Aes128(key) => {
                ::cbc::Decryptor::inner_iv_init(&**key, iv.into()).decrypt_blocks(blocks)
            }
            Self::Aes192(key) => {
                ::cbc::Decryptor::inner_iv_init(&**key, iv.into()).decrypt_blocks(blocks)
            }
            Self::Aes256(key) => {
                ::cbc::Decryptor::inner_iv_init(&**key, iv.into()).decrypt_blocks(blocks)
            }
        }
        let padding = padding(&text).ok_or(OpenError::Failed)?;
        let len = text.len() - padding;
        text.truncate(len);
        Ok(Secret::new(core::mem::take(&mut *text)))
    }
}

/// How many bytes of padding end `text`; `None` if they are not what they should be. Takes the same time for every content.
///
/// Upstream takes padding of more than one block, up to the whole text, and so does this.
fn padding(text: &[u8]) -> Option<usize> {
    let count = *text.last()?;
    let most = u8::try_from(text.len()).unwrap_or(u8::MAX);
    let mut valid = !count.ct_eq(&0) & !count.ct_gt(&most);
    for (at, byte) in text.iter().rev().take(usize::from(u8::MAX)).enumerate() {
        // Whether this byte, counted from the end, belongs to the padding.
        let inside: Choice = count.ct_gt(&(at as u8));
        let expected = u8::conditional_select(byte, &count, inside);
        valid &= byte.ct_eq(&expected);
    }
    bool::from(valid).then_some(usize::from(count))
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::crypto::entropy::EntropyError;

    struct Sevens;
    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(7);
            Ok(())
        }
    }

    #[test]
    fn padding_is_what_upstream_takes() {
        let table = [
            ("one byte", [vec![9; 15], vec![1]].concat(), Some(1)),
            ("a whole block", vec![16; 16], Some(16)),
            ("more than a block", vec![32; 32], Some(32)),
            ("zero", vec![0; 16], None),
            ("longer than the text", vec![17; 16], None),
            (
                "one wrong byte",
                [vec![9; 13], vec![2, 3, 3]].concat(),
                None,
            ),
            (
                "255 of 256",
                [vec![9; 1], vec![255; 255]].concat(),
                Some(255),
            ),
        ];
        for (desc, text, expected) in table {
            assert_eq!(padding(&text), expected, "{desc}");
        }
    }

    #[test]
    fn every_length_comes_back() {
        for key_len in [16, 24, 32] {
            let key = CbcKey::new(&vec![3; key_len]).unwrap();
            for len in [0, 1, 15, 16, 17, 100] {
                let plaintext = vec![5; len];
                let sealed = key.seal(b"", &plaintext, &Sevens).unwrap();
                assert_eq!(sealed.len(), 16 + (len / 16 + 1) * 16);
                assert_eq!(key.open(b"any", &sealed).unwrap().expose(), plaintext);
            }
        }
        assert!(CbcKey::new(&[0; 20]).is_none());
    }

    #[test]
    fn what_cannot_be_opened_is_an_error() {
        let key = CbcKey::new(&[3; 32]).unwrap();
        let table = [
            ("nothing", vec![], OpenError::TooShort),
            ("less than an IV", vec![0; 15], OpenError::TooShort),
            ("an IV and nothing else", vec![0; 16], OpenError::TooShort),
            ("half a block", vec![0; 24], OpenError::Failed),
        ];
        for (desc, sealed, expected) in table {
            assert_eq!(key.open(b"", &sealed).err(), Some(expected), "{desc}");
        }
    }
}
