//! The values of KMS v1.

use super::error::InspectError;
use super::found::Found;
use super::inspection::Inspection;
use crate::crypto::keys::{NONCE_LEN, TAG_LEN};

/// The length of the field with the length of the encrypted DEK, 2 bytes.
const LENGTH_LEN: usize = 2;
/// The shortest value after the name: an encrypted DEK of one byte, and an empty plaintext.
pub(super) const MIN: usize = LENGTH_LEN + 1 + NONCE_LEN + TAG_LEN;

pub(super) fn kms_v1(found: &Found<'_>) -> Result<Inspection, InspectError> {
    let (len, _) =
        found.body.split_first_chunk::<LENGTH_LEN>().ok_or_else(|| found.too_short(MIN))?;
    let source_size = usize::from(u16::from_be_bytes(*len));
    let plaintext_size = found.without(LENGTH_LEN + source_size + NONCE_LEN + TAG_LEN)?;
    let mut layout = found.layout();
    layout.push("length", LENGTH_LEN);
    layout.push("encryptedDEK", source_size);
    layout.push("nonce", NONCE_LEN);
    layout.push("ciphertext", plaintext_size);
    layout.push("tag", TAG_LEN);
    Ok(Inspection {
        encrypted_dek_source_size: Some(source_size),
        ..found.inspection(layout, plaintext_size)
    })
}
