//! A stored value as people have it: raw bytes, hex, base64, or what `etcdctl get -w json` prints.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::{Inspection, inspect};
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
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

#[derive(Deserialize)]
struct EtcdctlOutput {
    header: Option<IgnoredAny>,
    kvs: Option<Vec<EtcdctlPair>>,
}

#[derive(Deserialize)]
struct EtcdctlPair {
    key: String,
    #[serde(default)]
    value: String,
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
    if let Ok(EtcdctlOutput {
        header: Some(_),
        kvs,
    }) = serde_json::from_slice::<EtcdctlOutput>(text)
    {
        return pairs(kvs.unwrap_or_default());
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

fn pairs(kvs: Vec<EtcdctlPair>) -> Result<Vec<Found>, InputError> {
    if kvs.is_empty() {
        return Err(InputError::NoValues);
    }
    let decode = |(index, pair): (usize, EtcdctlPair)| match (
        STANDARD.decode(&pair.key),
        STANDARD.decode(&pair.value),
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

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    encoding: Encoding,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    value: Option<Inspection>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// What each value of an input is: a JSON array of inspections, each with its `encoding` and, where the input says it, its `key`. A value
/// that is not what its prefix says has an `error` instead.
///
/// # Errors
/// The fault, for a person, when the input holds no value at all.
pub fn inspect_input_json(input: &[u8]) -> Result<String, String> {
    let found = find(input).map_err(|error| error.to_string())?;
    let show = |Found {
                    key,
                    stored,
                    encoding,
                }: Found| {
        let key = key.map(|key| String::from_utf8_lossy(&key).into_owned());
        match inspect(&stored) {
            Ok(value) => Shown {
                key,
                encoding,
                value: Some(value),
                error: None,
            },
            Err(error) => Shown {
                key,
                encoding,
                value: None,
                error: Some(error.to_string()),
            },
        }
    };
    let shown: Vec<_> = found.into_iter().map(show).collect();
    serde_json::to_string(&shown)
        .map_err(|error| format!("the result could not be written: {error}"))
}
