//! What surrounds the ciphertext in all stored values that one key seals.

use alloc::string::String;
use alloc::vec::Vec;

use crate::crypto::keys::Envelope;

/// The bytes around the header and the ciphertext in the values of one key: `prefix ‖ start ‖ header ‖ sealed ‖ end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The prefix of the transformer, such as `k8s:enc:kms:v2:my-kms:`.
    pub prefix: String,
    /// What precedes the header.
    pub start: Start,
    /// What follows the sealed bytes.
    pub end: Vec<u8>,
}

/// The bytes between the prefix and the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The same bytes in every value.
    Fixed(Vec<u8>),
    /// The start of a protobuf field: its tag, and the length of header and sealed bytes as a varint.
    Field(u8),
}

impl Frame {
    /// Calls `seal` with the envelope of a value. `body_len` is the number of bytes that follow the header.
    pub fn around<T>(
        &self,
        header: &[u8],
        body_len: usize,
        seal: impl FnOnce(Envelope<'_>) -> T,
    ) -> T {
        let mut field = [0; FIELD_START_MAX];
        let start = match &self.start {
            Start::Fixed(bytes) => bytes,
            Start::Field(tag) => field_start(&mut field, *tag, (header.len() + body_len) as u64),
        };
        seal(Envelope { prefix: self.prefix.as_bytes(), start, header, end: &self.end })
    }
}

/// The length of a tag of one byte and the longest varint.
const FIELD_START_MAX: usize = 11;

/// Writes a tag and the varint of a length, and returns both.
fn field_start(out: &mut [u8; FIELD_START_MAX], tag: u8, mut len: u64) -> &[u8] {
    let mut at = 0;
    for byte in &mut *out {
        at += 1;
        if at == 1 {
            *byte = tag;
        } else if len < 0x80 {
            *byte = len as u8;
            break;
        } else {
            *byte = len as u8 | 0x80;
            len >>= 7;
        }
    }
    out.get(..at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_states_the_length_of_what_follows() {
        let table: [(u64, &[u8]); 5] = [
            (0, &[10, 0]),
            (127, &[10, 127]),
            (128, &[10, 0x80, 1]),
            (16_384, &[10, 0x80, 0x80, 1]),
            (u64::MAX, &[10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
        ];
        for (len, expected) in table {
            assert_eq!(field_start(&mut [0; FIELD_START_MAX], 10, len), expected, "{len}");
        }
    }
}
