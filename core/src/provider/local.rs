//! aesgcm, aescbc and secretbox: named keys from the configuration file.
//!
//! A value is `prefix ‖ <key name>: ‖ sealed`. The first key writes; a value is read by the keys whose name it begins with, in order, and is
//! stale unless the first one read it. Upstream: encryptionconfig/config.go, `aesPrefixTransformer` and `secretboxPrefixTransformer`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::transformer::{ErrorKind, LocalTransformer, TransformError};
use crate::config::NamedKey;
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{KeyError, KeyStore};
use crate::crypto::local::{LocalCipher, LocalKey};
use crate::crypto::secret::Secret;

/// The keys of one provider.
pub struct LocalKeys {
    /// Each with what its values begin with: the name, then `:`.
    keys: Vec<(String, Box<dyn LocalKey>)>,
    cipher: LocalCipher,
}

impl LocalKeys {
    /// From the keys of a valid configuration.
    ///
    /// # Errors
    /// When a key does not fit its cipher.
    pub fn new(
        cipher: LocalCipher,
        named: &[NamedKey],
        store: &dyn KeyStore,
    ) -> Result<Self, KeyError> {
        let mut keys = Vec::with_capacity(named.len());
        for NamedKey { name, secret } in named {
            keys.push((format!("{name}:"), store.local(cipher, secret)?));
        }
        Ok(Self { keys, cipher })
    }

    /// What the values of a cipher begin with.
    pub const fn prefix(cipher: LocalCipher) -> &'static str {
        match cipher {
            LocalCipher::AesGcm => "k8s:enc:aesgcm:v1:",
            LocalCipher::AesCbc => "k8s:enc:aescbc:v1:",
            LocalCipher::Secretbox => "k8s:enc:secretbox:v1:",
        }
    }

    fn unmatched(&self) -> TransformError {
        let provider = match self.cipher {
            LocalCipher::AesGcm | LocalCipher::AesCbc => "AES",
            LocalCipher::Secretbox => "Secretbox",
        };
        let message = format!("no matching key was found for the provided {provider} transformer");
        TransformError::new(ErrorKind::NoMatchingPrefix, message)
    }
}

impl LocalTransformer for LocalKeys {
    fn to_storage(
        &self,
        key: &[u8],
        plaintext: &[u8],
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, TransformError> {
        // Validation guarantees a key; without one, nothing may be written.
        let Some((name, first)) = self.keys.first() else {
            return Err(self.unmatched());
        };
        let sealed = first.seal(key, plaintext, entropy)?;
        Ok([name.as_bytes(), &sealed].concat())
    }

    fn from_storage(&self, key: &[u8], stored: &[u8]) -> Result<(Secret, bool), TransformError> {
        let mut faults = Vec::new();
        for (at, (name, candidate)) in self.keys.iter().enumerate() {
            if let Some(sealed) = stored.strip_prefix(name.as_bytes()) {
                match candidate.open(key, sealed) {
                    Ok(plaintext) => return Ok((plaintext, at != 0)),
                    Err(error) => faults.push(TransformError::from(error)),
                }
            }
        }
        if faults.is_empty() {
            return Err(self.unmatched());
        }
        Err(TransformError::of_search(faults))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::entropy::EntropyError;
    use crate::crypto::rustcrypto::RustCrypto;

    struct Sevens;
    impl Entropy for Sevens {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(7);
            Ok(())
        }
    }

    fn key(name: &str, byte: u8) -> NamedKey {
        NamedKey {
            name: name.to_string(),
            secret: Zeroizing::new(vec![byte; 32]),
        }
    }

    fn keys(cipher: LocalCipher, named: &[NamedKey]) -> LocalKeys {
        LocalKeys::new(cipher, named, &RustCrypto).unwrap()
    }

    #[test]
    fn the_first_key_writes_and_later_ones_read_stale() {
        for cipher in [
            LocalCipher::AesGcm,
            LocalCipher::AesCbc,
            LocalCipher::Secretbox,
        ] {
            let old = keys(cipher, &[key("old", 1)]);
            let both = keys(cipher, &[key("new", 2), key("old", 1)]);
            let by_old = old.to_storage(b"/k", b"hello", &Sevens).unwrap();
            let by_both = both.to_storage(b"/k", b"hello", &Sevens).unwrap();
            assert!(by_old.starts_with(b"old:") && by_both.starts_with(b"new:"));
            for (stored, stale) in [(by_old, true), (by_both, false)] {
                let (plaintext, was_stale) = both.from_storage(b"/k", &stored).unwrap();
                assert_eq!((plaintext.expose(), was_stale), (&b"hello"[..], stale));
            }
        }
    }

    #[test]
    fn keys_of_the_same_name_are_all_tried() {
        let stored = keys(LocalCipher::AesGcm, &[key("k", 1)])
            .to_storage(b"/k", b"x", &Sevens)
            .unwrap();
        let several = keys(LocalCipher::AesGcm, &[key("k", 2), key("k", 1)]);
        assert!(
            several.from_storage(b"/k", &stored).unwrap().1,
            "read by the second, so stale"
        );
    }

    #[test]
    fn another_location_is_refused_by_the_cipher_that_authenticates() {
        let table = [
            (LocalCipher::AesGcm, false),
            (LocalCipher::AesCbc, true),
            (LocalCipher::Secretbox, true),
        ];
        for (cipher, opens) in table {
            let keys = keys(cipher, &[key("k", 1)]);
            let stored = keys.to_storage(b"/a", b"x", &Sevens).unwrap();
            assert_eq!(
                keys.from_storage(b"/b", &stored).is_ok(),
                opens,
                "{cipher:?}"
            );
        }
    }

    #[test]
    fn an_unknown_key_is_named_as_such() {
        let table = [
            (LocalCipher::AesGcm, "AES"),
            (LocalCipher::AesCbc, "AES"),
            (LocalCipher::Secretbox, "Secretbox"),
        ];
        for (cipher, name) in table {
            let error = keys(cipher, &[key("k", 1)])
                .from_storage(b"/k", b"other:x")
                .unwrap_err();
            assert_eq!(
                error.message,
                format!("no matching key was found for the provided {name} transformer")
            );
        }
    }
}
