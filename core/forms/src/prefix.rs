//! Splits an encrypted value into provider, key name and payload, where the name may contain colons.

use crate::ENCRYPTED_PREFIX;
use crate::protobuf::{self, Field};

/// A provider of an encryption configuration that encrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Provider {
    /// `k8s:enc:aesgcm:v1:`
    AesGcm,
    /// `k8s:enc:aescbc:v1:`
    AesCbc,
    /// `k8s:enc:secretbox:v1:`
    Secretbox,
    /// `k8s:enc:kms:v1:`
    KmsV1,
    /// `k8s:enc:kms:v2:`
    KmsV2,
}

/// The name of a key or KMS provider in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyName<'n> {
    /// The provider that has it.
    pub provider: Provider,
    /// The name.
    pub name: &'n str,
}

/// The parts of an encrypted value: `k8s:enc:<provider>:<version>:<name>:<payload>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stored<'v> {
    /// The provider is known, and the name is complete.
    Value {
        /// The provider.
        provider: Provider,
        /// The name of the key or KMS provider.
        name: &'v str,
        /// What follows the name and its colon.
        payload: &'v [u8],
        /// Whether the payload has a length and structure that its provider writes.
        well_formed: bool,
        /// Whether the name is known from the configuration, or no other name is possible.
        certain: bool,
    },
    /// The provider is known, and the value is cut off within the name, or the name is not printable.
    NoName {
        /// The provider.
        provider: Provider,
        /// What follows the provider's prefix.
        rest: &'v [u8],
    },
    /// The provider is not known.
    UnknownProvider {
        /// What follows `k8s:enc:`.
        rest: &'v [u8],
        /// The provider whose prefix resembles it.
        similar: Option<Provider>,
    },
    /// The value does not begin with `k8s:enc:`.
    NotEncrypted,
}

impl Provider {
    const ALL: [Self; 5] = [Self::AesGcm, Self::AesCbc, Self::Secretbox, Self::KmsV1, Self::KmsV2];

    /// The prefix of the provider's values.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::AesGcm => "k8s:enc:aesgcm:v1:",
            Self::AesCbc => "k8s:enc:aescbc:v1:",
            Self::Secretbox => "k8s:enc:secretbox:v1:",
            Self::KmsV1 => "k8s:enc:kms:v1:",
            Self::KmsV2 => "k8s:enc:kms:v2:",
        }
    }

    /// Whether the provider writes such a payload.
    ///
    /// aesgcm: nonce (12), tag (16). aescbc: IV (16), at least one block of 16. secretbox: nonce (24), tag (16). KMS v1: the length of the encrypted
    /// DEK (2), which is not empty, then at least 28 bytes. KMS v2: `EncryptedObject` in protobuf, with data, key ID and DEK source.
    pub fn writes(self, payload: &[u8]) -> bool {
        match self {
            Self::AesGcm => payload.len() >= 28,
            Self::AesCbc => payload.len() >= 32 && payload.len().is_multiple_of(16),
            Self::Secretbox => payload.len() >= 40,
            Self::KmsV1 => payload.split_first_chunk().is_some_and(|(len, rest)| {
                let len = usize::from(u16::from_be_bytes(*len));
                len > 0 && rest.len() >= len + 28
            }),
            Self::KmsV2 => is_encrypted_object(payload),
        }
    }

    /// Whether names of the provider may contain colons. Upstream rejects them for KMS only.
    const fn allows_colons(self) -> bool {
        matches!(self, Self::AesGcm | Self::AesCbc | Self::Secretbox)
    }
}

fn is_encrypted_object(payload: &[u8]) -> bool {
    let mut seen = [false; 3];
    let valid = protobuf::fields(payload, &mut |field| {
        match field {
            Field::Bytes(number @ 1..=3, bytes) => {
                let index = usize::try_from(number).ok()?.checked_sub(1)?;
                *seen.get_mut(index)? = !bytes.is_empty();
            }
            Field::Bytes(..) | Field::Number(..) => {}
        }
        Some(())
    });
    valid.is_some() && seen == [true; 3]
}

/// A name has at most this many bytes. Upstream sets no limit; longer text before a colon is taken for ciphertext.
const NAME_MAX: usize = 1024;

