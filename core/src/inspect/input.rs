//! A stored value as people have it: raw bytes, hex, base64, or what `etcdctl get -w json` prints.

use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::inspect;
use crate::json::{self, Writer};
use crate::provider::ENCRYPTED_PREFIX;

/// 64 MiB: the longest input.
pub const INPUT_MAX: usize = 64 * 1024 * 1024;
/// What every Kubernetes object in protobuf begins with.
const KUBERNETES_PROTOBUF: &[u8] = b"k8s\0";

/// A value found in an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The storage key, where the input says it.
    pub key: Option<Vec<u8>>,
    /// The stored bytes.
    pub stored: Vec<u8>,
    /// How the input held them.
    pub encoding: Encoding,
}

/// How an input held a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// The bytes themselves.
    Raw,
    /// Hexadecimal digits.
    Hex,
    /// Standard base64.
    Base64,
    /// A key-value pair of `etcdctl get -w json`.
    Etcdctl,
}

/// Why an input holds no value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError {
    /// Nothing, or nothing but white space.
    Empty,
    /// Over [`INPUT_MAX`].
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// etcd has no value under the key that was asked for.
    NoValues,
    /// A pair of `etcdctl` that is not base64.
    Etcdctl {
        /// Which pair, from 0.
        index: usize,
    },
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no value: the input is empty"),
            Self::TooLong { len } => write!(
                f,
                "the input is {len} bytes long, at most {INPUT_MAX} are read"
            ),
            Self::NoValues => {
                f.write_str("etcd holds nothing under this key: the output of etcdctl has no kvs")
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

/// Every value in an input.
///
/// Raw bytes are those that begin as a stored value does (`k8s:enc:`, or a Kubernetes object's `k8s\0`). Other text is taken for what it can
/// be in this order: etcdctl's JSON, hex, base64, each only if what it holds begins as a stored value does; else it is itself the value.
///
/// # Errors
/// When there is nothing, or too much of it.
pub fn find(input: &[u8]) -> Result<Vec<Found>, InputError> {
    if input.len() > INPUT_MAX {
        return Err(InputError::TooLong { len: input.len() });
    }
    let text = input.trim_ascii();
    if text.is_empty() {
        return Err(InputError::Empty);
    }
    let raw = || {
        vec![Found {
            key: None,
            stored: input.to_vec(),
            encoding: Encoding::Raw,
        }]
    };
    if is_stored(input) {
        return Ok(raw());
    }
    if let Some(kvs) = etcdctl(text) {
        return pairs(kvs);
    }
    for (encoding, stored) in [
        (Encoding::Hex, hex(text)),
        (Encoding::Base64, STANDARD.decode(joined(text)).ok()),
    ] {
        if let Some(stored) = stored.filter(|stored| is_stored(stored)) {
            return Ok(vec![Found {
                key: None,
                stored,
                encoding,
            }]);
        }
    }
    Ok(raw())
}

fn is_stored(bytes: &[u8]) -> bool {
    bytes.starts_with(ENCRYPTED_PREFIX) || bytes.starts_with(KUBERNETES_PROTOBUF)
}

/// The `kvs` of etcdctl's output, each with its `key` and its `value`, which is left out where it is empty. `None`: something else.
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

/// What an object holds under these names. `None` if it is no object, or one of them is there twice.
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
        (Ok(key), Ok(stored)) => Ok(Found {
            key: Some(key),
            stored,
            encoding: Encoding::Etcdctl,
        }),
        _ => Err(InputError::Etcdctl { index }),
    };
    kvs.into_iter().enumerate().map(decode).collect()
}

/// Without the white space that tools put between groups and at the ends of lines.
fn joined(text: &[u8]) -> Vec<u8> {
    text.iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect()
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

/// What each value of an input is: a JSON array of inspections, each with its `encoding` and, where the input says it, its `key`. A value
/// that is not what its prefix says has an `error` instead.
///
/// # Errors
/// The fault, for a person, when the input holds no value at all.
pub fn inspect_input_json(input: &[u8]) -> Result<String, String> {
    let found = find(input).map_err(|error| error.to_string())?;
    let mut json = Writer::default();
    json.open('[');
    for Found {
        key,
        stored,
        encoding,
    } in found
    {
        json.open('{');
        if let Some(key) = key {
            json.text("key", &String::from_utf8_lossy(&key));
        }
        json.text("encoding", encoding.name());
        match inspect(&stored) {
            Ok(value) => value.write(&mut json),
            Err(error) => json.text("error", &error.to_string()),
        }
        json.close('}');
    }
    json.close(']');
    Ok(json.finish())
}
