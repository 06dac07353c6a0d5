//! Decodes `EncryptedObject` with prost and opens its sealed value step by step. Both are independent of core's code.

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use prost::Message;
use sha2::{Digest, Sha256};

pub use dekker_proto::storage::EncryptedObject;

/// An [`EncryptedObject`] as a stored value.
pub trait Stored: Sized {
    /// Decodes what follows `k8s:enc:kms:v2:<provider>:`.
    ///
    /// # Panics
    /// Panics if the value does not have that prefix, or is not protobuf.
    fn of(provider: &str, stored: &[u8]) -> Self;

    /// Decodes a value of any KMS v2 provider. Returns `None` if the value is of another kind or malformed.
    fn find(stored: &[u8]) -> Option<Self>;

    /// Encodes the object as the provider stores it.
    fn stored(&self, provider: &str) -> Vec<u8>;

    /// Returns the counter in the nonce; for AES keys.
    ///
    /// # Panics
    /// Panics if the ciphertext is shorter than a nonce.
    fn counter(&self) -> u64;

    /// Returns the random part of the nonce; for AES keys.
    fn random_part(&self) -> &[u8];

    /// Decrypts the sealed value with its DEK or seed.
    fn open(&self, source: &[u8], aad: &[u8]) -> Option<Vec<u8>>;
}

impl Stored for EncryptedObject {
    fn of(provider: &str, stored: &[u8]) -> Self {
        let prefix = format!("k8s:enc:kms:v2:{provider}:");
        let value = stored.strip_prefix(prefix.as_bytes()).expect("the prefix");
        Self::decode(value).expect("an EncryptedObject")
    }

    fn find(stored: &[u8]) -> Option<Self> {
        let value = stored.strip_prefix(b"k8s:enc:kms:v2:")?;
        let name = value.iter().position(|byte| *byte == b':')?;
        Self::decode(&value[name + 1..]).ok()
    }

    fn stored(&self, provider: &str) -> Vec<u8> {
        let mut stored = format!("k8s:enc:kms:v2:{provider}:").into_bytes();
        stored.extend(self.encode_to_vec());
        stored
    }

    fn counter(&self) -> u64 {
        u64::from_le_bytes(self.encrypted_data[4..12].try_into().expect("8 bytes"))
    }

    fn random_part(&self) -> &[u8] {
        &self.encrypted_data[..4]
    }

    fn open(&self, source: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
        let data = &self.encrypted_data;
        let (key, sealed) = match self.encrypted_dek_source_type {
            0 => (source.to_vec(), &data[..]),
            1 => {
                let (info, sealed) = data.split_at_checked(32)?;
                // The first block of HKDF-Expand, RFC 5869 §2.3: HMAC(seed, info ‖ 0x01).
                (hmac_sha256(source, &[info, &[1]].concat()), sealed)
            }
            _ => return None,
        };
        let (nonce, msg) = sealed.split_first_chunk::<12>()?;
        let payload = Payload { msg, aad };
        match key.len() {
            16 => Aes128Gcm::new_from_slice(&key).ok()?.decrypt(nonce.into(), payload).ok(),
            _ => Aes256Gcm::new_from_slice(&key).ok()?.decrypt(nonce.into(), payload).ok(),
        }
    }
}

/// HMAC-SHA256 as in RFC 2104, for keys of at most one block.
fn hmac_sha256(key: &[u8], text: &[u8]) -> Vec<u8> {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block.iter_mut().zip(key).for_each(|(at, key)| *at ^= key);
        block
    };
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(text);
    let outer = Sha256::new().chain_update(pad(0x5c));
    outer.chain_update(inner.finalize()).finalize().to_vec()
}

/// Returns `sha256:<hex>`, the form in which key IDs and configurations are shown.
pub fn sha256_text(bytes: impl AsRef<[u8]>) -> String {
    let hex = Sha256::digest(bytes);
    let hex: String = hex.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
