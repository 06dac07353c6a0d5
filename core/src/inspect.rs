//! Describes a stored value without any key.

use alloc::collections::BinaryHeap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;

use crate::config::KmsVersion;
use crate::crypto::keys::{DekSourceType, INFO_LEN, LocalCipher, NONCE_LEN, TAG_LEN};
use crate::json::Writer;
use crate::provider::kms::message::key_id_hash;
use crate::provider::kms::v2::envelope::EncryptedObject;
use crate::provider::prefix;

/// The description of a stored value. Contains no secret and no key ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// `identity`, `aesgcm`, `aescbc`, `secretbox` or `kms`.
    pub provider: &'static str,
    /// `v1` or `v2`; KMS only.
    pub api_version: Option<&'static str>,
    /// The name of the KMS provider; KMS only.
    pub provider_name: Option<String>,
    /// The name of the local provider's key. If the name contains a `:`, only the part before the first one.
    pub key_name: Option<String>,
    /// `sha256:<hex>` of the key ID; KMS v2 only.
    pub key_id_hash: Option<String>,
    /// `AES_GCM_KEY` or `HKDF_SHA256_XNONCE_AES_GCM_SEED`; KMS v2 only.
    pub encrypted_dek_source_type: Option<&'static str>,
    /// The length of the encrypted DEK, in bytes; KMS only.
    pub encrypted_dek_source_size: Option<usize>,
    /// The annotations' names and the sizes of their values; empty if there are none. KMS v2 only.
    pub annotations: Vec<Annotation>,
    /// The kind of plaintext: `kubernetes protobuf`, `json`, `text` or `binary`; identity only.
    pub content: Option<&'static str>,
    /// The length of the stored value, in bytes.
    pub size: usize,
    /// The length of the plaintext, in bytes. For aescbc, whose padding hides it, the greatest possible length.
    pub plaintext_size: usize,
    /// The parts of the stored value, in order and without gaps. The parts of a KMS v2 envelope that hold no data are named `protobuf`.
    pub layout: Vec<Segment>,
}

/// An annotation of a KMS v2 value, without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// The annotation's name, a fully qualified domain name.
    pub name: String,
    /// The length of the annotation's value, in bytes.
    pub size: usize,
}

/// A part of a stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `prefix`, `nonce`, `iv`, `info`, `ciphertext`, `tag`, `encryptedDEKSource`, `keyID`, `annotation`, `protobuf`, `plaintext`, …
    pub name: &'static str,
    /// The offset of its first byte from the start of the stored value, in bytes.
    pub offset: usize,
    /// Its length, in bytes.
    pub length: usize,
}

/// Why stored bytes are not a valid value of the provider that their prefix names.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InspectError {
    /// There are no bytes.
    Empty,
    /// The value begins with `k8s:enc:`, but no known provider's prefix matches.
    UnknownProvider,
    /// The name after the prefix is not terminated by `:`, or is not UTF-8.
    Name {
        /// The provider's prefix, without the name.
        prefix: &'static str,
    },
    /// The value is too short for its provider's format.
    TooShort {
        /// The provider.
        provider: &'static str,
        /// The length of what follows the prefix and the name, in bytes. For KMS v2, the length of the envelope's `encryptedData`.
        len: usize,
        /// The minimum length, in bytes.
        least: usize,
    },
    /// The ciphertext of an aescbc value is empty or not a multiple of 16 bytes.
    NotBlocks {
        /// The length of what follows the IV, in bytes.
        len: usize,
    },
    /// The envelope of a KMS v2 value is malformed.
    Envelope(crate::provider::kms::v2::envelope::EnvelopeError),
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("there is no value: the input is empty"),
            Self::UnknownProvider => {
                f.write_str("the value begins with k8s:enc:, but not with a prefix of aesgcm, aescbc, secretbox, kms v1 or kms v2")
            }
            Self::Name { prefix } => write!(f, "the prefix {prefix} is not followed by a name that ends with ':'"),
            Self::TooShort { provider, len, least } => {
                write!(f, "the value is cut short: {len} bytes follow the prefix of {provider}, expected at least {least}")
            }
            Self::NotBlocks { len } => write!(f, "the value is damaged: {len} bytes follow the IV of aescbc, expected a multiple of 16 and at least 16"),
            Self::Envelope(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for InspectError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Envelope(error) => Some(error),
            Self::Empty
            | Self::UnknownProvider
            | Self::Name { .. }
            | Self::TooShort { .. }
            | Self::NotBlocks { .. } => None,
        }
    }
}