/// Splits an encrypted value.
///
/// Names may contain colons: k3s and RKE2 name a rotated key `aescbckey-2026-03-09T09:46:54+01:00`. If the value begins with one of `names` and a
/// colon, that is the name; if with several, it is the first whose payload is well-formed. Otherwise the name is guessed: for aescbc the longest
/// one that leaves whole blocks; for aesgcm and secretbox the longest one whose parts after a colon look like parts of a name (two or more letters,
/// digits, `+`, `-`, `.` or `_`), which happens by accident once in some 4,000 values.
pub fn split<'v>(stored: &'v [u8], names: &[KeyName<'_>]) -> Stored<'v> {
    let Some(rest) = stored.strip_prefix(ENCRYPTED_PREFIX) else {
        return Stored::NotEncrypted;
    };
    let found = Provider::ALL
        .iter()
        .find_map(|provider| Some((*provider, stored.strip_prefix(provider.prefix().as_bytes())?)));
    let Some((provider, rest)) = found else {
        return Stored::UnknownProvider { rest, similar: similar(rest) };
    };
    let mut best: Option<Cut<'v>> = None;
    for KeyName { provider: of, name } in names {
        let known = rest.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":"));
        if let (true, Some(payload)) = (*of == provider, known)
            && let Some(cut) = Cut::new(provider, rest, name.len(), payload)
            && best.as_ref().is_none_or(|best| cut.well_formed && !best.well_formed)
        {
            best = Some(cut);
        }
    }
    let (cut, certain) = match best {
        Some(cut) => (Some(cut), true),
        None => guess(provider, rest),
    };
    match cut {
        Some(Cut { name, payload, well_formed }) => {
            Stored::Value { provider, name, payload, well_formed, certain }
        }
        None => Stored::NoName { provider, rest },
    }
}

/// A place where the name may end.
struct Cut<'v> {
    name: &'v str,
    payload: &'v [u8],
    well_formed: bool,
}

impl<'v> Cut<'v> {
    fn new(provider: Provider, rest: &'v [u8], len: usize, payload: &'v [u8]) -> Option<Self> {
        let name = core::str::from_utf8(rest.get(..len)?).ok()?;
        let is_printable = !name.is_empty() && !name.chars().any(char::is_control);
        is_printable.then(|| Self { name, payload, well_formed: provider.writes(payload) })
    }
}

/// Guesses the name, and returns whether it is the only possible one.
fn guess(provider: Provider, rest: &[u8]) -> (Option<Cut<'_>>, bool) {
    let mut best: Option<Cut<'_>> = None;
    let mut certain = true;
    let colons = rest.iter().take(NAME_MAX + 1).enumerate();
    let mut before = 0;
    for (len, _) in colons.filter(|(_, byte)| **byte == b':') {
        let part = rest.get(before..len).unwrap_or_default();
        before = len + 1;
        let payload = rest.get(len + 1..).unwrap_or_default();
        let Some(cut) = Cut::new(provider, rest, len, payload) else {
            break;
        };
        let Some(first) = &best else {
            best = Some(cut);
            if !provider.allows_colons() {
                break;
            }
            continue;
        };
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-._".contains(byte);
        let looks_like_name = part.len() >= 2 && part.iter().all(is_name);
        // Ciphertext after a plain name may look like a part of a name. Where both cuts are well-formed, the longer name is more probable.
        let is_better = match (cut.well_formed, first.well_formed) {
            // Whole blocks prove the name of an aescbc key.
            (true, false) => looks_like_name || provider == Provider::AesCbc,
            (true, true) | (false, false) => looks_like_name,
            (false, true) => false,
        };
        if is_better {
            certain = !first.well_formed;
            best = Some(cut);
        } else if provider != Provider::AesCbc {
            break;
        }
    }
    (best, certain)
}

