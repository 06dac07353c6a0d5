//! The nonces used with each key over the whole life of a state directory.
//!
//! This module opens stored values independently of Dekker's own code. It uses the keys on disk: the keyring file, and the key in the configuration
//! that the tests write.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use dekker_tests::object::{EncryptedObject, Stored};

/// The prefix of values that the tests' own `aesgcm` provider stores.
pub(crate) const LOCAL_PREFIX: &[u8] = b"k8s:enc:aesgcm:v1:local:";

/// The key of that provider.
pub(crate) const LOCAL_KEY: [u8; 32] = *b"0123456789abcdef0123456789abcdef";

/// The keys in the keyring file, by key ID.
pub(crate) struct KeysOnDisk(BTreeMap<String, Vec<u8>>);

impl KeysOnDisk {
    /// Returns `None` if there is no file.
    ///
    /// # Panics
    /// Panics if the file is incomplete.
    pub(crate) fn read(state: &Path) -> Option<Self> {
        let bytes = std::fs::read(state.join("keyring.json")).ok()?;
        let file: Value = serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("keyring.json is not whole: {error}"));
        let text = |value: &Value| value.as_str().expect("a string").to_owned();
        let entries = file["keys"].as_array().expect("a list");
        let keys: BTreeMap<_, _> = entries
            .iter()
            .map(|entry| {
                let key = BASE64_STANDARD.decode(text(&entry["key"])).expect("base64");
                (text(&entry["id"]), key)
            })
            .collect();
        assert!(keys.contains_key(&text(&file["current"])), "keyring.json lacks its current key");
        Some(Self(keys))
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

/// Every pair of key and nonce seen, with the ciphertext that it belongs to.
#[derive(Default)]
pub(crate) struct Nonces {
    seen: HashMap<(Vec<u8>, Vec<u8>), Vec<u8>>,
    /// Encrypted DEKs and their plaintext, so that each is decrypted once.
    deks: HashMap<Vec<u8>, Vec<u8>>,
}

impl Nonces {
    /// Decrypts a stored value, and records its nonce and the nonce of its encrypted DEK.
    ///
    /// # Panics
    /// Panics if the value cannot be decrypted with the keys on disk, is not `plaintext`, or repeats a nonce.
    pub(crate) fn note(&mut self, keys: &KeysOnDisk, key: &str, plaintext: &[u8], stored: &[u8]) {
        if let Some(sealed) = stored.strip_prefix(LOCAL_PREFIX) {
            let opened = open_gcm(&LOCAL_KEY, sealed, key.as_bytes());
            assert_eq!(opened.as_deref(), Some(plaintext), "{key}");
            self.once(&LOCAL_KEY, sealed);
            return;
        }
        let object = EncryptedObject::find(stored).expect("a value of KMS v2");
        let source = &object.encrypted_dek_source;
        let dek = match self.deks.get(source) {
            Some(dek) => dek.clone(),
            None => {
                let kek = keys.0.get(&object.key_id);
                let kek = kek.unwrap_or_else(|| panic!("the keyring lost the key of {key}"));
                // The layout of Dekker's plugin: a 1, the nonce, the ciphertext and the tag.
                let sealed = source.strip_prefix(&[1]).expect("its layout");
                let dek = open_gcm(kek, sealed, object.key_id.as_bytes());
                let dek = dek.unwrap_or_else(|| panic!("the DEK of {key} cannot be opened"));
                self.once(kek, sealed);
                self.deks.insert(source.clone(), dek.clone());
                dek
            }
        };
        assert_eq!(object.encrypted_dek_source_type, 0, "a counted DEK");
        let opened = object.open(&dek, key.as_bytes());
        assert_eq!(opened.as_deref(), Some(plaintext), "{key}");
        self.once(&dek, &object.encrypted_data);
    }

    fn once(&mut self, key: &[u8], sealed: &[u8]) {
        let (nonce, rest) = sealed.split_at(12);
        let before = self.seen.insert((key.to_vec(), nonce.to_vec()), rest.to_vec());
        assert!(before.is_none(), "one key was used twice with one nonce");
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.len()
    }
}

fn open_gcm(key: &[u8], sealed: &[u8], aad: &[u8]) -> Option<Vec<u8>> {
    let (nonce, msg) = sealed.split_first_chunk::<12>()?;
    let cipher = Aes256Gcm::new_from_slice(key).ok()?;
    cipher.decrypt(nonce.into(), Payload { msg, aad }).ok()
}
