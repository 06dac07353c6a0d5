//! Values as the providers write them, with keys that the test knows.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use dekker_crypto::{CbcKey, SecretboxKey};

use super::values::Bytes;

/// The key of every local provider.
pub(crate) const KEY: [u8; 32] = [0x6b; 32];
/// The DEK of every KMS value.
pub(crate) const DEK: [u8; 32] = [0x64; 32];
/// A key name of k3s.
pub(crate) const K3S: &str = "aescbckey-2026-03-09T09:46:54+01:00";

/// Who writes a value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Provider {
    /// aescbc, with the name of its key.
    AesCbc(&'static str),
    AesGcm,
    Secretbox,
    KmsV1,
    KmsV2,
    Identity,
}

impl Provider {
    /// The provider's name in the output of `inspect`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::AesCbc(_) => "aescbc",
            Self::AesGcm => "aesgcm",
            Self::Secretbox => "secretbox",
            Self::KmsV1 | Self::KmsV2 => "kms",
            Self::Identity => "identity",
        }
    }

    /// Whether the DEK opens the value, and not a key of the configuration.
    pub(crate) fn is_kms(self) -> bool {
        matches!(self, Self::KmsV1 | Self::KmsV2)
    }

    /// Whether the value opens only with its storage key.
    pub(crate) fn is_bound_to_key(self) -> bool {
        self.is_kms() || self == Self::AesGcm
    }

    /// Encrypts a value. Nonces and initialization vectors are taken from `bytes`.
    pub(crate) fn seal(self, key: &str, plaintext: &[u8], bytes: &mut Bytes) -> Vec<u8> {
        let (head, payload) = match self {
            Self::Identity => return plaintext.to_vec(),
            Self::AesCbc(name) => {
                let cipher = CbcKey::new(&KEY).expect("a key");
                let iv: [u8; 16] = bytes.array();
                let mut sealed = iv.to_vec();
                cipher.seal(&iv, plaintext, &mut sealed);
                (format!("aescbc:v1:{name}"), sealed)
            }
            Self::AesGcm => ("aesgcm:v1:key1".to_owned(), gcm(&KEY, key, plaintext, bytes)),
            Self::Secretbox => {
                let cipher = SecretboxKey::new(&KEY).expect("a key");
                let nonce: [u8; 24] = bytes.array();
                let mut sealed = nonce.to_vec();
                cipher.seal(&nonce, plaintext, &mut sealed).expect("a value");
                ("secretbox:v1:key1".to_owned(), sealed)
            }
            Self::KmsV1 => {
                // The length of the encrypted DEK, the encrypted DEK, the sealed value.
                let encrypted_dek = [&[0, 40], &*bytes.take(40)].concat();
                let sealed = gcm(&DEK, key, plaintext, bytes);
                ("kms:v1:old".to_owned(), [encrypted_dek, sealed].concat())
            }
            Self::KmsV2 => {
                // `EncryptedObject`: data, key ID, DEK source.
                let sealed = gcm(&DEK, key, plaintext, bytes);
                let mut object = vec![0x0a];
                object.extend(varint(sealed.len()));
                object.extend(sealed);
                object.extend(b"\x12\x05key-1\x1a\x28");
                object.extend(bytes.take(40));
                ("kms:v2:vault".to_owned(), object)
            }
        };
        [b"k8s:enc:", head.as_bytes(), b":", &payload].concat()
    }

    /// Encrypts a value that ends with these bytes.
    pub(crate) fn seal_ending(
        self,
        key: &str,
        plaintext: &[u8],
        end: &[u8],
        bytes: &mut Bytes,
    ) -> Vec<u8> {
        let mut values = std::iter::repeat_with(|| self.seal(key, plaintext, bytes));
        // Two bytes are found after 65,536 attempts on average.
        let found = values.by_ref().take(2_000_000).find(|value| value.ends_with(end));
        found.expect("a value with this end")
    }
}

/// `nonce[12] ciphertext tag[16]`, bound to the storage key.
fn gcm(secret: &[u8; 32], key: &str, plaintext: &[u8], bytes: &mut Bytes) -> Vec<u8> {
    let nonce: [u8; 12] = bytes.array();
    let cipher = Aes256Gcm::new(secret.into());
    let payload = Payload { msg: plaintext, aad: key.as_bytes() };
    let sealed = cipher.encrypt(&nonce.into(), payload).expect("a value");
    [&nonce[..], &sealed].concat()
}

/// A number in protobuf.
fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 0x7f {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
