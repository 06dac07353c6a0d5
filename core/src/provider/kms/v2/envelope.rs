//! `EncryptedObject`: the stored form of a KMS v2 value, after its prefix.
//!
//! ```text
//! message EncryptedObject {                      // proto3
//!   bytes encryptedData = 1;                     // nonce[12] ciphertext tag[16], or info[32] nonce[12] ciphertext tag[16]
//!   string keyID = 2;
//!   bytes encryptedDEKSource = 3;
//!   map<string, bytes> annotations = 4;
//!   EncryptedDEKSourceType encryptedDEKSourceType = 5;
//! }
//! ```
//!
//! The reader borrows everything from the stored bytes and allocates for annotation keys only, within [`ANNOTATIONS_MAX`]. It accepts what
//! Go's protobuf accepts: unknown fields and fields of another wire type are skipped, the last of a repeated scalar counts.
//! Source: protobuf encoding specification; upstream kmsv2/v2/api.proto.

use alloc::borrow::Cow;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::fmt;

use super::dek_cache::DekName;
use crate::crypto::keys::{DekSourceType, Envelope};
use crate::map::Names;
use crate::provider::kms::message::{
    ANNOTATIONS_MAX, EncryptedDekSource, MessageError, validate_annotations,
    validate_encrypted_dek_source, validate_key_id,
};

/// A decoded and validated `EncryptedObject`, borrowed from the stored bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedObject<'a> {
    /// The sealed value; not empty.
    pub encrypted_data: &'a [u8],
    /// In the clear: for the plugin, never for a person.
    pub key_id: &'a str,
    /// The encrypted DEK or seed.
    pub encrypted_dek_source: &'a [u8],
    /// Sorted by key; each key is there once.
    pub annotations: Vec<(&'a str, &'a [u8])>,
    /// What the DEK source is.
    pub source_type: DekSourceType,
}

impl<'a> EncryptedObject<'a> {
    /// Decodes and validates. The bytes are attacker-controlled; this does not panic.
    ///
    /// # Errors
    /// When the bytes are not protobuf, or a field breaks its limits.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let mut object = Self {
            encrypted_data: &[],
            key_id: "",
            encrypted_dek_source: &[],
            annotations: Vec::new(),
            source_type: DekSourceType::AesGcmKey,
        };
        let mut source_type = 0;
        let mut annotations_len = 0usize;
        let mut annotations = Vec::new();
        // Where they are in it.
        let mut found = Names::new();
        let mut reader = Reader {
            rest: bytes,
            whole: bytes.len(),
        };
        while let Some(field) = reader.field()? {
            match (field.number, field.value) {
                (1, Value::Bytes(data)) => object.encrypted_data = data,
                (2, Value::Bytes(text)) => object.key_id = utf8(text, 2)?,
                (3, Value::Bytes(source)) => object.encrypted_dek_source = source,
                (4, Value::Bytes(entry)) => {
                    let (key, value) = annotation(entry)?;
                    // The limit holds for what is kept; counting everything seen also bounds the work.
                    annotations_len = annotations_len
                        .saturating_add(key.len())
                        .saturating_add(value.len());
                    // The last of a key counts.
                    match found.entry(Cow::Borrowed(key)) {
                        Entry::Occupied(entry) => {
                            if let Some(kept) = annotations.get_mut(*entry.get()) {
                                *kept = (key, value);
                            }
                        }
                        Entry::Vacant(entry) => {
                            entry.insert(annotations.len());
                            annotations.push((key, value));
                        }
                    }
                    if annotations.len() > ANNOTATIONS_MAX {
                        return Err(MessageError::AnnotationsTooLong {
                            len: annotations_len,
                        }
                        .into());
                    }
                }
                // An enum is an int32: Go cuts a longer varint down to it.
                (5, Value::Varint(number)) => source_type = number as u32 as i32,
                _ => {}
            }
        }
        let sorted = found.into_values();
        object.annotations = sorted
            .filter_map(|at| annotations.get(at).copied())
            .collect();
        object.source_type = match source_type {
            0 => DekSourceType::AesGcmKey,
            1 => DekSourceType::HkdfSha256XnonceAesGcmSeed,
            number => return Err(EnvelopeError::UnknownDekSourceType { number }),
        };
        if object.encrypted_data.is_empty() {
            return Err(EnvelopeError::EncryptedDataEmpty);
        }
        validate_encrypted_dek_source(object.encrypted_dek_source)?;
        validate_key_id(object.key_id)?;
        validate_annotations(object.annotations.iter().copied())?;
        Ok(object)
    }
}

