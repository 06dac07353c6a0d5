//! What stands around the digits of a line.

use super::decode::hex_mark;
use crate::form::Form;
use crate::text;

/// Removes what stands around the digits of a line.
pub(super) fn digits_of(line: &[u8]) -> (Option<Form>, &[u8]) {
    hex_mark(bare(line))
}

/// Removes the punctuation of a language or a sentence around digits: quotes, brackets, `[]byte{…}`, `<Buffer …>`, `b'…'`.
pub(super) fn bare(line: &[u8]) -> &[u8] {
    const BEFORE: [&[u8]; 15] = [
        b"[]byte",
        b"Buffer ",
        b"(",
        b"[",
        b"{",
        b"<",
        b"`",
        b"b'",
        b"b\"",
        b"E'",
        b"$'",
        b"\xe2\x80\x9c",
        b"\xe2\x80\x98",
        b"\xe2\x80\x8b",
        b"\xc2\xa0",
    ];
    const AFTER: [&[u8]; 12] = [
        b",",
        b";",
        b".",
        b")",
        b"]",
        b"}",
        b">",
        b"`",
        b"\\",
        b"\xe2\x80\x9d",
        b"\xe2\x80\x99",
        b"\xc2\xa0",
    ];
    let len = line.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let mut text = line.get(..len).unwrap_or_default().trim_ascii();
    loop {
        let before = text.len();
        text = text::unquoted(text).trim_ascii();
        for mark in BEFORE {
            // The quotation mark goes with the other one.
            let len = mark.len() - usize::from(mark.ends_with(b"'") || mark.ends_with(b"\""));
            if text.starts_with(mark) {
                text = text.get(len..).unwrap_or_default();
            }
        }
        for mark in AFTER {
            // Dots stand for something that is left out.
            if !text.ends_with(b"..") {
                text = text.strip_suffix(mark).unwrap_or(text);
            }
        }
        text = text.trim_ascii();
        if text.len() == before {
            return text;
        }
    }
}

/// Whether the line stands around digits: those of the array that `xxd -i` prints, and those of PEM.
pub(crate) fn is_margin(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.starts_with(b"-----BEGIN ")
        || line.starts_with(b"-----END ")
        || (line.starts_with(b"unsigned char ") && line.ends_with(b"[] = {"))
        || (line.starts_with(b"unsigned int ") && line.ends_with(b";"))
        || line == b"};"
}
