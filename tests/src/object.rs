//! `EncryptedObject` through prost, and its sealed value opened step by step: both independent of core's code.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use prost::Message;
use sha2::{Digest, Sha256};

/// Upstream: kmsv2/v2/api.proto.
#[derive(Clone, PartialEq, Message)]
pub struct EncryptedObject {
    /// The sealed value.
    #[prost(bytes = "vec", tag = "1")]
    pub encrypted_data: Vec<u8>,
    /// In the clear.
    #[prost(string, tag = "2")]
    pub key_id: String,
    /// What the plugin made of the DEK or seed.
    #[prost(bytes = "vec", tag = "3")]
    pub encrypted_dek_source: Vec<u8>,
    /// The plugin's.
    #[prost(btree_map = "string, bytes", tag = "4")]
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// 0: an AES key; 1: a seed.
    #[prost(int32, tag = "5")]
    pub encrypted_dek_source_type: i32,
}

impl EncryptedObject {
    /// What follows `k8s:enc:kms:v2:<provider>:`.
    ///
    /// # Panics
    /// When the value does not have that prefix, or is not protobuf.
    pub fn of(provider: &str, stored: &[u8]) -> Self {
        let prefix = format!("k8s:enc:kms:v2:{provider}:");
        let value = stored.strip_prefix(prefix.as_bytes()).expect("the prefix");
        Self::decode(value).expect("an EncryptedObject")
    }

    /// The object in a value of any provider of KMS v2; `None`: there is none.
    pub fn find(stored: &[u8]) -> Option<Self> {
        let value = stored.strip_prefix(b"k8s:enc:kms:v2:")?;
        let name = value.iter().position(|byte| *byte == b':')?;
        Self::decode(&value[name + 1..]).ok()
    }

    /// The object as the provider stores it.
    pub fn stored(&self, provider: &str) -> Vec<u8> {
        let mut stored = format!("k8s:enc:kms:v2:{provider}:").into_bytes();
        stored.extend(self.encode_to_vec());
        stored
    }

    /// The counter in its nonce; for AES keys.
    ///
    /// # Panics
    /// When there is none.
    pub fn counter(&self) -> u64 {
        u64::from_le_bytes(self.encrypted_data[4..12].try_into().expect("8 bytes"))
    }

    /// The random part of its nonce; for AES keys.
    pub fn random_part(&self) -> &[u8] {
        &self.encrypted_data[..4]
    }

    /// What is sealed in it, opened with its DEK or seed.
    pub fn open(&self, source: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
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
            16 => Aes128Gcm::new_from_slice(&key)
                .ok()?
                .decrypt(nonce.into(), payload)
                .ok(),
            _ => Aes256Gcm::new_from_slice(&key)
                .ok()?
                .decrypt(nonce.into(), payload)
                .ok(),
        }
    }
}

/// RFC 2104, for keys of at most a block.
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

/// `sha256:<hex>`, as a key ID or a configuration is shown.
pub fn sha256_text(bytes: impl AsRef<[u8]>) -> String {
    let hex = Sha256::digest(bytes);
    let hex: String = hex.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
