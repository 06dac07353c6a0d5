//! AES-CBC with PKCS#7 padding, for the aescbc provider and for old values of KMS v1.

use alloc::boxed::Box;
use alloc::vec::Vec;

use ::cbc::cipher::{BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq, ConstantTimeGreater};
use zeroize::Zeroizing;

use crate::OpenError;

/// The length of an AES block and of the IV, 16 bytes.
pub const BLOCK_LEN: usize = 16;

/// An AES-CBC key. A sealed value is `iv[16] ciphertext`; PKCS#7 (RFC 5652 §6.3) pads the plaintext to whole blocks. Upstream: encrypt/aes/aes.go,
/// `NewCBCTransformer`.
pub struct CbcKey(Aes);

enum Aes {
    Aes128(Box<Aes128>),
    Aes192(Box<Aes192>),
    Aes256(Box<Aes256>),
}

impl CbcKey {
    /// Creates a key of 16, 24 or 32 bytes. Returns `None` for any other length.
    pub fn new(key: &[u8]) -> Option<Self> {
        let aes = match key.len() {
            16 => Aes128::new_from_slice(key).ok().map(Box::new).map(Aes::Aes128),
            24 => Aes192::new_from_slice(key).ok().map(Box::new).map(Aes::Aes192),
            32 => Aes256::new_from_slice(key).ok().map(Box::new).map(Aes::Aes256),
            _ => None,
        };
        aes.map(Self)
    }

    /// Returns the length of the ciphertext of a plaintext of `len` bytes, without the IV.
    pub const fn sealed_len(len: usize) -> usize {
        len + padding_len(len)
    }

    /// Appends the ciphertext to `out`, without the IV. The caller guarantees that `iv` is unpredictable.
    pub fn seal(&self, iv: &[u8; BLOCK_LEN], plaintext: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        let padding = padding_len(plaintext.len());
        // Reserve everything at once: a buffer that grows later would leave a copy of the plaintext behind.
        out.reserve(plaintext.len() + padding);
        out.extend_from_slice(plaintext);
        out.resize(start + plaintext.len() + padding, padding as u8);
        let (_, text) = out.split_at_mut(start);
        let (blocks, _) = aes::Block::slice_as_chunks_mut(text);
        match &self.0 {
            Aes::Aes128(key) => {
                ::cbc::Encryptor::inner_iv_init(&**key, iv.into()).encrypt_blocks(blocks)
            }
            Aes::Aes192(key) => {
                ::cbc::Encryptor::inner_iv_init(&**key, iv.into()).encrypt_blocks(blocks)
            }
            Aes::Aes256(key) => {
                ::cbc::Encryptor::inner_iv_init(&**key, iv.into()).encrypt_blocks(blocks)
            }
        }
    }

    /// Opens a whole value. All bytes are attacker-controlled; this function does not panic.
    ///
    /// # Errors
    /// Returns [`OpenError::TooShort`] based on the length alone, and [`OpenError::Failed`] for every other cause, without distinction, not even by
    /// timing.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (iv, ciphertext) =
            sealed.split_first_chunk::<BLOCK_LEN>().ok_or(OpenError::TooShort)?;
        // Upstream panics if nothing follows the IV.
        if ciphertext.is_empty() {
            return Err(OpenError::TooShort);
        }
        if ciphertext.len() % BLOCK_LEN != 0 {
            return Err(OpenError::Failed);
        }
        let mut text = Zeroizing::new(ciphertext.to_vec());
        let (blocks, _) = aes::Block::slice_as_chunks_mut(&mut text);
        match &self.0 {
            Aes::Aes128(key) => {
                ::cbc::Decryptor::inner_iv_init(&**key, iv.into()).decrypt_blocks(blocks)
            }
            Aes::Aes192(key) => {
                ::cbc::Decryptor::inner_iv_init(&**key, iv.into()).decrypt_blocks(blocks)
            }
            Aes::Aes256(key) => {
                ::cbc::Decryptor::inner_iv_init(&**key, iv.into()).decrypt_blocks(blocks)
            }
        }
        let padding = padding(&text).ok_or(OpenError::Failed)?;
        let len = text.len() - padding;
        text.truncate(len);
        Ok(text)
    }
}

/// Returns the length of the padding of a plaintext of `len` bytes. PKCS#7: 1 to 16 bytes, each with their number as its value.
const fn padding_len(len: usize) -> usize {
    BLOCK_LEN - len % BLOCK_LEN
}

/// Returns the length of the padding at the end of `text`, or `None` if the padding is invalid. The time taken does not depend on the content.
///
/// Like upstream, accepts padding longer than one block, up to the whole text.
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
    #[test]
    fn padding_is_accepted_as_upstream_accepts_it() {
        let table = [
            ("one byte", [vec![9; 15], vec![1]].concat(), Some(1)),
            ("a whole block", vec![16; 16], Some(16)),
            ("more than a block", vec![32; 32], Some(32)),
            ("zero", vec![0; 16], None),
            ("longer than the text", vec![17; 16], None),
            ("one wrong byte", [vec![9; 13], vec![2, 3, 3]].concat(), None),
            ("255 of 256", [vec![9; 1], vec![255; 255]].concat(), Some(255)),
        ];
        for (desc, text, expected) in table {
            assert_eq!(padding(&text), expected, "{desc}");
        }
    }

    #[test]
    fn every_length_round_trips() {
        for key_len in [16, 24, 32] {
            let key = CbcKey::new(&vec![3; key_len]).unwrap();
            for len in [0, 1, 15, 16, 17, 100] {
                let plaintext = vec![5; len];
                let mut sealed = vec![7; BLOCK_LEN];
                key.seal(&[7; BLOCK_LEN], &plaintext, &mut sealed);
                assert_eq!(sealed.len(), 16 + (len / 16 + 1) * 16);
                assert_eq!(sealed.len(), 16 + CbcKey::sealed_len(len));
                assert_eq!(*key.open(&sealed).unwrap(), plaintext);
            }
        }
        assert!(CbcKey::new(&[0; 20]).is_none());
    }

    #[test]
    fn malformed_ciphertexts_are_errors() {
        let key = CbcKey::new(&[3; 32]).unwrap();
        let table = [
            ("nothing", vec![], OpenError::TooShort),
            ("less than an IV", vec![0; 15], OpenError::TooShort),
            ("an IV and nothing else", vec![0; 16], OpenError::TooShort),
            ("half a block", vec![0; 24], OpenError::Failed),
        ];
        for (desc, sealed, expected) in table {
            assert_eq!(key.open(&sealed).err(), Some(expected), "{desc}");
        }
    }
}
