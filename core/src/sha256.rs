//! SHA-256 as text.

use alloc::string::String;
use core::fmt::Write;

use sha2::{Digest, Sha256};

/// Returns `sha256:<hex>` of `bytes`.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(71);
    text.push_str("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
