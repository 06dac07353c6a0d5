//! Why stored bytes are not a KMS v2 value.

use core::fmt;

use crate::provider::kms::annotations::AnnotationsError;
use crate::provider::kms::message::MessageError;

/// The reason why stored bytes are not a KMS v2 value.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The bytes end within a field.
    Truncated {
        /// Where the incomplete part begins, in bytes from the start of the message, or from the point that [`after`](Self::after) chose.
        offset: usize,
        /// The number of bytes that are missing at least. A damaged length may make it any number.
        missing: u64,
    },
    /// An annotation ends within one of its fields.
    Annotation {
        /// Where the incomplete part begins, counted as for `Truncated`.
        offset: usize,
    },
    /// A varint has more than 64 bits.
    VarintOverflow {
        /// Where the varint begins, counted as for `Truncated`.
        offset: usize,
    },
    /// A field number is 0 or greater than 2²⁹ − 1.
    FieldNumber {
        /// Where the field's tag begins, counted as for `Truncated`.
        offset: usize,
    },
    /// The wire type is 6 or 7, or a group is malformed or nested too deeply.
    WireType {
        /// Where the field's tag ends, counted as for `Truncated`.
        offset: usize,
    },
    /// A string is not UTF-8.
    NotUtf8 {
        /// The number of the field.
        field: u32,
    },
    /// The DEK source type is unknown.
    UnknownDekSourceType {
        /// The stored number.
        number: i32,
    },
    /// The sealed value is empty.
    EncryptedDataEmpty,
    /// A field violates its limits.
    Message(MessageError),
}

impl EnvelopeError {
    /// The greatest number of missing bytes that is believed, 64 MiB. A greater one comes from a damaged length.
    const MISSING_MAX: u64 = 64 << 20;

    /// Returns the error with its position counted from a point that is `start` bytes before the message: from the start of the stored value, if
    /// `start` is the length of the prefix.
    #[must_use]
    pub fn after(self, start: usize) -> Self {
        match self {
            Self::Truncated { offset, missing } => {
                Self::Truncated { offset: offset + start, missing }
            }
            Self::Annotation { offset } => Self::Annotation { offset: offset + start },
            Self::VarintOverflow { offset } => Self::VarintOverflow { offset: offset + start },
            Self::FieldNumber { offset } => Self::FieldNumber { offset: offset + start },
            Self::WireType { offset } => Self::WireType { offset: offset + start },
            Self::NotUtf8 { .. }
            | Self::UnknownDekSourceType { .. }
            | Self::EncryptedDataEmpty
            | Self::Message(_) => self,
        }
    }

    /// Returns how many bytes are missing at least, if the bytes end too early.
    pub fn missing(&self) -> Option<u64> {
        match self {
            Self::Truncated { missing, .. } => {
                Some(*missing).filter(|missing| *missing <= Self::MISSING_MAX)
            }
            Self::Annotation { .. }
            | Self::VarintOverflow { .. }
            | Self::FieldNumber { .. }
            | Self::WireType { .. }
            | Self::NotUtf8 { .. }
            | Self::UnknownDekSourceType { .. }
            | Self::EncryptedDataEmpty
            | Self::Message(_) => None,
        }
    }
}

impl From<AnnotationsError> for EnvelopeError {
    fn from(error: AnnotationsError) -> Self {
        Self::Message(error.into())
    }
}

impl From<MessageError> for EnvelopeError {
    fn from(error: MessageError) -> Self {
        Self::Message(error)
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated { offset, .. } => {
                write!(f, "not an EncryptedObject: a field is cut short at byte {offset}")
            }
            Self::Annotation { offset } => {
                write!(f, "not an EncryptedObject: an annotation is cut short at byte {offset}")
            }
            Self::VarintOverflow { offset } => {
                write!(f, "not an EncryptedObject: a varint overflows at byte {offset}")
            }
            Self::FieldNumber { offset } => {
                write!(f, "not an EncryptedObject: invalid field number at byte {offset}")
            }
            Self::WireType { offset } => {
                write!(f, "not an EncryptedObject: invalid wire type at byte {offset}")
            }
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

impl core::error::Error for EnvelopeError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Message(error) => Some(error),
            Self::Truncated { .. }
            | Self::Annotation { .. }
            | Self::VarintOverflow { .. }
            | Self::FieldNumber { .. }
            | Self::WireType { .. }
            | Self::NotUtf8 { .. }
            | Self::UnknownDekSourceType { .. }
            | Self::EncryptedDataEmpty => None,
        }
    }
}