/// Describes a stored value. The bytes are attacker-controlled; this function does not panic.
///
/// ```
/// let value = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 12 + 3 + 16]].concat();
/// let seen = dekker_core::inspect::inspect(&value).unwrap();
/// assert_eq!((seen.provider, seen.key_name.as_deref(), seen.plaintext_size), ("aesgcm", Some("key1"), 3));
/// ```
///
/// # Errors
/// Returns an error if the bytes are not a value of the provider that their prefix names.
pub fn inspect(stored: &[u8]) -> Result<Inspection, InspectError> {
    if stored.is_empty() {
        return Err(InspectError::Empty);
    }
    for (prefix, read) in PROVIDERS {
        if let Some(rest) = stored.strip_prefix(prefix.as_bytes()) {
            let colon =
                rest.iter().position(|byte| *byte == b':').ok_or(InspectError::Name { prefix })?;
            let (name, body) = rest.split_at(colon);
            let name = core::str::from_utf8(name).map_err(|_| InspectError::Name { prefix })?;
            let mut seen = Seen {
                layout: Layout::default(),
                body: body.get(1..).unwrap_or_default(),
                name: name.to_string(),
                size: stored.len(),
            };
            seen.layout.push("prefix", stored.len() - seen.body.len());
            return read(seen);
        }
    }
    if stored.starts_with(prefix::ENCRYPTED.as_bytes()) {
        return Err(InspectError::UnknownProvider);
    }
    let mut layout = Layout::default();
    layout.push("plaintext", stored.len());
    Ok(Inspection {
        content: Some(content(stored)),
        plaintext_size: stored.len(),
        ..blank("identity", layout, stored.len())
    })
}

type Read = fn(Seen<'_>) -> Result<Inspection, InspectError>;

const PROVIDERS: [(&str, Read); 5] = [
    (prefix::local(LocalCipher::AesGcm), aesgcm),
    (prefix::local(LocalCipher::AesCbc), aescbc),
    (prefix::local(LocalCipher::Secretbox), secretbox),
    (prefix::kms(KmsVersion::V1), kms_v1),
    (prefix::kms(KmsVersion::V2), kms_v2),
];

/// A value whose prefix and name have been read.
struct Seen<'a> {
    layout: Layout,
    body: &'a [u8],
    name: String,
    size: usize,
}

impl Seen<'_> {
    /// Returns the length of the body without `overhead` bytes.
    fn rest(&self, provider: &'static str, overhead: usize) -> Result<usize, InspectError> {
        let len = self.body.len();
        len.checked_sub(overhead).ok_or(InspectError::TooShort { provider, len, least: overhead })
    }
}

#[derive(Default)]
struct Layout {
    segments: Vec<Segment>,
    end: usize,
}

impl Layout {
    fn push(&mut self, name: &'static str, length: usize) {
        if length > 0 {
            self.segments.push(Segment { name, offset: self.end, length });
            self.end += length;
        }
    }
}

fn blank(provider: &'static str, layout: Layout, size: usize) -> Inspection {
    Inspection {
        provider,
        api_version: None,
        provider_name: None,
        key_name: None,
        key_id_hash: None,
        encrypted_dek_source_type: None,
        encrypted_dek_source_size: None,
        annotations: vec![],
        content: None,
        size,
        plaintext_size: 0,
        layout: layout.segments,
    }
}

