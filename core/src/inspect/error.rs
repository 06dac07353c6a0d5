//! Why stored bytes are not a valid value, and what is known of them.

use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;

use super::partial::Partial;
use crate::config::quoted;
use crate::json::Writer;
use crate::provider::kms::message::MessageError;
use crate::provider::kms::v2::envelope::EnvelopeError;

/// The error of an inspection: what is wrong with the value, and what is known of it all the same.
///
/// ```
/// let head = b"k8s:enc:aescbc:v1:key1:0123456789abcdef";
/// let error = dekker_core::inspect::inspect(head).unwrap_err();
/// let origin = error.known.origin.as_ref().unwrap();
/// assert_eq!((origin.provider, origin.key_name.as_deref()), ("aescbc", Some("key1")));
/// assert_eq!(error.known.missing_at_least, Some(16));
/// assert_eq!(
///     error.to_string(),
///     "the value is cut short: 16 bytes follow k8s:enc:aescbc:v1:key1:, expected at least 32; at least 16 bytes are missing"
/// );
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectError {
    /// What is wrong.
    pub fault: InspectFault,
    /// What is known of the value.
    pub known: Box<Partial>,
}

/// Why stored bytes are not a valid value of the provider that their prefix names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InspectFault {
    /// There are no bytes.
    Empty,
    /// The value ends within `k8s:enc:` or within the prefix of a provider.
    CutInPrefix {
        /// What is there.
        begin: String,
    },
    /// The value begins with `k8s:enc:`, but no known provider's prefix matches.
    UnknownProvider {
        /// The provider whose prefix is similar, as `aesgcm` or `kms v2`.
        similar: Option<&'static str>,
    },
    /// The value ends within the name after the prefix.
    CutInName {
        /// The provider's prefix, without the name.
        prefix: &'static str,
        /// What is there of the name.
        begin: String,
    },
    /// The name after the prefix is not terminated by `:`, is empty, or is not printable text.
    Name {
        /// The provider's prefix, without the name.
        prefix: &'static str,
    },
    /// The value is too short for its provider's format.
    TooShort {
        /// The provider's prefix and the name, with its colon.
        prefix: String,
        /// The length of what follows the prefix, in bytes.
        len: usize,
        /// The minimum length, in bytes.
        least: usize,
    },
    /// The ciphertext of an aescbc value is not a multiple of 16 bytes.
    NotBlocks {
        /// The provider's prefix and the name, with its colon.
        prefix: String,
        /// The length of what follows the IV, in bytes.
        len: usize,
    },
    /// The value is complete without its last byte, which is a line end.
    LineEnd,
    /// The `encryptedData` of a KMS v2 value is too short for its `encryptedDEKSourceType`.
    ShortData {
        /// Its length, in bytes.
        len: usize,
        /// The minimum length, in bytes.
        least: usize,
    },
    /// The envelope of a KMS v2 value is malformed. Positions count from the start of the stored value.
    Envelope(EnvelopeError),
}

impl InspectError {
    pub(super) fn new(fault: InspectFault, known: Partial) -> Self {
        Self { fault, known: Box::new(known) }
    }

    /// Writes the message as the member `error`, then what is known.
    pub(super) fn write(&self, json: &mut Writer) {
        json.text("error", &alloc::format!("{self}"));
        self.known.write(json);
    }
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)?;
        let is_certain = !matches!(self.fault, InspectFault::NotBlocks { .. });
        let condition = if is_certain { "" } else { "if it is cut short, " };
        match self.known.missing_at_least {
            None => Ok(()),
            Some(1) => write!(f, "; {condition}at least 1 byte is missing"),
            Some(missing) => write!(f, "; {condition}at least {missing} bytes are missing"),
        }
    }
}

impl core::error::Error for InspectError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.fault.source()
    }
}

impl fmt::Display for InspectFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no value: the input is empty"),
            Self::CutInPrefix { begin } => {
                write!(f, "the value is cut short within its prefix, after {begin}")
            }
            Self::UnknownProvider { similar } => {
                f.write_str("the value begins with k8s:enc:, but not with a prefix of aesgcm, aescbc, secretbox, kms v1 or kms v2")?;
                match similar {
                    Some(provider) => write!(f, " (did you mean {provider}?)"),
                    None => Ok(()),
                }
            }
            Self::CutInName { prefix, begin } => {
                write!(f, "the value is cut short: the prefix {prefix} is not followed by a name that ends with ':'")?;
                if begin.is_empty() {
                    return Ok(());
                }
                write!(f, ", only by {}", quoted(begin))
            }
            Self::Name { prefix } => {
                write!(f, "the prefix {prefix} is not followed by a name that ends with ':'")
            }
            Self::TooShort { prefix, len, least } => {
                let (bytes, follow) = if *len == 1 { ("byte", "follows") } else { ("bytes", "follow") };
                write!(f, "the value is cut short: {len} {bytes} {follow} {prefix}, expected at least {least}")
            }
            Self::NotBlocks { prefix, len } => {
                write!(f, "the value is cut short or damaged: {len} bytes follow {prefix} and the IV, expected a multiple of 16")
            }
            Self::LineEnd => f.write_str(
                "the value ends with a line end that is not a part of it: etcdctl adds one to what --print-value-only prints",
            ),
            Self::ShortData { len, least } => {
                write!(f, "the value is damaged: its encryptedData has {len} bytes, expected at least {least}")
            }
            Self::Envelope(error) => {
                error.fmt(f)?;
                // These fields follow the data.
                if let EnvelopeError::Message(
                    MessageError::KeyIdEmpty | MessageError::EncryptedDekSourceEmpty,
                ) = error
                {
                    f.write_str(" (the value may be cut short)")?;
                }
                Ok(())
            }
        }
    }
}

impl core::error::Error for InspectFault {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Envelope(error) => Some(error),
            Self::Empty
            | Self::CutInPrefix { .. }
            | Self::UnknownProvider { .. }
            | Self::CutInName { .. }
            | Self::Name { .. }
            | Self::TooShort { .. }
            | Self::NotBlocks { .. }
            | Self::LineEnd
            | Self::ShortData { .. } => None,
        }
    }
}
