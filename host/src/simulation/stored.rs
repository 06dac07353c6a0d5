//! Parses the key and the nonce of a stored value. Independent of core, which encrypted the value.

use dekker_proto::storage::EncryptedObject;
use prost::Message;

/// The length of an AES-GCM nonce, 12 bytes.
const GCM_NONCE: usize = 12;
/// The length of an AES-CBC IV, 16 bytes.
const CBC_IV: usize = 16;
/// The length of an XSalsa20-Poly1305 nonce, 24 bytes.
const SECRETBOX_NONCE: usize = 24;
/// The length of the info with which a value's key is derived from a seed, 32 bytes. It precedes the nonce.
const SEED_INFO: usize = 32;

/// A parsed stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The prefix of the value: its provider, and the key's name for a local cipher. It determines which providers can decrypt the value.
    pub(super) prefix: String,
    /// Only for KMS v2.
    pub(super) kms: Option<KmsKey>,
    /// Everything that must not repeat with one key.
    pub(super) nonce: Vec<u8>,
}

/// Identifies a DEK by the plaintext parts of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KmsKey {
    pub(super) key_id: String,
    pub(super) encrypted_dek_source: Vec<u8>,
}

impl Stored {
    /// Parses a stored value. Returns `None` for plaintext and for anything else that Dekker does not write.
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
                return Some(Self { prefix, kms: None, nonce: nonce.to_vec() });
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

/// Splits a value after the name that follows the first `at` bytes. Returns the prefix with the name, and the rest.
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
