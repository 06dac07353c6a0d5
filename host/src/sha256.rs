//! SHA-256 hashes as text.

use std::fmt::Write;

use sha2::{Digest, Sha256};

/// Returns `sha256:<hex>` in lowercase.
pub(crate) fn text(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_prefixed_lowercase_hex() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(text(b"abc"), expected);
    }
}
