//! Searches for `k8s:enc:` in bytes that are about to be called plaintext.

/// Finds `k8s:enc:` in a stream of bytes: as text, in UTF-16, in base64 at any alignment (either alphabet, wrapped or not), and in hex (bytes,
/// 16-bit and 32-bit little-endian words; with `\x`, `0x` and other separators, across lines).
///
/// It may find more than there is, never less: base64 is recognized by six of the eight bytes.
#[derive(Clone, Default)]
pub(crate) struct Guard {
    /// The last eight bytes that are not white space or NUL.
    text: u64,
    /// The last 16 hex digits.
    hex: u64,
    previous: u8,
    found: bool,
}

const TARGET: u64 = u64::from_be_bytes(*b"k8s:enc:");
/// Makes letters lowercase, and leaves the digit and the colons as they are.
const LOWER: u64 = u64::from_be_bytes([b' '; 8]);
/// Eight characters of base64 that depend on the prefix alone, for each of the three alignments.
const BASE64: [u64; 3] = [
    u64::from_be_bytes(*b"azhzOmVu"),
    u64::from_be_bytes(*b"s4czplbm"),
    u64::from_be_bytes(*b"rOHM6ZW5"),
];
/// The prefix in 16-bit and 32-bit little-endian words.
const WORDS_16: u64 = u64::from_be_bytes(*b"8k:sne:c");
const WORDS_32: u64 = u64::from_be_bytes(*b":s8k:cne");

impl Guard {
    /// Whether `bytes` contain the prefix in any of these encodings.
    pub(crate) fn finds(bytes: &[u8]) -> bool {
        let mut guard = Self::default();
        guard.push(bytes);
        guard.found
    }

    pub(crate) fn found(&self) -> bool {
        self.found
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                b'A'..=b'F' => byte - b'A' + 10,
                // The zero of `0x` is not a digit.
                b'x' | b'X' if self.previous == b'0' => {
                    self.hex >>= 4;
                    16
                }
                0 | b'\n' | b'\r' | b'\t' | b' ' | b',' | b':' | b';' | b'-' | b'_' | b'\\'
                | b'x' | b'X' | b'%' | b'"' | b'\'' | b'|' => 16,
                _ => {
                    self.hex = 0;
                    16
                }
            };
            if digit < 16 {
                self.hex = self.hex << 4 | u64::from(digit);
                self.found |= self.hex == TARGET || self.hex == WORDS_16 || self.hex == WORDS_32;
            }
            if !matches!(byte, 0 | b'\n' | b'\r' | b'\t' | b' ') {
                self.text = self.text << 8 | u64::from(byte);
                self.found |= self.text | LOWER == TARGET || BASE64.contains(&self.text);
            }
            self.previous = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    #[test]
    fn every_encoding_is_found_and_others_are_not() {
        let hex = |upper: bool, between: &str| -> String {
            b"k8s:enc:"
                .iter()
                .map(|byte| {
                    if upper {
                        format!("{between}{byte:02X}")
                    } else {
                        format!("{between}{byte:02x}")
                    }
                })
                .collect()
        };
        let utf16: Vec<u8> = b"k8s:enc:".iter().flat_map(|byte| [*byte, 0]).collect();
        let mut found: Vec<Vec<u8>> = ["", " ", "\\x", "0x", ", 0x", ":", "\n", "%"]
            .iter()
            .flat_map(|between| [hex(false, between).into(), hex(true, between).into()])
            .collect();
        found.extend([b"xk8s:enc:y".to_vec(), b"K8S:ENC:".to_vec(), utf16]);
        found.extend(["386b 3a73 6e65 3a63", "3a73386b 3a636e65"].map(|text| text.into()));
        found.extend(
            ["azhzOmVuYzo", "AGs4czplbmM6", "AABrOHM6ZW5jOg", "azhz\nOmVu\nYzo"]
                .map(|text| text.into()),
        );
        for text in found {
            assert!(Guard::finds(&text), "{}", String::from_utf8_lossy(&text));
        }
        for text in ["", "k8s:en", "k8s\0\n\x0c", "6b38733a656e633", "k8s-enc-"] {
            assert!(!Guard::finds(text.as_bytes()), "{text}");
        }
    }
}
