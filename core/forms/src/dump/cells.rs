//! The columns of a dump's line.

use alloc::vec::Vec;

use crate::digits::{hex_digit, is_plausible};

/// How a dump prints bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cells {
    /// Words of so many bytes, in digits of a base. Each has exactly so many digits.
    Words {
        /// The bytes of a word.
        size: usize,
        base: u32,
        width: usize,
        little: bool,
    },
    /// Columns of four characters: `od -c`.
    Chars {
        /// How many spaces stand before the first column: one in BSD's od.
        margin: usize,
    },
}

/// A line of a dump.
pub(crate) struct Line<'l> {
    /// The offset's digits.
    pub(crate) offset: &'l [u8],
    /// Whether a colon follows the offset, as in xxd.
    pub(crate) colon: bool,
    /// Everything after that.
    pub(crate) rest: &'l [u8],
}

/// Splits the offset off. Returns `None` if the line does not begin with one.
pub(crate) fn split(line: &[u8]) -> Option<Line<'_>> {
    let mut line = line.trim_ascii_start();
    // The marks of a quotation, a comment, a table, a list.
    for mark in [&b"> "[..], b"# ", b"| ", b"- ", b"0x"] {
        line = line.strip_prefix(mark).unwrap_or(line);
    }
    let len = line.iter().position(|byte| hex_digit(*byte).is_none()).unwrap_or(line.len());
    let (offset, rest) = line.split_at_checked(len)?;
    // certutil prints four digits and a tab.
    if !((6..=16).contains(&len) || len == 4 && rest.starts_with(b"\t")) {
        return None;
    }
    match rest {
        [] => Some(Line { offset, colon: false, rest }),
        [b':', rest @ ..] => Some(Line { offset, colon: true, rest }),
        [b' ' | b'\t', ..] => Some(Line { offset, colon: false, rest }),
        _ => None,
    }
}

impl Cells {
    /// Chooses the columns by the first line of a dump.
    pub(crate) fn of(line: &Line<'_>) -> Option<Self> {
        let first = line.rest.trim_ascii_start();
        let width =
            first.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(first.len());
        let words = |size, base, little| Self::Words { size, base, width, little };
        if line.colon {
            if width == 0 || width % 2 == 1 || width > 64 {
                return None;
            }
            let (big, little) = (words(width / 2, 16, false), words(width / 2, 16, true));
            // `xxd -e` looks the same, but its words are little-endian. The column of text differs, if it is there.
            let decode =
                |cells: Self| cells.decode(line).map(|(bytes, _)| bytes).unwrap_or_default();
            let (in_big, in_little) = (decode(big), decode(little));
            let is_little = if shows(line.rest, &in_big) {
                false
            } else {
                shows(line.rest, &in_little) || is_plausible(&in_little)
            };
            return Some(if is_little { little } else { big });
        }
        // `od --endian=big` looks the same as without it.
        let ordered = |size| {
            let big = words(size, 16, false);
            let is_big = big.decode(line).is_some_and(|(bytes, _)| is_plausible(&bytes));
            if is_big { big } else { words(size, 16, true) }
        };
        match width {
            1 => line.rest.len().checked_sub(first.len() + 3).map(|margin| Self::Chars { margin }),
            2 => Some(words(1, 16, false)),
            3 => Some(words(1, 8, false)),
            4 => Some(ordered(2)),
            5 => Some(words(2, 10, true)),
            6 => Some(words(2, 8, true)),
            8 => Some(ordered(4)),
            16 => Some(ordered(8)),
            _ => None,
        }
    }

    /// Decodes a line's bytes, and returns whether the line is cut off within a word. Returns `None` if the line has other columns.
    pub(crate) fn decode(self, line: &Line<'_>) -> Option<(Vec<u8>, bool)> {
        match self {
            Self::Chars { margin } => chars(line.rest.get(margin..)?).map(|bytes| (bytes, false)),
            Self::Words { size, base, width, little } => {
                decode_words(line, size, base, width, little)
            }
        }
    }
}