impl EncryptedObject<'_> {
    /// What names its DEK.
    pub fn dek_name(&self) -> DekName<'_> {
        DekName {
            source_type: self.source_type,
            source: self.encrypted_dek_source,
            key_id: self.key_id,
            annotations: &self.annotations,
        }
    }
}

/// Everything but the sealed value, encoded once for all writes of a DEK.
#[derive(Clone, Debug)]
pub struct EnvelopeTail(Vec<u8>);

impl EnvelopeTail {
    /// Fields 2 to 5 of the values that this source will seal; annotations sorted by key.
    pub fn new(source: &EncryptedDekSource, source_type: DekSourceType) -> Self {
        let mut out = Vec::new();
        put_bytes(&mut out, 2, source.key_id().as_str().as_bytes());
        put_bytes(&mut out, 3, source.ciphertext());
        for (key, value) in source.annotations().iter() {
            let mut entry = Vec::new();
            put_bytes(&mut entry, 1, key.as_bytes());
            put_bytes(&mut entry, 2, value);
            put_bytes(&mut out, 4, &entry);
        }
        if source_type.number() != 0 {
            out.push(5 << 3);
            put_varint(&mut out, u64::from(source_type.number()));
        }
        Self(out)
    }

    /// Calls `seal` with all that is around the ciphertext of a value: the prefix, the start of field 1, the header, and the other fields.
    /// `sealed_len` counts header, ciphertext and tag.
    pub fn around<T>(
        &self,
        prefix: &[u8],
        header: &[u8],
        sealed_len: usize,
        seal: impl FnOnce(Envelope<'_>) -> T,
    ) -> T {
        let (field, len) = field_start(sealed_len as u64);
        seal(Envelope {
            prefix,
            start: field.get(..len).unwrap_or_default(),
            header,
            end: &self.0,
        })
    }
}

/// Why stored bytes are not a KMS v2 value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes end within a field.
    Truncated {
        /// Where the field begins, in bytes from the start of the message.
        offset: usize,
    },
    /// A varint of more than 64 bits.
    VarintOverflow {
        /// Where it begins.
        offset: usize,
    },
    /// A field number of 0 or over 2²⁹ − 1.
    FieldNumber {
        /// Where it stands.
        offset: usize,
    },
    /// Wire type 6 or 7, or a group that is not well-formed or nests too deep.
    WireType {
        /// Where it stands.
        offset: usize,
    },
    /// A string that is not UTF-8.
    NotUtf8 {
        /// The field's number.
        field: u32,
    },
    /// A DEK source type that does not exist.
    UnknownDekSourceType {
        /// As it is stored.
        number: i32,
    },
    /// No sealed value.
    EncryptedDataEmpty,
    /// A field breaks its limits.
    Message(MessageError),
}

