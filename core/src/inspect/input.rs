//! A stored value in one of the forms people have it in: raw bytes, hex, base64, or the output of `etcdctl get -w json`.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::inspect;
use crate::json::{self, Writer};
use crate::provider::prefix;

/// The greatest length of an input, 64 MiB.
pub const INPUT_MAX: usize = 64 * 1024 * 1024;
/// The first bytes of every Kubernetes object in protobuf.
const KUBERNETES_PROTOBUF: &[u8] = b"k8s\0";

/// A value found in an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The storage key, if the input contains it.
    pub key: Option<Vec<u8>>,
    /// The stored bytes.
    pub stored: Vec<u8>,
    /// How the input encoded them.
    pub encoding: Encoding,
}

/// How an input encodes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The bytes themselves, not encoded.
    Raw,
    /// Hexadecimal digits.
    Hex,
    /// Standard base64.
    Base64,
    /// A key-value pair of `etcdctl get -w json`.
    Etcdctl,
}

/// Why no value could be read from an input.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// The input is empty or contains only white space.
    Empty,
    /// The input is longer than [`INPUT_MAX`].
    TooLong {
        /// The input's length, in bytes.
        len: usize,
    },
    /// The output of etcdctl contains no value: etcd has none under the requested key.
    NoValues,
    /// The key or value of a pair in etcdctl's output is not base64.
    Etcdctl {
        /// The index of the pair, from 0.
        index: usize,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no value: the input is empty"),
            Self::TooLong { len } => {
                write!(f, "the input has {len} bytes, more than the {INPUT_MAX} allowed")
            }
            Self::NoValues => {
                f.write_str("etcd has no value for this key: the output of etcdctl has no kvs")
            }
            Self::Etcdctl { index } => {
                write!(f, "kvs[{index}] of the output of etcdctl is not base64")
            }
        }
    }
}

impl core::error::Error for InputError {}

impl Encoding {
    const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Hex => "hex",
            Self::Base64 => "base64",
            Self::Etcdctl => "etcdctl",
        }
    }
}

/// Returns every value in an input.
///
/// An input that begins as a stored value does (`k8s:enc:`, or a Kubernetes object's `k8s\0`) is raw. Any other input is tried in this order: as
/// etcdctl's JSON, as hex, as base64. Hex and base64 count only if the decoded bytes begin as a stored value does. If nothing matches, the input
/// itself is the value.
///
/// # Errors
/// Returns an error if the input is empty or too long, or if it is etcdctl's output and contains no value or one that is not base64.
pub fn find(input: &[u8]) -> Result<Vec<Found>, InputError> {
    if input.len() > INPUT_MAX {
        return Err(InputError::TooLong { len: input.len() });
    }
    let text = input.trim_ascii();
    if text.is_empty() {
        return Err(InputError::Empty);
    }
    let raw = || vec![Found { key: None, stored: input.to_vec(), encoding: Encoding::Raw }];
    if is_stored(input) {
        return Ok(raw());
    }
    if let Some(kvs) = etcdctl(text) {
        return pairs(kvs);
    }
    for (encoding, stored) in
        [(Encoding::Hex, hex(text)), (Encoding::Base64, STANDARD.decode(joined(text)).ok())]
    {
        if let Some(stored) = stored.filter(|stored| is_stored(stored)) {
            return Ok(vec![Found { key: None, stored, encoding }]);
        }
    }
    Ok(raw())
}

fn is_stored(bytes: &[u8]) -> bool {
    bytes.starts_with(prefix::ENCRYPTED.as_bytes()) || bytes.starts_with(KUBERNETES_PROTOBUF)
}

/// Returns the `key` and `value` of each element of `kvs` in etcdctl's output, which omits an empty `value`. Returns `None` if `text` is not the
/// output of etcdctl.
fn etcdctl(text: &[u8]) -> Option<Vec<(String, String)>> {
    json::check(text).ok()?;
    let is_given = |value: &&[u8]| *value != b"null";
    let [header, kvs] = fields(text, ["header", "kvs"])?;
    header.filter(is_given)?;
    let pairs = json::elements(kvs.filter(is_given).unwrap_or(b"[]"))?;
    let pair = |pair| {
        let [key, value] = fields(pair, ["key", "value"])?;
        Some((json::text(key?)?, json::text(value.unwrap_or(b"\"\""))?))
    };
    pairs.into_iter().map(pair).collect()
}

/// Returns the members of an object with these names. Returns `None` if `json` is not an object, or if one of the names occurs twice.
fn fields<'j, const N: usize>(json: &'j [u8], names: [&str; N]) -> Option<[Option<&'j [u8]>; N]> {
    let mut found = [None; N];
    for (name, value) in json::members(json)? {
        if let Some(at) = names.iter().position(|wanted| *wanted == name)
            && found.get_mut(at)?.replace(value).is_some()
        {
            return None;
        }
    }
    Some(found)
}

fn pairs(kvs: Vec<(String, String)>) -> Result<Vec<Found>, InputError> {
    if kvs.is_empty() {
        return Err(InputError::NoValues);
    }
    let decode = |(index, (key, value)): (usize, (String, String))| match (
        STANDARD.decode(&key),
        STANDARD.decode(&value),
    ) {
        (Ok(key), Ok(stored)) => Ok(Found { key: Some(key), stored, encoding: Encoding::Etcdctl }),
        _ => Err(InputError::Etcdctl { index }),
    };
    kvs.into_iter().enumerate().map(decode).collect()
}

/// Removes white space, which tools put between groups of digits and at line ends.
fn joined(text: &[u8]) -> Vec<u8> {
    text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect()
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits = joined(text.strip_prefix(b"0x").unwrap_or(text));
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    digits
        .chunks_exact(2)
        .map(|pair| Some((digit(pair[0])? << 4 | digit(pair[1])?) as u8))
        .collect()
}

/// Returns a JSON array with an inspection of each value in an input. Each has its `encoding`, and its `key` if the input contains it. A value that
/// is not a valid value of the provider that its prefix names has an `error` instead of the inspection.
///
/// # Errors
/// Returns the text of the [`InputError`] if [`find`] fails.
pub fn inspect_input_json(input: &[u8]) -> Result<String, String> {
    let found = find(input).map_err(|error| error.to_string())?;
    let mut json = Writer::default();
    json.open('[');
    for Found { key, stored, encoding } in found {
        json.open('{');
        if let Some(key) = key {
            json.text("key", &String::from_utf8_lossy(&key));
        }
        json.text("encoding", encoding.name());
        match inspect(&stored) {
            Ok(value) => value.write(&mut json),
            Err(error) => error.write(&mut json),
        }
        json.close('}');
    }
    json.close(']');
    Ok(json.finish())
}