fn aesgcm(mut seen: Seen<'_>) -> Result<Inspection, InspectError> {
    let plaintext_size = seen.rest("aesgcm", NONCE_LEN + TAG_LEN)?;
    seen.layout.push("nonce", NONCE_LEN);
    seen.layout.push("ciphertext", plaintext_size);
    seen.layout.push("tag", TAG_LEN);
    Ok(Inspection {
        key_name: Some(seen.name),
        plaintext_size,
        ..blank("aesgcm", seen.layout, seen.size)
    })
}

fn aescbc(mut seen: Seen<'_>) -> Result<Inspection, InspectError> {
    let len = seen.rest("aescbc", 16)?;
    if len == 0 || len % 16 != 0 {
        return Err(InspectError::NotBlocks { len });
    }
    seen.layout.push("iv", 16);
    seen.layout.push("ciphertext", len);
    // PKCS#7 adds at least one byte of padding.
    Ok(Inspection {
        key_name: Some(seen.name),
        plaintext_size: len - 1,
        ..blank("aescbc", seen.layout, seen.size)
    })
}

fn secretbox(mut seen: Seen<'_>) -> Result<Inspection, InspectError> {
    let plaintext_size = seen.rest("secretbox", 24 + TAG_LEN)?;
    seen.layout.push("nonce", 24);
    seen.layout.push("tag", TAG_LEN);
    seen.layout.push("ciphertext", plaintext_size);
    Ok(Inspection {
        key_name: Some(seen.name),
        plaintext_size,
        ..blank("secretbox", seen.layout, seen.size)
    })
}

fn kms_v1(mut seen: Seen<'_>) -> Result<Inspection, InspectError> {
    let body = seen.body;
    let (len, rest) = body.split_first_chunk::<2>().ok_or(InspectError::TooShort {
        provider: "kms v1",
        len: body.len(),
        least: 2,
    })?;
    let source_size = usize::from(u16::from_be_bytes(*len));
    let least = source_size + NONCE_LEN + TAG_LEN;
    let plaintext_size = rest.len().checked_sub(least).ok_or(InspectError::TooShort {
        provider: "kms v1",
        len: body.len(),
        least: 2 + least,
    })?;
    seen.layout.push("length", 2);
    seen.layout.push("encryptedDEK", source_size);
    seen.layout.push("nonce", NONCE_LEN);
    seen.layout.push("ciphertext", plaintext_size);
    seen.layout.push("tag", TAG_LEN);
    Ok(Inspection {
        api_version: Some("v1"),
        provider_name: Some(seen.name),
        encrypted_dek_source_size: Some(source_size),
        plaintext_size,
        ..blank("kms", seen.layout, seen.size)
    })
}

