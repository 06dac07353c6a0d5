//! Parts of a stored value's layout that every implementation writes in the same way.

/// The length of the header of a counted nonce, 12 bytes.
pub const COUNTED_LEN: usize = 12;

/// Returns the nonce `random[4] ‖ counter[8, little-endian]`. Upstream: encrypt/aes/aes.go.
pub const fn counted(random: [u8; 4], counter: u64) -> [u8; COUNTED_LEN] {
    let [a, b, c, d] = random;
    let [e, f, g, h, i, j, k, l] = counter.to_le_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l]
}

/// The length of a tag of one byte and the longest varint, 11 bytes.
pub const FIELD_START_MAX: usize = 11;

/// Writes the start of a protobuf field, a tag and the varint of a length, and returns both.
pub fn field_start(out: &mut [u8; FIELD_START_MAX], tag: u8, mut len: u64) -> &[u8] {
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

    #[test]
    fn the_counter_of_a_nonce_is_little_endian() {
        assert_eq!(
            counted([1, 2, 3, 4], 0x0c0b_0a09_0807_0605),
            [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
        );
    }
}
