//! Base64 as Go decodes it.

use alloc::vec::Vec;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

/// Go's `StdEncoding`: padding required, line breaks ignored, trailing bits not checked.
const GO: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Decodes `text`. Returns `None` if it is not valid base64.
pub(super) fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text: Zeroizing<Vec<u8>> =
        Zeroizing::new(text.bytes().filter(|c| !matches!(c, b'\r' | b'\n')).collect());
    GO.decode(&*text).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_decodes_as_in_go() {
        let table: &[(&str, &str, Option<usize>)] = &[
            ("padded", "AAAAAAAAAAAAAAAAAAAAAA==", Some(16)),
            ("line breaks are ignored", "AAAA\r\nAAAA\n", Some(6)),
            ("line break between padding", "AA=\n=", Some(1)),
            ("trailing bits are ignored", "AB==", Some(1)),
            ("only a line break", "\n", Some(0)),
            ("padding is required", "AA", None),
            ("one pad of two", "AA=", None),
            ("spaces are refused", "AA A", None),
            ("URL alphabet is refused", "AA-_", None),
            ("data after padding", "AA==AAAA", None),
        ];
        for (desc, text, want) in table {
            assert_eq!(decode(text).map(|bytes| bytes.len()), *want, "{desc}");
        }
    }
}