impl From<MessageError> for EnvelopeError {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset } => write!(
                f,
                "not an EncryptedObject: a field is cut short at byte {offset}"
            ),
            Self::VarintOverflow { offset } => write!(
                f,
                "not an EncryptedObject: a varint overflows at byte {offset}"
            ),
            Self::FieldNumber { offset } => write!(
                f,
                "not an EncryptedObject: invalid field number at byte {offset}"
            ),
            Self::WireType { offset } => write!(
                f,
                "not an EncryptedObject: invalid wire type at byte {offset}"
            ),
            Self::NotUtf8 { field } => {
                write!(f, "not an EncryptedObject: field {field} is not UTF-8")
            }
            Self::UnknownDekSourceType { number } => {
                write!(f, "unknown encryptedDEKSourceType: {number}")
            }
            Self::EncryptedDataEmpty => f.write_str("encrypted data is empty"),
            Self::Message(
                error @ (MessageError::KeyIdEmpty | MessageError::KeyIdTooLong { .. }),
            ) => {
                write!(f, "failed to validate key id: {error}")
            }
            Self::Message(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EnvelopeError {}

const LENGTH_DELIMITED: u64 = 2;
/// Groups within groups; Go's protowire stops at 10 000, which recursion in a guest could not follow.
const GROUP_DEPTH_MAX: usize = 32;

struct Field<'a> {
    number: u32,
    value: Value<'a>,
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of no use to us.
    Skipped,
}

/// Reads fields from the front of a message.
struct Reader<'a> {
    rest: &'a [u8],
    whole: usize,
}

impl<'a> Reader<'a> {
    fn offset(&self) -> usize {
        self.whole - self.rest.len()
    }

    /// `None` at the end of the message.
    fn field(&mut self) -> Result<Option<Field<'a>>, EnvelopeError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = self.value(number, wire_type, 0)?;
        Ok(Some(Field { number, value }))
    }

    fn tag(&mut self) -> Result<(u32, u64), EnvelopeError> {
        let offset = self.offset();
        let tag = self.varint()?;
        match u32::try_from(tag >> 3) {
            Ok(number @ 1..=0x1fff_ffff) => Ok((number, tag & 7)),
            _ => Err(EnvelopeError::FieldNumber { offset }),
        }
    }

    fn value(
        &mut self,
        number: u32,
        wire_type: u64,
        depth: usize,
    ) -> Result<Value<'a>, EnvelopeError> {
        let offset = self.offset();
        match wire_type {
            0 => self.varint().map(Value::Varint),
            1 => self.take(8).map(|_| Value::Skipped),
            LENGTH_DELIMITED => {
                let len = usize::try_from(self.varint()?)
                    .map_err(|_| EnvelopeError::Truncated { offset })?;
                self.take(len).map(Value::Bytes)
            }
            3 if depth < GROUP_DEPTH_MAX => loop {
                let (inner, wire_type) = self.tag()?;
                if wire_type == 4 {
                    return if inner == number {
                        Ok(Value::Skipped)
                    } else {
                        Err(EnvelopeError::WireType { offset })
                    };
                }
                self.value(inner, wire_type, depth + 1)?;
            },
            5 => self.take(4).map(|_| Value::Skipped),
            _ => Err(EnvelopeError::WireType { offset }),
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(len)
            .ok_or(EnvelopeError::Truncated {
                offset: self.offset(),
            })?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, EnvelopeError> {
        let offset = self.offset();
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the 64th bit and nothing else.
            if at == 9 && *byte > 1 {
                return Err(EnvelopeError::VarintOverflow { offset });
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(EnvelopeError::Truncated { offset })
    }
}

fn annotation(entry: &[u8]) -> Result<(&str, &[u8]), EnvelopeError> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader {
        rest: entry,
        whole: entry.len(),
    };
    while let Some(field) = reader.field()? {
        match (field.number, field.value) {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((utf8(key, 4)?, value))
}

fn utf8(bytes: &[u8], field: u32) -> Result<&str, EnvelopeError> {
    core::str::from_utf8(bytes).map_err(|_| EnvelopeError::NotUtf8 { field })
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | LENGTH_DELIMITED as u8);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The tag of field 1 and the varint of its length, and how many bytes they are.
fn field_start(mut len: u64) -> ([u8; 11], usize) {
    let mut start = [0; 11];
    let mut at = 0;
    for byte in &mut start {
        at += 1;
        if at == 1 {
            *byte = 1 << 3 | LENGTH_DELIMITED as u8;
        } else if len < 0x80 {
            *byte = len as u8;
            break;
        } else {
            *byte = len as u8 | 0x80;
            len >>= 7;
        }
    }
    (start, at)
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
