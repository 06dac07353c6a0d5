//! The values of aesgcm, aescbc and secretbox.

use super::error::{InspectError, InspectFault};
use super::found::Found;
use super::inspection::Inspection;
use crate::crypto::keys::{NONCE_LEN, TAG_LEN};

/// The length of an AES block and of the IV of aescbc, 16 bytes.
const BLOCK_LEN: usize = 16;
/// The length of the nonce of secretbox, 24 bytes.
const SECRETBOX_NONCE_LEN: usize = 24;

/// The shortest values after the name: those of an empty plaintext.
pub(super) const AESGCM_MIN: usize = NONCE_LEN + TAG_LEN;
/// The IV, and one block of padding.
pub(super) const AESCBC_MIN: usize = 2 * BLOCK_LEN;
pub(super) const SECRETBOX_MIN: usize = SECRETBOX_NONCE_LEN + TAG_LEN;

pub(super) fn aesgcm(found: &Found<'_>) -> Result<Inspection, InspectError> {
    let plaintext_size = found.without(AESGCM_MIN)?;
    let mut layout = found.layout();
    layout.push("nonce", NONCE_LEN);
    layout.push("ciphertext", plaintext_size);
    layout.push("tag", TAG_LEN);
    Ok(found.inspection(layout, plaintext_size))
}

pub(super) fn aescbc(found: &Found<'_>) -> Result<Inspection, InspectError> {
    let len = found.without(AESCBC_MIN)? + BLOCK_LEN;
    let odd = len % BLOCK_LEN;
    if odd == 1 && found.body.ends_with(b"\n") {
        return Err(found.error(InspectFault::LineEnd, None));
    }
    if odd != 0 {
        let fault = InspectFault::NotBlocks { prefix: found.prefix(), len };
        return Err(found.error(fault, Some((BLOCK_LEN - odd) as u64)));
    }
    let mut layout = found.layout();
    layout.push("iv", BLOCK_LEN);
    layout.push("ciphertext", len);
    // PKCS#7 adds at least one byte of padding.
    Ok(found.inspection(layout, len - 1))
}

pub(super) fn secretbox(found: &Found<'_>) -> Result<Inspection, InspectError> {
    let plaintext_size = found.without(SECRETBOX_MIN)?;
    let mut layout = found.layout();
    layout.push("nonce", SECRETBOX_NONCE_LEN);
    layout.push("tag", TAG_LEN);
    layout.push("ciphertext", plaintext_size);
    Ok(found.inspection(layout, plaintext_size))
}
