//! The description of a stored value.

use alloc::string::String;
use alloc::vec::Vec;

use super::layout::{Layout, Segment};
use super::origin::Origin;
use crate::json::Writer;

/// The description of a stored value. Contains no secret and no key ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// The provider and the name of its key.
    pub origin: Origin,
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

impl Inspection {
    /// Creates the description of a value of this origin, in which the fields of single providers are empty.
    pub(super) fn blank(origin: Origin, layout: Layout, size: usize) -> Self {
        Self {
            origin,
            key_id_hash: None,
            encrypted_dek_source_type: None,
            encrypted_dek_source_size: None,
            annotations: Vec::new(),
            content: None,
            size,
            plaintext_size: 0,
            layout: layout.into_segments(),
        }
    }

    /// Writes the fields as members. Fields that do not apply to the provider are omitted.
    pub(super) fn write(&self, json: &mut Writer) {
        let Self {
            origin,
            key_id_hash,
            encrypted_dek_source_type,
            encrypted_dek_source_size,
            annotations,
            content,
            size,
            plaintext_size,
            layout,
        } = self;
        origin.write(json);
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