fn kms_v2(mut seen: Seen<'_>) -> Result<Inspection, InspectError> {
    let object = EncryptedObject::decode(seen.body).map_err(InspectError::Envelope)?;
    let overhead = object.source_type.header_len() + TAG_LEN;
    let len = object.encrypted_data.len();
    let plaintext_size = len.checked_sub(overhead).ok_or(InspectError::TooShort {
        provider: "kms v2",
        len,
        least: overhead,
    })?;
    // The decoder borrows from the body, so the offset of a part is a difference of addresses.
    let start = seen.layout.end;
    let offset = |part: &[u8]| start + (part.as_ptr() as usize - seen.body.as_ptr() as usize);
    let mut parts = vec![
        (offset(object.key_id.as_bytes()), "keyID", object.key_id.len()),
        (
            offset(object.encrypted_dek_source),
            "encryptedDEKSource",
            object.encrypted_dek_source.len(),
        ),
    ];
    parts.extend(
        object
            .annotations
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(_, value)| (offset(value), "annotation", value.len())),
    );
    let data = offset(object.encrypted_data);
    let info = match object.source_type {
        DekSourceType::AesGcmKey => 0,
        DekSourceType::HkdfSha256XnonceAesGcmSeed => INFO_LEN,
    };
    parts.push((data, "info", info));
    parts.push((data + info, "nonce", NONCE_LEN));
    parts.push((data + info + NONCE_LEN, "ciphertext", plaintext_size));
    parts.push((data + len - TAG_LEN, "tag", TAG_LEN));
    // The standard library's sort takes ten times the code of its heap.
    for (offset, name, length) in BinaryHeap::from(parts).into_sorted_vec() {
        seen.layout.push("protobuf", offset.saturating_sub(seen.layout.end));
        seen.layout.push(name, length);
    }
    seen.layout.push("protobuf", seen.size.saturating_sub(seen.layout.end));
    Ok(Inspection {
        api_version: Some("v2"),
        key_id_hash: Some(key_id_hash(object.key_id)),
        encrypted_dek_source_type: Some(object.source_type.name()),
        encrypted_dek_source_size: Some(object.encrypted_dek_source.len()),
        annotations: object
            .annotations
            .iter()
            .map(|(name, value)| Annotation { name: (*name).to_string(), size: value.len() })
            .collect(),
        plaintext_size,
        provider_name: Some(seen.name),
        ..blank("kms", seen.layout, seen.size)
    })
}

/// Returns what a plaintext appears to be, from its first bytes.
fn content(bytes: &[u8]) -> &'static str {
    // The Kubernetes protobuf envelope. Upstream: apimachinery's runtime/serializer/protobuf.
    if bytes.starts_with(b"k8s\0") {
        "kubernetes protobuf"
    } else if bytes.trim_ascii_start().starts_with(b"{") {
        "json"
    } else if core::str::from_utf8(bytes).is_ok() {
        "text"
    } else {
        "binary"
    }
}

/// Returns [`inspect`]'s result as a JSON object.
///
/// # Errors
/// Returns the text of the [`InspectError`] if [`inspect`] fails.
pub fn inspect_json(stored: &[u8]) -> Result<String, String> {
    let seen = inspect(stored).map_err(|error| error.to_string())?;
    let mut json = Writer::default();
    json.open('{');
    seen.write(&mut json);
    json.close('}');
    Ok(json.finish())
}

impl Inspection {
    /// Writes the fields as members. Fields that do not apply to the provider are omitted.
    fn write(&self, json: &mut Writer) {
        let Self {
            provider,
            api_version,
            provider_name,
            key_name,
            key_id_hash,
            encrypted_dek_source_type,
            encrypted_dek_source_size,
            annotations,
            content,
            size,
            plaintext_size,
            layout,
        } = self;
        json.text("provider", provider);
        json.text_if("apiVersion", *api_version);
        json.text_if("providerName", provider_name.as_deref());
        json.text_if("keyName", key_name.as_deref());
        json.text_if("keyIdHash", key_id_hash.as_deref());
        json.text_if("encryptedDEKSourceType", *encrypted_dek_source_type);
        if let Some(size) = encrypted_dek_source_size {
            json.number("encryptedDEKSourceSize", *size as u64);
        }
        if !annotations.is_empty() {
            json.open_member("annotations", '[');
            for Annotation { name, size } in annotations {
                json.open('{');
                json.text("name", name);
                json.number("size", *size as u64);
                json.close('}');
            }
            json.close(']');
        }
        json.text_if("content", *content);
        json.number("size", *size as u64);
        json.number("plaintextSize", *plaintext_size as u64);
        json.open_member("layout", '[');
        for Segment { name, offset, length } in layout {
            json.open('{');
            json.text("name", name);
            json.number("offset", *offset as u64);
            json.number("length", *length as u64);
            json.close('}');
        }
        json.close(']');
    }
}

#[cfg(test)]
mod tests;