/// The bytes of a line: 256 columns of `xxd` at the most.
const LINE_MAX: usize = 1024;

fn decode_words(
    line: &Line<'_>,
    size: usize,
    base: u32,
    width: usize,
    little: bool,
) -> Option<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut rest = line.rest;
    let mut index = 0_usize;
    loop {
        let gap =
            rest.iter().position(|byte| *byte != b' ' && *byte != b'\t').unwrap_or(rest.len());
        rest = rest.get(gap..)?;
        if rest.is_empty() || bytes.len() >= LINE_MAX {
            return Some((bytes, false));
        }
        // Two spaces separate the text column, and the halves of a line of `hexdump -C`.
        let separated = index > 0 && gap >= 2;
        let text_follows = separated
            && (line.colon || (size == 1 && base == 16 && index != 8))
            // The words of `xxd -e` that are cut are right-aligned.
            && !(little && line.colon);
        if matches!(rest.first(), Some(b'|' | b'>')) || text_follows {
            return Some((bytes, false));
        }
        let len =
            rest.iter().position(|byte| *byte == b' ' || *byte == b'\t').unwrap_or(rest.len());
        let (token, after) = rest.split_at_checked(len)?;
        let is_last = after.trim_ascii().is_empty();
        let digits = token.iter().all(|byte| char::from(*byte).is_digit(base));
        match digits {
            true if token.len() == width => {}
            // Decimal numbers are padded with spaces.
            true if base == 10 && token.len() < width => {}
            // The last word of xxd has the bytes that remain.
            true if line.colon && token.len() < width && token.len().is_multiple_of(2) => {}
            // The line is cut off.
            true if is_last && index > 0 && token.len() < width => return Some((bytes, true)),
            // PowerShell separates the text column with one space.
            _ if separated || size == 1 && index == 16 => return Some((bytes, false)),
            _ => return None,
        }
        let size = if line.colon { token.len() / 2 } else { size };
        push_word(token, size, base, little, &mut bytes)?;
        rest = after;
        index += 1;
    }
}

fn push_word(
    token: &[u8],
    size: usize,
    base: u32,
    little: bool,
    bytes: &mut Vec<u8>,
) -> Option<()> {
    if base == 16 {
        let at = bytes.len();
        for pair in token.chunks_exact(2) {
            let &[high, low] = pair else { return None };
            bytes.push(hex_digit(high)? << 4 | hex_digit(low)?);
        }
        if little && let Some(word) = bytes.get_mut(at..) {
            word.reverse();
        }
        return Some(());
    }
    let value = token.iter().try_fold(0_u32, |value, byte| {
        Some(value.checked_mul(base)? + char::from(*byte).to_digit(base)?)
    })?;
    let [low, high, 0, 0] = value.to_le_bytes() else { return None };
    bytes.push(low);
    if size == 2 {
        bytes.push(high);
    } else if high != 0 {
        return None;
    }
    Some(())
}

/// Decodes the columns of `od -c`: each is a space, and a character, an escape or three octal digits, right-aligned.
fn chars(rest: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for cell in rest.chunks(4) {
        let [b' ', cell @ ..] = cell else { return None };
        let trimmed = cell.trim_ascii_start();
        bytes.push(match trimmed {
            [] if cell.len() == 3 => b' ',
            [byte] if byte.is_ascii_graphic() => *byte,
            [b'\\', escape] => match escape {
                b'0' => 0,
                b'a' => 7,
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'] => {
                (a - b'0') << 6 | (b - b'0') << 3 | (c - b'0')
            }
            _ => return None,
        });
    }
    Some(bytes)
}

/// Whether a line ends with the bytes as a column of text.
fn shows(line: &[u8], bytes: &[u8]) -> bool {
    let text = line.len().checked_sub(bytes.len()).and_then(|at| line.get(at..));
    let shown = |byte: u8| if matches!(byte, b' '..=b'~') { byte } else { b'.' };
    text.is_some_and(|text| text.iter().copied().eq(bytes.iter().map(|byte| shown(*byte))))
}
