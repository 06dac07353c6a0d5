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
//! The decoder borrows everything from the stored bytes and allocates only the list of annotations, within [`ANNOTATIONS_MAX`]. It accepts what Go's
//! protobuf accepts: unknown fields and fields of another wire type are skipped, and the last value of a repeated scalar counts. Source: protobuf
//! encoding specification; upstream kmsv2/v2/api.proto.

mod error;

use alloc::borrow::Cow;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::ops::Range;

pub use self::error::EnvelopeError;
use crate::crypto::keys::DekSourceType;
use crate::map::Names;
use crate::provider::frame::{Frame, Start};
use crate::provider::kms::annotations::{ANNOTATIONS_MAX, AnnotationsError, validate_annotations};
use crate::provider::kms::dek_cache::DekName;
use crate::provider::kms::message::{
    EncryptedDekSource, validate_encrypted_dek_source, validate_key_id,
};
use crate::provider::stored::{Missing, Stored};

/// A decoded and validated `EncryptedObject`, borrowed from the stored bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedObject<'a> {
    /// The sealed value, which is not empty.
    pub encrypted_data: &'a [u8],
    /// The key ID in clear text: pass it to the plugin, but never show it to a person.
    pub key_id: &'a str,
    /// The encrypted DEK or seed.
    pub encrypted_dek_source: &'a [u8],
    /// The annotations, sorted by key. Each key occurs once.
    pub annotations: Vec<(&'a str, &'a [u8])>,
    /// The type of the DEK source.
    pub source_type: DekSourceType,
}

impl<'a> EncryptedObject<'a> {
    /// Decodes and validates an `EncryptedObject`. The bytes are attacker-controlled; this function does not panic.
    ///
    /// # Errors
    /// Returns an error if the bytes are not valid protobuf or a field violates its limits.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        let Fields { encrypted_data, key_id, encrypted_dek_source, annotations, source_type } =
            Fields::decode_whole(bytes)?;
        Ok(Self {
            encrypted_data: bytes.get(encrypted_data).unwrap_or_default(),
            key_id,
            encrypted_dek_source,
            annotations,
            source_type,
        })
    }
}

/// The position of the sealed value in a message, and the bytes after it.
type Split<'a> = (Range<usize>, &'a [u8]);

/// Splits a message that begins with its sealed value, as kube-apiserver and Dekker write it. Returns `None` for every other message, and for one
/// whose sealed value is empty or cut short.
///
/// # Errors
/// Returns an error if the window of the value is too small.
pub(crate) fn split<'a>(stored: Stored<'a>) -> Result<Option<Split<'a>>, Missing> {
    let (head, is_whole) = stored.visible();
    let hidden = stored.len() - head.len();
    let mut reader = Reader { rest: head, whole: stored.len(), hidden };
    let Some(len) = reader.sealed_len() else {
        return if is_whole { Ok(None) } else { Err(stored.all_missing()) };
    };
    let start = reader.offset();
    let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
    match end.filter(|end| start < *end && *end <= stored.len()) {
        Some(end) => Ok(Some((start..end, stored.from(end)?))),
        None => Ok(None),
    }
}

/// The fields of an `EncryptedObject`, with the position of the sealed value instead of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fields<'a> {
    /// The position of the sealed value in the message. It is not empty.
    pub encrypted_data: Range<usize>,
    /// See [`EncryptedObject::key_id`].
    pub key_id: &'a str,
    /// See [`EncryptedObject::encrypted_dek_source`].
    pub encrypted_dek_source: &'a [u8],
    /// See [`EncryptedObject::annotations`].
    pub annotations: Vec<(&'a str, &'a [u8])>,
    /// See [`EncryptedObject::source_type`].
    pub source_type: DekSourceType,
}

impl<'a> Fields<'a> {
    /// Decodes and validates an `EncryptedObject`, of which not all bytes need be here. The bytes are attacker-controlled; this function does not
    /// panic.
    ///
    /// # Errors
    /// Returns [`Missing`] if the window is too small: for a message that begins with its sealed value, as kube-apiserver and Dekker write it, if the
    /// window lacks anything else, and for every other message if it lacks anything.
    pub fn decode(stored: Stored<'a>) -> Result<Result<Self, EnvelopeError>, Missing> {
        let (head, is_whole) = stored.visible();
        if is_whole {
            return Ok(Self::decode_whole(head));
        }
        match split(stored)? {
            Some((sealed, end)) => {
                let reader = Reader { rest: end, whole: stored.len(), hidden: 0 };
                Ok(Self::decode_fields(reader, sealed))
            }
            None => Err(stored.all_missing()),
        }
    }

    fn decode_whole(bytes: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::decode_fields(Reader { rest: bytes, whole: bytes.len(), hidden: 0 }, 0..0)
    }

