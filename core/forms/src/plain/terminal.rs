//! What a terminal adds to a value: a prompt after it, a carriage return before each line end.

use alloc::vec::Vec;

use super::Found;
use crate::entry::LineEnd;
use crate::text;

/// Whether a prompt follows a line end. Six characters and more of a prompt are not in a value by accident.
pub(super) fn prompt_follows(after: &[u8], end: bool) -> Found {
    const PROMPT_MAX: usize = 300;
    let head = after.get(..PROMPT_MAX).unwrap_or(after);
    let (line, is_whole) = match head.iter().position(|byte| *byte == b'\n') {
        Some(len) => (head.get(..len).unwrap_or_default(), true),
        None => (head, end && head.len() == after.len()),
    };
    if !text::is_printable_ascii(line) {
        return Found::No;
    }
    match is_whole {
        true if line.len() >= 6 && text::is_prompt(line) => Found::Yes,
        false if !end && line.len() < PROMPT_MAX && !line.is_empty() => Found::More,
        _ => Found::No,
    }
}

/// Whether a value ends with a carriage return before its line end, and has none that is missing before the line ends in it. The line end is still
/// there, unless it was removed.
pub(super) fn ends_in_crlf(bytes: &[u8], line_end: LineEnd) -> bool {
    let value = match line_end {
        LineEnd::Removed => bytes.strip_suffix(b"\r"),
        LineEnd::Absent | LineEnd::MaybeAdded { .. } => bytes.strip_suffix(b"\r\n"),
    };
    let Some(value) = value else { return false };
    let is_alone = |pair: &[u8]| matches!(pair, [before, b'\n'] if *before != b'\r');
    value.first() != Some(&b'\n') && !value.windows(2).any(is_alone)
}

/// Replaces each `\r\n` by `\n`.
pub(super) fn without_carriage_returns(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'\r' || after.first() != Some(&b'\n') {
            out.push(byte);
        }
        rest = after;
    }
    out
}
