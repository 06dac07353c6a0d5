//! HPACK's Huffman code (RFC 7541 Appendix B), for decoding only.

/// The length of each byte's code in bits. The code is canonical: among codes of equal length, the smaller byte has the smaller code, and longer
/// codes follow the shorter ones. So the lengths define the whole code.
#[rustfmt::skip]
const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// 30 bits: the length of the longest codes. The last of these is the code for the end of a string, which is never sent.
const LONGEST: usize = 30;

/// The tables for decoding, computed from the lengths.
struct Code {
    /// The bytes in the order of their codes.
    bytes: [u8; 256],
    /// The number of codes of each length.
    counts: [u32; LONGEST + 1],
}

static CODE: Code = Code::new();

impl Code {
    const fn new() -> Self {
        let mut code = Self { bytes: [0; 256], counts: [0; LONGEST + 1] };
        let (mut length, mut next) = (0, 0);
        while length <= LONGEST {
            let mut byte = 0;
            while byte < 256 {
                if LENGTHS[byte] as usize == length {
                    code.bytes[next] = byte as u8;
                    code.counts[length] += 1;
                    next += 1;
                }
                byte += 1;
            }
            length += 1;
        }
        code
    }
}

/// Decodes a string. The result is at most 8/5 as long as `coded`. Returns `None` if `coded` is invalid: it contains the code for the end of a
/// string, or its padding is not fewer than eight bits, all 1.
pub(super) fn decode(coded: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(coded.len() * 8 / 5);
    // `value` is the code so far, `first` the smallest code of its length, and `before` the number of bytes with shorter codes.
    let (mut value, mut first, mut before, mut length) = (0u32, 0u32, 0u32, 0usize);
    for bit in coded.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        value = value << 1 | u32::from(bit);
        first <<= 1;
        length += 1;
        let count = *CODE.counts.get(length)?;
        // `value` is never smaller than `first`: a smaller value would have matched a shorter code.
        let at = value.checked_sub(first)?;
        if at < count {
            decoded.push(*CODE.bytes.get(usize::try_from(before + at).ok()?)?);
            (value, first, before, length) = (0, 0, 0, 0);
        } else {
            first += count;
            before += count;
        }
    }
    let padding = (1u32 << length.min(8)) - 1;
    (length < 8 && value == padding).then_some(decoded)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Encodes a string, for the tests of the code that reads it.
    pub(in crate::kms::plugin) fn encode(text: &[u8]) -> Vec<u8> {
        let mut codes = [0u32; 256];
        let (mut next, mut at) = (0u32, 0);
        for length in 1..=LONGEST {
            next <<= 1;
            for _ in 0..CODE.counts[length] {
                codes[usize::from(CODE.bytes[at])] = next;
                next += 1;
                at += 1;
            }
        }
        let mut bits = Vec::new();
        for byte in text {
            let length = LENGTHS[usize::from(*byte)];
            bits.extend((0..length).rev().map(|shift| codes[usize::from(*byte)] >> shift & 1));
        }
        bits.resize(bits.len().next_multiple_of(8), 1);
        let byte = |bits: &[u32]| bits.iter().fold(0u8, |byte, bit| byte << 1 | *bit as u8);
        bits.chunks(8).map(byte).collect()
    }

    #[test]
    fn the_code_lengths_are_complete_except_for_the_end_of_string() {
        let used: u64 = LENGTHS.iter().map(|length| 1u64 << (30 - length)).sum();
        assert_eq!(used + 1, 1 << 30);
    }

    #[test]
    fn strings_from_the_rfc_decode() {
        // From RFC 7541 C.4 and C.6.
        let table: [(&[u8], &[u8]); 5] = [
            (
                &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
                b"www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], b"no-cache"),
            (&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xa9, 0x7d, 0x7f], b"custom-key"),
            (
                &[
                    0x9d, 0x29, 0xad, 0x17, 0x18, 0x63, 0xc7, 0x8f, 0x0b, 0x97, 0xc8, 0xe9, 0xae,
                    0x82, 0xae, 0x43, 0xd3,
                ],
                b"https://www.example.com",
            ),
            (&[], b""),
        ];
        for (coded, text) in table {
            assert_eq!(decode(coded).as_deref(), Some(text));
            assert_eq!(encode(text), coded);
        }
    }

    #[test]
    fn every_byte_round_trips() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(decode(&encode(&all)), Some(all));
    }

    #[test]
    fn invalid_strings_are_refused() {
        let table: [(&str, &[u8]); 4] = [
            ("the end's code", &[0xff, 0xff, 0xff, 0xff]),
            ("eight bits of padding", &[0xff]),
            ("padding of zeros", &[0b0000_0000]),
            ("a code cut off", &[0b1111_1110]),
        ];
        for (desc, coded) in table {
            assert_eq!(decode(coded), None, "{desc}");
        }
    }
}
