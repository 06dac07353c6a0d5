//! XSalsa20-Poly1305, for the secretbox provider.

use alloc::vec::Vec;

use crypto_secretbox::aead::{AeadInPlace, KeyInit};
use crypto_secretbox::{Key, Nonce, Tag, XSalsa20Poly1305};
use zeroize::{Zeroize, Zeroizing};

use crate::OpenError;

/// The length of a nonce, 24 bytes: long enough to be chosen at random.
pub const NONCE_LEN: usize = 24;
/// The length of a Poly1305 tag, 16 bytes.
pub const TAG_LEN: usize = 16;

/// An XSalsa20-Poly1305 key. A sealed value is `nonce[24] tag[16] ciphertext`, as NaCl's secretbox. Upstream: encrypt/secretbox/secretbox.go.
pub struct SecretboxKey(XSalsa20Poly1305);

impl SecretboxKey {
    /// Creates a key of 32 bytes. Returns `None` for any other length.
    pub fn new(key: &[u8]) -> Option<Self> {
        (key.len() == 32).then(|| Self(XSalsa20Poly1305::new(Key::from_slice(key))))
    }

    /// Appends `tag[16] ciphertext` to `out`. Returns `None` if the cipher fails; `out` then has its previous content. The caller guarantees that no
    /// nonce is used twice with the same key.
    pub fn seal(&self, nonce: &[u8; NONCE_LEN], plaintext: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        // Reserve everything at once: a buffer that grows later would leave a copy of the plaintext behind.
        out.reserve(TAG_LEN + plaintext.len());
        out.extend_from_slice(&[0; TAG_LEN]);
        out.extend_from_slice(plaintext);
        let (_, sealed) = out.split_at_mut(start);
        let (tag, text) = sealed.split_at_mut(TAG_LEN);
        match self.0.encrypt_in_place_detached(Nonce::from_slice(nonce), b"", text) {
            Ok(computed) => {
                tag.copy_from_slice(&computed);
                Some(())
            }
            Err(_) => {
                sealed.zeroize();
                out.truncate(start);
                None
            }
        }
    }

    /// Opens a whole value. All bytes are attacker-controlled; this function does not panic.
    ///
    /// # Errors
    /// Returns [`OpenError::TooShort`] based on the length alone, and [`OpenError::Failed`] for every other cause.
    pub fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(OpenError::TooShort)?;
        let (tag, ciphertext) = rest.split_first_chunk::<TAG_LEN>().ok_or(OpenError::TooShort)?;
        let mut text = Zeroizing::new(ciphertext.to_vec());
        self.0
            .decrypt_in_place_detached(
                Nonce::from_slice(nonce),
                b"",
                &mut text,
                Tag::from_slice(tag),
            )
            .map_err(|_| OpenError::Failed)?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From NaCl's own tests, secretbox.c and secretbox2.c (tests/secretbox.out); libsodium has the same vector.
    #[test]
    fn opens_nacls_own_vector() {
        let key = hex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389");
        let nonce = hex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
        let plaintext = hex(concat!(
            "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31",
            "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f937763848645e0705"
        ));
        let boxed = hex(concat!(
            "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972",
            "71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
        ));
        let key = SecretboxKey::new(&key).unwrap();
        let sealed = [nonce, boxed].concat();
        assert_eq!(*key.open(&sealed).unwrap(), plaintext);
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(key.open(&altered).err(), Some(OpenError::Failed), "byte {at}");
        }
        assert_eq!(key.open(&sealed[..39]).err(), Some(OpenError::TooShort));
    }

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(core::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}
