//! The keyring's file: `{"version":1,"current":"<id>","keys":[{"id":"<id>","created":<seconds>,"key":"<base64>"},…]}`.
//!
//! Reading is strict: every field must be present exactly once, and no other field is accepted. serde_json's own messages may quote the input, which
//! may contain a key, so only the line and the column are reported.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::{Deserializer, Visitor};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::kek::Secret;
use super::{Damage, Kek, KekId, Keys};

/// The version of the layout that this module reads and writes.
const VERSION: u32 = 1;

/// 44 bytes: a secret in base64, `4 · ⌈32 / 3⌉`.
const ENCODED_SECRET: usize = 44;

/// 128 bytes: more than any entry has. `{"id":"","created":,"key":""},` is 30, an ID 32, a time at most 20, a secret 44.
const ENTRY: usize = 128;

/// 128 bytes: more than the text around the entries has, `{"version":1,"current":"","keys":[]}` with an ID and a newline.
const FRAME: usize = 128;

#[derive(Deserialize)]
struct AnyVersion {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<'a> {
    version: u32,
    #[serde(borrow)]
    current: Cow<'a, str>,
    #[serde(borrow)]
    keys: Vec<Entry<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    created: u64,
    key: EncodedSecret<'a>,
}

/// A secret. It is read into its own box and written from where it is stored, so a key is never in a plain string.
enum EncodedSecret<'a> {
    Owned(Box<Secret>),
    Borrowed(&'a Secret),
}

/// Encodes the keyring. The buffer has room for the whole file from the start, so that growth leaves no copy of a key behind, and is wiped when
/// dropped.
pub(super) fn encode(keys: &Keys) -> Zeroizing<Vec<u8>> {
    let file = File {
        version: VERSION,
        current: keys.current().id().as_str().into(),
        keys: keys
            .all
            .iter()
            .map(|kek| Entry {
                id: kek.id().as_str().into(),
                created: kek.created(),
                key: EncodedSecret::Borrowed(kek.secret()),
            })
            .collect(),
    };
    let mut out = Zeroizing::new(Vec::with_capacity(capacity(keys.all.len())));
    serde_json::to_writer(&mut *out, &file)
        .expect("writing to a vector cannot fail, and a 32-byte secret always encodes");
    out.push(b'\n');
    out
}

/// Returns an upper bound of the length of a file with this many keys.
pub(super) fn capacity(keys: usize) -> usize {
    FRAME + ENTRY * keys
}

/// Decodes a keyring. For any input it returns a consistent set of keys, or what is wrong with the input.
pub(super) fn decode(bytes: &[u8]) -> Result<Keys, Damage> {
    // Check the version alone first: the new fields of a later layout must not be reported as damage.
    let AnyVersion { version } = serde_json::from_slice(bytes).map_err(syntax)?;
    if version != VERSION {
        return Err(Damage::Version { version });
    }
    let file: File<'_> = serde_json::from_slice(bytes).map_err(syntax)?;
    let keys = file
        .keys
        .into_iter()
        .map(|entry| {
            let id = KekId::parse(&entry.id).ok_or(Damage::KeyId)?;
            match entry.key {
                EncodedSecret::Owned(secret) => Ok(Kek::from_parts(id, entry.created, secret)),
                EncodedSecret::Borrowed(_) => unreachable!("decoded secrets are always owned"),
            }
        })
        .collect::<Result<Vec<_>, Damage>>()?;
    let current = KekId::parse(&file.current).ok_or(Damage::KeyId)?;
    Keys::try_from_parts(keys, &current)
}

fn syntax(error: serde_json::Error) -> Damage {
    Damage::Syntax { line: error.line(), column: error.column() }
}

impl Serialize for EncodedSecret<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let secret = match self {
            Self::Owned(secret) => secret,
            Self::Borrowed(secret) => *secret,
        };
        let mut text = Zeroizing::new([0; ENCODED_SECRET]);
        BASE64_STANDARD.encode_slice(secret.0, &mut *text).map_err(S::Error::custom)?;
        serializer.serialize_str(str::from_utf8(&*text).map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for EncodedSecret<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Base64;

        impl Visitor<'_> for Base64 {
            type Value = Box<Secret>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes in base64")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Box<Secret>, E> {
                // base64 requires room for what 44 characters could hold, one byte more than 32.
                let mut bytes = Zeroizing::new([0; Secret::LEN + 1]);
                // base64's own error names the offending byte, so it is not passed on.
                let len = BASE64_STANDARD
                    .decode_slice(text, &mut *bytes)
                    .map_err(|_| E::custom("not base64"))?;
                let mut secret = Box::new(Secret([0; Secret::LEN]));
                match bytes.first_chunk::<{ Secret::LEN }>() {
                    Some(key) if len == Secret::LEN => secret.0.copy_from_slice(key),
                    _ => return Err(E::custom("not 32 bytes")),
                }
                Ok(secret)
            }
        }

        deserializer.deserialize_str(Base64).map(Self::Owned)
    }
}