/// The provider whose prefix is written wrongly: `aes-gcm`, `AESGCM`, without or with another version.
fn similar(rest: &[u8]) -> Option<Provider> {
    let end = rest.iter().take(64).position(|byte| *byte == b':')?;
    let word = rest.get(..end)?;
    let letters =
        || word.iter().filter(|byte| byte.is_ascii_alphabetic()).map(u8::to_ascii_lowercase);
    for (name, provider) in [
        (&b"aesgcm"[..], Provider::AesGcm),
        (b"aescbc", Provider::AesCbc),
        (b"secretbox", Provider::Secretbox),
        (b"kms", Provider::KmsV2),
    ] {
        if letters().eq(name.iter().copied()) {
            return Some(provider);
        }
        // One letter is missing, added or wrong.
        let same = letters().zip(name).take_while(|(a, b)| a == *b).count();
        let (len, wanted) = (letters().count(), name.len());
        let tail = letters().rev().zip(name.iter().rev()).take_while(|(a, b)| a == *b).count();
        if len.abs_diff(wanted) <= 1 && same + tail + 1 >= len.max(wanted) && wanted > 3 {
            return Some(provider);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::vec::Vec;

    fn value(provider: Provider, name: &str, payload: &[u8]) -> Vec<u8> {
        let head = format!("{}{name}:", provider.prefix());
        [head.as_bytes(), payload].concat()
    }

    const K3S: &str = "aescbckey-2026-03-09T09:46:54+01:00";

    #[test]
    fn names_with_colons_are_found_without_a_configuration() {
        let object: Vec<u8> = [&b"\x0a\x02ab\x12\x01k\x1a\x04:::x"[..]].concat();
        for (provider, payload, name) in [
            (Provider::AesCbc, &[0xaa; 48][..], K3S),
            (Provider::AesCbc, &[0xaa; 48], "key1"),
            (Provider::AesCbc, &[0xaa; 48], "a:b:c d"),
            (Provider::AesGcm, &[0xaa; 60], K3S),
            (Provider::AesGcm, &[0xaa; 60], "key1"),
            (Provider::AesGcm, &[b':'; 60], "key1"),
            (Provider::Secretbox, &[0xaa; 40], K3S),
            (Provider::KmsV1, &[&[0, 4][..], &[b':'; 40]].concat(), "provider"),
            (Provider::KmsV2, &object, "provider"),
        ] {
            let stored = value(provider, name, payload);
            let Stored::Value { name: found, payload: rest, well_formed, .. } = split(&stored, &[])
            else {
                panic!("{provider:?} {name}");
            };
            assert_eq!((found, rest, well_formed), (name, payload, true), "{provider:?}");
        }
    }

    #[test]
    fn blocks_decide_where_an_aescbc_name_ends() {
        // The payload begins as a part of a name would, and only whole blocks speak against it.
        let payload = [&b"ab:"[..], &[0xaa; 45]].concat();
        let stored = value(Provider::AesCbc, "key1", &payload);
        assert!(matches!(split(&stored, &[]), Stored::Value { name: "key1", certain: true, .. }));
    }

    #[test]
    fn a_configuration_decides() {
        let stored = value(Provider::AesGcm, K3S, &[0xaa; 60]);
        let names = [
            KeyName { provider: Provider::AesCbc, name: K3S },
            KeyName { provider: Provider::AesGcm, name: "aescbckey-2026-03-09T09" },
        ];
        let Stored::Value { name, certain, .. } = split(&stored, &names) else { panic!() };
        assert_eq!((name, certain), ("aescbckey-2026-03-09T09", true));
    }

    #[test]
    fn damaged_values_say_what_is_known() {
        assert_eq!(split(b"", &[]), Stored::NotEncrypted);
        assert_eq!(
            split(b"k8s:enc:kms:v2:1_sec", &[]),
            Stored::NoName { provider: Provider::KmsV2, rest: b"1_sec" }
        );
        for (text, similar) in [
            ("aes-gcm:v1:key1:", Some(Provider::AesGcm)),
            ("AESCBC:v1:key1:", Some(Provider::AesCbc)),
            ("secrtbox:v1:", Some(Provider::Secretbox)),
            ("kms:v3:", Some(Provider::KmsV2)),
            ("rot13:v1:", None),
            ("", None),
        ] {
            let stored = format!("k8s:enc:{text}");
            let Stored::UnknownProvider { similar: found, .. } = split(stored.as_bytes(), &[])
            else {
                panic!("{text}");
            };
            assert_eq!(found, similar, "{text}");
        }
        for name in ["key1", K3S] {
            let cut = value(Provider::AesCbc, name, &[0xaa; 47]);
            let Stored::Value { name: found, well_formed, .. } = split(&cut, &[]) else { panic!() };
            assert_eq!((found, well_formed), (name, false));
        }
    }
}
