//! The values of KMS v2.

use alloc::collections::BinaryHeap;
use alloc::string::ToString;
use alloc::vec;

use super::error::{InspectError, InspectFault};
use super::found::Found;
use super::inspection::{Annotation, Inspection};
use crate::crypto::keys::{DekSourceType, INFO_LEN, NONCE_LEN, TAG_LEN};
use crate::provider::kms::message::key_id_hash;
use crate::provider::kms::v2::envelope::EncryptedObject;

/// The shortest value after the name: tag and length of three fields, the sealed empty plaintext, and one byte each of key ID and encrypted DEK.
pub(super) const MIN: usize = 3 * 2 + NONCE_LEN + TAG_LEN + 1 + 1;

pub(super) fn kms_v2(found: &Found<'_>) -> Result<Inspection, InspectError> {
    let mut layout = found.layout();
    let start = layout.end();
    let object = EncryptedObject::decode(found.body).map_err(|error| {
        if let Some((b'\n', rest)) = found.body.split_last()
            && EncryptedObject::decode(rest).is_ok()
        {
            return found.error(InspectFault::LineEnd, None);
        }
        if found.body.is_empty() {
            return found.too_short(MIN);
        }
        let shortest = MIN.saturating_sub(found.body.len()) as u64;
        let missing = error.missing().map(|missing| missing.max(shortest));
        found.error(InspectFault::Envelope(error.after(start)), missing)
    })?;
    let least = object.source_type.header_len() + TAG_LEN;
    let len = object.encrypted_data.len();
    let plaintext_size = len
        .checked_sub(least)
        .ok_or_else(|| found.error(InspectFault::ShortData { len, least }, None))?;
    // The decoder borrows from the body, so the offset of a part is a difference of addresses.
    let offset = |part: &[u8]| start + (part.as_ptr() as usize - found.body.as_ptr() as usize);
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
        layout.push("protobuf", offset.saturating_sub(layout.end()));
        layout.push(name, length);
    }
    layout.push("protobuf", found.size.saturating_sub(layout.end()));
    Ok(Inspection {
        key_id_hash: Some(key_id_hash(object.key_id)),
        encrypted_dek_source_type: Some(object.source_type.name()),
        encrypted_dek_source_size: Some(object.encrypted_dek_source.len()),
        annotations: object
            .annotations
            .iter()
            .map(|(name, value)| Annotation { name: (*name).to_string(), size: value.len() })
            .collect(),
        ..found.inspection(layout, plaintext_size)
    })
}
