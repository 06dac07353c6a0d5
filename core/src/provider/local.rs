//! aesgcm, aescbc and secretbox: providers with named keys from the configuration file.
//!
//! A value is `prefix ‖ <key name>: ‖ sealed`. The first key encrypts. A value is decrypted with the keys whose name it begins with, in order, and it
//! is stale unless the first key decrypted it. Upstream: encryptionconfig/config.go, `aesPrefixTransformer` and `secretboxPrefixTransformer`.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::transformer::{Failed, LocalRead, LocalTransformer, LocalWritten, UNKNOWN};
use crate::config::NamedKey;
use crate::crypto::entropy::Entropy;
use crate::crypto::keys::{KeyError, KeyStore, LocalCipher, LocalKey, OpenError};
use crate::provider::error::{ErrorKind, TransformError};

/// The keys of one provider.
pub struct LocalKeys {
    /// Each key with the prefix of its values, which is its name and `:`.
    keys: Vec<(Arc<str>, Box<dyn LocalKey>)>,
    cipher: LocalCipher,
}

impl LocalKeys {
    /// Creates the provider from the keys of a valid configuration.
    ///
    /// # Errors
    /// Returns an error if a key does not fit its cipher.
    pub fn new(
        cipher: LocalCipher,
        named: &[NamedKey],
        store: &dyn KeyStore,
    ) -> Result<Self, KeyError> {
        let mut keys = Vec::with_capacity(named.len());
        for NamedKey { name, secret } in named {
            keys.push((format!("{name}:").into(), store.local(cipher, secret)?));
        }
        Ok(Self { keys, cipher })
    }

    /// Returns the error of a key that does not open its value.
    ///
    /// AES-CBC does not authenticate values, so its text is that of upstream's padding check, whatever failed.
    fn not_opened(&self, error: OpenError) -> TransformError {
        match (self.cipher, error) {
            (LocalCipher::AesCbc, OpenError::Failed) => TransformError::new(
                ErrorKind::DecryptFailed,
                "invalid padding on input".to_string(),
            ),
            (LocalCipher::AesCbc | LocalCipher::AesGcm | LocalCipher::Secretbox, error) => {
                error.into()
            }
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
        failed: Failed<'_>,
    ) -> Result<LocalWritten, TransformError> {
        // Validation guarantees a key; without one, nothing may be written.
        let Some((name, first)) = self.keys.first() else {
            return Err(self.unmatched());
        };
        let sealed = first.seal(key, plaintext, entropy).inspect_err(|_| failed(name))?;
        Ok(LocalWritten {
            value: [name.as_bytes(), &sealed].concat(),
            key_prefix: Some(name.clone()),
        })
    }

    fn from_storage(
        &self,
        key: &[u8],
        stored: &[u8],
        failed: Failed<'_>,
    ) -> Result<LocalRead, TransformError> {
        let mut faults = Vec::new();
        for (at, (name, candidate)) in self.keys.iter().enumerate() {
            if let Some(sealed) = stored.strip_prefix(name.as_bytes()) {
                match candidate.open(key, sealed) {
                    Ok(plaintext) => {
                        return Ok(LocalRead {
                            plaintext,
                            stale: at != 0,
                            key_prefix: Some(name.clone()),
                        });
                    }
                    Err(error) => {
                        failed(name);
                        faults.push(self.not_opened(error));
                    }
                }
            }
        }
        if faults.is_empty() {
            failed(UNKNOWN);
            return Err(self.unmatched());
        }
        Err(TransformError::of_search(faults))
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};
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
        NamedKey { name: name.to_string(), secret: Zeroizing::new(vec![byte; 32]) }
    }

    fn write(keys: &LocalKeys, at: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let written = keys.to_storage(at, plaintext, &Sevens, &mut |_| panic!("a key failed"));
        written.unwrap().value
    }

    /// Also returns the keys that failed, each followed by a comma.
    fn read(
        keys: &LocalKeys,
        at: &[u8],
        stored: &[u8],
    ) -> (Result<LocalRead, TransformError>, String) {
        let mut failed = String::new();
        let read = keys.from_storage(at, stored, &mut |key| failed += &format!("{key},"));
        (read, failed)
    }

    fn keys(cipher: LocalCipher, named: &[NamedKey]) -> LocalKeys {
        LocalKeys::new(cipher, named, &RustCrypto).unwrap()
    }

    #[test]
    fn the_first_key_writes_and_later_ones_read_stale() {
        for cipher in [LocalCipher::AesGcm, LocalCipher::AesCbc, LocalCipher::Secretbox] {
            let old = keys(cipher, &[key("old", 1)]);
            let both = keys(cipher, &[key("new", 2), key("old", 1)]);
            let by_old = write(&old, b"/k", b"hello");
            let by_both = write(&both, b"/k", b"hello");
            assert!(by_old.starts_with(b"old:") && by_both.starts_with(b"new:"));
            for (stored, stale, by) in [(by_old, true, "old:"), (by_both, false, "new:")] {
                let (read, failed) = read(&both, b"/k", &stored);
                let read = read.unwrap();
                assert_eq!((read.plaintext.expose(), read.stale), (&b"hello"[..], stale));
                assert_eq!((read.key_prefix.as_deref(), &*failed), (Some(by), ""));
            }
        }
    }

    #[test]
    fn keys_of_the_same_name_are_all_tried() {
        let stored = write(&keys(LocalCipher::AesGcm, &[key("k", 1)]), b"/k", b"x");
        let several = keys(LocalCipher::AesGcm, &[key("k", 2), key("k", 1)]);
        let (read, failed) = read(&several, b"/k", &stored);
        assert!(read.unwrap().stale, "read by the second, so stale");
        assert_eq!(failed, "k:,", "the first is counted as one that failed");
    }

    #[test]
    fn another_location_is_refused_only_by_aesgcm() {
        let table = [
            (LocalCipher::AesGcm, false),
            (LocalCipher::AesCbc, true),
            (LocalCipher::Secretbox, true),
        ];
        for (cipher, opens) in table {
            let keys = keys(cipher, &[key("k", 1)]);
            let stored = write(&keys, b"/a", b"x");
            let (read, failed) = read(&keys, b"/b", &stored);
            assert_eq!(read.is_ok(), opens, "{cipher:?}");
            assert_eq!(failed, if opens { "" } else { "k:," }, "{cipher:?}");
        }
    }

    #[test]
    fn a_value_of_an_unknown_key_has_upstreams_error() {
        let table = [
            (LocalCipher::AesGcm, "AES"),
            (LocalCipher::AesCbc, "AES"),
            (LocalCipher::Secretbox, "Secretbox"),
        ];
        for (cipher, name) in table {
            let (read, failed) = read(&keys(cipher, &[key("k", 1)]), b"/k", b"other:x");
            assert_eq!(failed, "unknown,");
            assert_eq!(
                read.unwrap_err().message,
                format!("no matching key was found for the provided {name} transformer")
            );
        }
    }
}
