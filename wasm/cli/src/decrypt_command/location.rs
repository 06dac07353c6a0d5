//! Where a value is stored: its key and its resource, from the input or from the arguments.

use std::borrow::Cow;

use anyhow::anyhow;
use dekker_forms::{Entry, Provider, Stored, resource, split};

use crate::Location;
use crate::found::printable_key;

/// What the arguments say about the location.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) resource: Option<&'a str>,
    /// Whether a rule of a configuration has to be found, which depends on the resource.
    pub(super) needs_resource: bool,
}

/// Where a value is stored, as far as it is known.
pub(super) struct PartialLocation<'a> {
    pub(super) key: Option<&'a [u8]>,
    pub(super) resource: Option<Cow<'a, str>>,
}

/// What is known about where a value is stored.
pub(super) struct Known<'a> {
    pub(super) location: PartialLocation<'a>,
    /// Sentences about where key and resource come from.
    pub(super) notes: Vec<String>,
}

impl<'a> Given<'a> {
    /// Whether the arguments say anything about the location. If not, it does not depend on whether the value is alone in the input.
    pub(super) fn has_any(self) -> bool {
        self.key.is_some() || self.resource.is_some()
    }

    /// Finds the location of a value. If `is_alone`, the input contains nothing else, and the arguments override it. Otherwise they state what the
    /// input does not.
    pub(super) fn locate(self, entry: &'a Entry, is_alone: bool) -> Known<'a> {
        let mut notes = Vec::new();
        let found = entry.key.as_deref();
        let key = if is_alone { self.key.or(found) } else { found.or(self.key) };
        if let (Some(key), Some(found)) = (key, found)
            && key != found
        {
            notes.push(format!("--key replaces the key in the input, {}", printable_key(found)));
        }
        let named = key.and_then(resource);
        let resource = match (self.resource, named) {
            (Some(given), None) => Some(Cow::Borrowed(given)),
            (Some(given), Some(named)) if is_alone || !named.certain => Some(Cow::Borrowed(given)),
            (_, Some(named)) => {
                if !named.certain && self.needs_resource {
                    notes.push(format!(
                        "the resource {named} is a guess, because the key has an unusual prefix; --resource overrides it"
                    ));
                }
                Some(Cow::Owned(named.to_string()))
            }
            (None, None) => None,
        };
        Known { location: PartialLocation { key, resource }, notes }
    }

    /// Returns the location that the engine needs.
    ///
    /// # Errors
    /// Returns an error that names the missing option if a part of the location is not known.
    pub(super) fn complete<'k>(
        self,
        known: &'k PartialLocation<'_>,
        stored: &[u8],
    ) -> anyhow::Result<Location<'k>> {
        let key = match known.key {
            Some(key) => key,
            None if !is_bound_to_key(stored) => b"",
            None => {
                return Err(anyhow!(
                    "the input does not contain the storage key, to which the value is bound: pass --key, for example --key /registry/secrets/default/token, or use the output of etcdctl get <key> -w json"
                ));
            }
        };
        let resource = match (&known.resource, known.key) {
            (Some(resource), _) => &**resource,
            (None, _) if !self.needs_resource => "",
            (None, Some(key)) => {
                return Err(anyhow!(
                    "the key {} does not say which resource this is: pass --resource, for example --resource secrets",
                    printable_key(key)
                ));
            }
            (None, None) => {
                return Err(anyhow!(
                    "the input does not contain the storage key, which names the resource: pass --key or --resource, for example --resource secrets"
                ));
            }
        };
        Ok(Location { resource, key })
    }
}

/// Whether the value decrypts only with its key. Those of aescbc and secretbox, and plaintext, do not depend on it.
fn is_bound_to_key(stored: &[u8]) -> bool {
    match split(stored, &[]) {
        Stored::Value { provider, .. } | Stored::NoName { provider, .. } => {
            !matches!(provider, Provider::AesCbc | Provider::Secretbox)
        }
        Stored::NotEncrypted => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dekker_forms::{Limits, read_all};

    /// An entry with this key, or without a key.
    fn entry(key: Option<&str>, stored: &[u8]) -> Entry {
        let input = match key {
            Some(key) => [key.as_bytes(), b"\n", stored, b"\n"].concat(),
            None => stored.to_owned(),
        };
        let items = read_all(&input, Limits::default());
        let [Ok(entry)] = items.as_slice() else { panic!("{items:?}") };
        entry.clone()
    }

    const STORED: &[u8] = b"k8s:enc:aesgcm:v1:key1:\xff\xc0\x01 of a nonce, a ciphertext and a tag";

    #[test]
    fn arguments_override_the_only_value_and_complete_several() {
        let secret = "/registry/secrets/a/b";
        let custom = "/registry/example.com/widgets/a/b";
        // The key in the input, whether it is alone, --key, --resource; the key, the resource, the number of notes.
        type Row<'r> = (
            Option<&'r str>,
            bool,
            Option<&'r str>,
            Option<&'r str>,
            Option<&'r str>,
            Option<&'r str>,
            usize,
        );
        let table: [Row<'_>; 10] = [
            (Some(secret), true, None, None, Some(secret), Some("secrets"), 0),
            (Some(custom), true, None, None, Some(custom), Some("widgets.example.com"), 0),
            (Some(secret), true, Some("/x"), Some("pods"), Some("/x"), Some("pods"), 1),
            (Some(secret), true, None, Some("pods"), Some(secret), Some("pods"), 0),
            (Some(secret), false, Some("/x"), Some("pods"), Some(secret), Some("secrets"), 0),
            (None, false, Some(secret), None, Some(secret), Some("secrets"), 0),
            (None, true, None, None, None, None, 0),
            (Some("/registry/x/y"), false, None, Some("x"), Some("/registry/x/y"), Some("x"), 0),
            (
                Some("/my/secrets/a/b"),
                false,
                None,
                None,
                Some("/my/secrets/a/b"),
                Some("secrets"),
                1,
            ),
            (
                Some("/my/secrets/a/b"),
                false,
                None,
                Some("x"),
                Some("/my/secrets/a/b"),
                Some("x"),
                0,
            ),
        ];
        for (at, (found, is_alone, key, resource, expected, of, notes)) in
            table.into_iter().enumerate()
        {
            let entry = entry(found, STORED);
            let given = Given { key: key.map(str::as_bytes), resource, needs_resource: true };
            let Known { location, notes: found } = given.locate(&entry, is_alone);
            assert_eq!(location.key, expected.map(str::as_bytes), "row {at}");
            assert_eq!(location.resource.as_deref(), of, "row {at}");
            assert_eq!(found.len(), notes, "row {at}: {found:?}");
        }
    }

    #[test]
    fn errors_name_the_missing_option() {
        let given = |needs_resource| Given { key: None, resource: None, needs_resource };
        let complete = |needs_resource, key, stored: &[u8]| {
            let entry = entry(key, stored);
            let given = given(needs_resource);
            let known = given.locate(&entry, true).location;
            given.complete(&known, &entry.bytes).map(|_| ()).map_err(|error| error.to_string())
        };
        assert!(complete(true, None, STORED).unwrap_err().contains("pass --key,"));
        let error = complete(true, Some("/registry/unknown/b"), STORED).unwrap_err();
        assert!(error.contains("/registry/unknown/b") && error.contains("--resource"), "{error}");
        let cbc = b"k8s:enc:aescbc:v1:key1:\xff\xc034567890123456789012345678901";
        assert!(complete(true, None, &cbc[..]).unwrap_err().contains("--resource"));
        assert_eq!(complete(false, None, cbc), Ok(()));
        assert!(complete(false, None, STORED).is_err());
    }
}
