//! What a stored value says of the key and the nonce that made it. Written apart from core, which wrote the value.

use dekker_proto::storage::EncryptedObject;
use prost::Message;

/// 12 bytes: AES-GCM's nonce.
const GCM_NONCE: usize = 12;
/// 16 bytes: AES-CBC's IV.
const CBC_IV: usize = 16;
/// 24 bytes: XSalsa20-Poly1305's nonce.
const SECRETBOX_NONCE: usize = 24;
/// 32 bytes: what a seed's key is derived with, before the nonce.
const SEED_INFO: usize = 32;

/// A stored value, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// What the value begins with: its provider, and the key's name if it is a local one. Names what can read it.
    pub(super) prefix: String,
    /// For KMS v2.
    pub(super) kms: Option<KmsKey>,
    /// All that must not repeat with one key.
    pub(super) nonce: Vec<u8>,
}

/// What names a DEK from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KmsKey {
    pub(super) key_id: String,
    pub(super) encrypted_dek_source: Vec<u8>,
}

impl Stored {
    /// `None`: plaintext, or nothing that Dekker writes.
    pub(super) fn parse(stored: &[u8]) -> Option<Self> {
        let local = [
            ("k8s:enc:aesgcm:v1:", GCM_NONCE),
            ("k8s:enc:aescbc:v1:", CBC_IV),
            ("k8s:enc:secretbox:v1:", SECRETBOX_NONCE),
        ];
        for (provider, nonce_len) in local {
            if stored.starts_with(provider.as_bytes()) {
                let (prefix, sealed) = split(stored, provider.len())?;
                let (nonce, _) = sealed.split_at_checked(nonce_len)?;
                return Some(Self {
                    prefix,
                    kms: None,
                    nonce: nonce.to_vec(),
                });
            }
        }
        let kms = "k8s:enc:kms:v2:";
        if !stored.starts_with(kms.as_bytes()) {
            return None;
        }
        let (prefix, object) = split(stored, kms.len())?;
        let object = EncryptedObject::decode(object).ok()?;
        let nonce_len = match object.encrypted_dek_source_type {
            0 => GCM_NONCE,
            _ => SEED_INFO + GCM_NONCE,
        };
        let (nonce, _) = object.encrypted_data.split_at_checked(nonce_len)?;
        Some(Self {
            prefix,
            nonce: nonce.to_vec(),
            kms: Some(KmsKey {
                key_id: object.key_id.clone(),
                encrypted_dek_source: object.encrypted_dek_source.clone(),
            }),
        })
    }
}

/// The prefix, with the name that follows its first `at` bytes; and the rest.
fn split(stored: &[u8], at: usize) -> Option<(String, &[u8])> {
    let name = stored.get(at..)?.iter().position(|byte| *byte == b':')?;
    let (prefix, rest) = stored.split_at_checked(at + name + 1)?;
    Some((String::from_utf8(prefix.to_vec()).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_and_nonce_are_found() {
        let mut value = b"k8s:enc:aescbc:v1:k1:".to_vec();
        value.extend(0..40);
        let stored = Stored::parse(&value).unwrap();
        assert_eq!(stored.prefix, "k8s:enc:aescbc:v1:k1:");
        assert_eq!(stored.nonce, (0..16).collect::<Vec<_>>());
        assert_eq!(Stored::parse(b"plain"), None);
        assert_eq!(Stored::parse(b"k8s:enc:aesgcm:v1:k1:short"), None);
    }
}