    /// Decodes the fields that are left. `encrypted_data` is the position of the sealed value if it was already found.
    fn decode_fields(
        mut reader: Reader<'a>,
        encrypted_data: Range<usize>,
    ) -> Result<Self, EnvelopeError> {
        let mut object = Self {
            encrypted_data,
            key_id: "",
            encrypted_dek_source: &[],
            annotations: Vec::new(),
            source_type: DekSourceType::AesGcmKey,
        };
        let mut source_type = 0;
        let mut annotations_len = 0usize;
        let mut annotations = Vec::new();
        // The index of each annotation key in `annotations`.
        let mut found = Names::new();
        while let Some(field) = reader.field()? {
            match (field.number, field.value) {
                (1, Value::Bytes(data)) => {
                    let end = reader.offset();
                    object.encrypted_data = end - data.len()..end;
                }
                (2, Value::Bytes(text)) => object.key_id = utf8(text, 2)?,
                (3, Value::Bytes(source)) => object.encrypted_dek_source = source,
                (4, Value::Bytes(entry)) => {
                    let start = reader.offset() - entry.len();
                    let (key, value) = annotation(entry).map_err(|error| error.after(start))?;
                    // The total length of all annotations seen so far, including those whose value is replaced below. Used only in the error.
                    annotations_len =
                        annotations_len.saturating_add(key.len()).saturating_add(value.len());
                    // If a key occurs more than once, its last value counts.
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
                    // Stop early: so many distinct keys exceed the limit, which is in bytes.
                    if annotations.len() > ANNOTATIONS_MAX {
                        return Err(AnnotationsError::TooLong { len: annotations_len }.into());
                    }
                }
                // An enum is an int32. Like Go, truncate a longer varint.
                (5, Value::Varint(number)) => source_type = number as u32 as i32,
                _ => {}
            }
        }
        let sorted = found.into_values();
        object.annotations = sorted.filter_map(|at| annotations.get(at).copied()).collect();
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

impl Fields<'_> {
    /// Returns the name of the value's DEK.
    pub fn dek_name(&self) -> DekName<'_> {
        DekName {
            source_type: self.source_type,
            source: self.encrypted_dek_source,
            key_id: self.key_id,
            annotations: &self.annotations,
        }
    }
}

/// Returns the frame of all values that are sealed with this source. Fields 2 to 5, with the annotations sorted by key, follow the sealed value.
pub fn frame(prefix: &str, source: &EncryptedDekSource, source_type: DekSourceType) -> Frame {
    let mut end = Vec::new();
    let out = &mut end;
    put_bytes(out, 2, source.key_id().as_str().as_bytes());
    put_bytes(out, 3, source.ciphertext());
    for (key, value) in source.annotations().iter() {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value);
        put_bytes(out, 4, &entry);
    }
    if source_type.number() != 0 {
        out.push(5 << 3);
        put_varint(out, u64::from(source_type.number()));
    }
    Frame { prefix: prefix.into(), start: Start::Field(SEALED_TAG), end }
}

/// The tag of field 1, the sealed value.
const SEALED_TAG: u8 = 1 << 3 | LENGTH_DELIMITED as u8;
const LENGTH_DELIMITED: u64 = 2;
/// The maximum nesting of groups. Go's protowire allows 10 000 levels, which is too deep for recursion in a WebAssembly guest.
const GROUP_DEPTH_MAX: usize = 32;

struct Field<'a> {
    number: u32,
    value: Value<'a>,
}

enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// A field of a type that `EncryptedObject` does not use.
    Skipped,
}

/// Reads fields from the front of a message.
struct Reader<'a> {
    rest: &'a [u8],
    /// The length of the message.
    whole: usize,
    /// The number of bytes that follow `rest` but are not here.
    hidden: usize,
}

impl<'a> Reader<'a> {
    fn offset(&self) -> usize {
        self.whole - self.hidden - self.rest.len()
    }

    /// Returns the length of the sealed value if the message begins with it. Only its tag and length need be here.
    fn sealed_len(&mut self) -> Option<u64> {
        let (tag, rest) = self.rest.split_first()?;
        if *tag != SEALED_TAG {
            return None;
        }
        self.rest = rest;
        self.varint().ok()
    }

    /// Returns the next field, or `None` at the end of the message.
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
                let len = self.varint()?;
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

    fn take(&mut self, len: u64) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or_else(|| EnvelopeError::Truncated {
                offset: self.offset(),
                missing: len.saturating_sub(self.rest.len() as u64),
            })?;
        self.rest = rest;
        Ok(taken)
    }

    fn varint(&mut self) -> Result<u64, EnvelopeError> {
        let offset = self.offset();
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte may contain only the 64th bit.
            if at == 9 && *byte > 1 {
                return Err(EnvelopeError::VarintOverflow { offset });
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(EnvelopeError::Truncated { offset, missing: 1 })
    }
}

fn annotation(entry: &[u8]) -> Result<(&str, &[u8]), EnvelopeError> {
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    let mut reader = Reader { rest: entry, whole: entry.len(), hidden: 0 };
    while let Some(field) = reader.field().map_err(within_annotation)? {
        match (field.number, field.value) {
            (1, Value::Bytes(bytes)) => key = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((utf8(key, 4)?, value))
}

/// An annotation has its stated length, so that nothing is missing behind it.
fn within_annotation(error: EnvelopeError) -> EnvelopeError {
    match error {
        EnvelopeError::Truncated { offset, missing: _ } => EnvelopeError::Annotation { offset },
        error => error,
    }
}

fn utf8(bytes: &[u8], field: u32) -> Result<&str, EnvelopeError> {
    core::str::from_utf8(bytes).map_err(|_| EnvelopeError::NotUtf8 { field })
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | LENGTH_DELIMITED as u8);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
