//! aesgcm, aescbc and secretbox: providers with named keys from the configuration file.
//!
//! A value is `prefix ‖ <key name>: ‖ sealed`. The first key encrypts. A value is decrypted with the keys whose name it begins with, in order, and it
//! is stale unless the first key decrypted it. Upstream: encryptionconfig/config.go, `aesPrefixTransformer` and `secretboxPrefixTransformer`.

use alloc::format;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use super::frame::{Frame, Start};
use super::prefix;
use super::stored::{Missing, Stored};
use crate::config::NamedKey;
use crate::crypto::keys::{KeyError, KeyStore, LocalCipher, LocalKey, OpenError};
use crate::provider::error::{ErrorKind, TransformError};

/// The keys of one provider.
pub struct LocalKeys {
    keys: Vec<Named>,
    cipher: LocalCipher,
    /// What surrounds the values of the first key.
    frame: Arc<Frame>,
}

struct Named {
    /// The prefix of the key's values: its name and `:`.
    prefix: Arc<str>,
    key: Arc<dyn LocalKey>,
}

/// A key that may have sealed a value.
pub struct Candidate {
    /// The number of the key in the configuration, from 0. A value is stale unless key 0 opens it.
    pub number: usize,
    /// The prefix of the key's values.
    pub key_prefix: Arc<str>,
    /// The key.
    pub key: Arc<dyn LocalKey>,
    /// The sealed bytes, counted from the beginning of the whole value.
    pub range: Range<usize>,
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
            let key = store.local(cipher, secret)?.into();
            keys.push(Named { prefix: format!("{name}:").into(), key });
        }
        let first = keys.first().map(|first| first.prefix.as_bytes().to_vec());
        let frame = Frame {
            prefix: prefix::local(cipher).into(),
            start: Start::Fixed(first.unwrap_or_default()),
            end: Vec::new(),
        };
        Ok(Self { keys, cipher, frame: Arc::new(frame) })
    }

    /// Returns the cipher of all keys.
    pub const fn cipher(&self) -> LocalCipher {
        self.cipher
    }

    /// Returns the key that seals. Validation of the configuration guarantees one.
    pub fn first(&self) -> Option<&dyn LocalKey> {
        self.keys.first().map(|named| &*named.key)
    }

    /// Returns the prefix of the values of the key that seals.
    ///
    /// # Errors
    /// Returns an error if there is no key. Nothing may then be written.
    pub fn first_prefix(&self) -> Result<&Arc<str>, TransformError> {
        self.keys.first().map(|named| &named.prefix).ok_or_else(|| self.unmatched())
    }

    /// Returns what surrounds the values of the first key.
    pub const fn frame(&self) -> &Arc<Frame> {
        &self.frame
    }

    /// Returns the next key, from number `from` on, whose name a value begins with. `stored` is the part after the provider's prefix.
    ///
    /// # Errors
    /// Returns an error if that depends on bytes that are not here.
    pub fn find(&self, stored: Stored<'_>, from: usize) -> Result<Option<Candidate>, Missing> {
        for (number, named) in self.keys.iter().enumerate().skip(from) {
            if let Some(sealed) = stored.strip_prefix(named.prefix.as_bytes())? {
                return Ok(Some(Candidate {
                    number,
                    key_prefix: named.prefix.clone(),
                    key: named.key.clone(),
                    range: sealed.range(0..sealed.len()),
                }));
            }
        }
        Ok(None)
    }

    /// Returns the error of a key that does not open its value.
    ///
    /// AES-CBC does not authenticate values, so its text is that of upstream's padding check, whatever failed.
    pub fn not_opened(&self, error: OpenError) -> TransformError {
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

    /// Returns the error of a value that begins with the name of no key.
    pub fn unmatched(&self) -> TransformError {
        let provider = match self.cipher {
            LocalCipher::AesGcm | LocalCipher::AesCbc => "AES",
            LocalCipher::Secretbox => "Secretbox",
        };
        let message = format!("no matching key was found for the provided {provider} transformer");
        TransformError::new(ErrorKind::NoMatchingPrefix, message)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;

    use zeroize::Zeroizing;

    use super::*;
    use crate::crypto::entropy::{Entropy, EntropyError};
    use crate::crypto::rustcrypto::RustCrypto;
    use crate::provider::plan::SealPlan;

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

    fn keys(cipher: LocalCipher, named: &[NamedKey]) -> Arc<LocalKeys> {
        Arc::new(LocalKeys::new(cipher, named, &RustCrypto).unwrap())
    }

    fn write(keys: &Arc<LocalKeys>, at: &[u8], plaintext: &[u8]) -> Vec<u8> {
        SealPlan::local(keys.clone()).seal(at, plaintext, &Sevens).unwrap()
    }

    /// Tries the keys in order, as the engine does. Returns the numbers of the keys that failed, and the number and plaintext of the one that opened.
    fn read(keys: &LocalKeys, at: &[u8], stored: &[u8]) -> (Vec<usize>, Option<(usize, Vec<u8>)>) {
        let prefix = prefix::local(keys.cipher());
        let rest = Stored::whole(stored).strip_prefix(prefix.as_bytes()).unwrap().unwrap();
        let mut failed = Vec::new();
        let mut from = 0;
        while let Some(candidate) = keys.find(rest, from).unwrap() {
            match candidate.key.open(at, &stored[candidate.range]) {
                Ok(plaintext) => {
                    return (failed, Some((candidate.number, plaintext.expose().to_vec())));
                }
                Err(_) => failed.push(candidate.number),
            }
            from = candidate.number + 1;
        }
        (failed, None)
    }

    const CIPHERS: [LocalCipher; 3] =
        [LocalCipher::AesGcm, LocalCipher::AesCbc, LocalCipher::Secretbox];

    #[test]
    fn the_first_key_writes_and_every_key_reads() {
        for cipher in CIPHERS {
            let old = keys(cipher, &[key("old", 1)]);
            let both = keys(cipher, &[key("new", 2), key("old", 1)]);
            for (writer, name, number) in [(&old, "old:", 1), (&both, "new:", 0)] {
                let stored = write(writer, b"/k", b"hello");
                let prefix = format!("{}{name}", prefix::local(cipher));
                assert!(stored.starts_with(prefix.as_bytes()));
                assert_eq!(
                    read(&both, b"/k", &stored),
                    (vec![], Some((number, b"hello".to_vec())))
                );
            }
        }
    }

    #[test]
    fn keys_of_the_same_name_are_all_tried() {
        let stored = write(&keys(LocalCipher::AesGcm, &[key("k", 1)]), b"/k", b"x");
        let several = keys(LocalCipher::AesGcm, &[key("k", 2), key("k", 1)]);
        assert_eq!(read(&several, b"/k", &stored), (vec![0], Some((1, b"x".to_vec()))));
    }

    #[test]
    fn another_location_is_refused_only_by_aesgcm() {
        for cipher in CIPHERS {
            let keys = keys(cipher, &[key("k", 1)]);
            let stored = write(&keys, b"/a", b"x");
            let (failed, opened) = read(&keys, b"/b", &stored);
            let opens = cipher != LocalCipher::AesGcm;
            assert_eq!((failed.is_empty(), opened.is_some()), (opens, opens), "{cipher:?}");
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
            let keys = keys(cipher, &[key("k", 1)]);
            assert!(keys.find(Stored::whole(b"other:x"), 0).unwrap().is_none());
            assert_eq!(
                keys.unmatched().message,
                format!("no matching key was found for the provided {name} transformer")
            );
        }
    }
}
