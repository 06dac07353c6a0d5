//! xxd and hexdump.

use std::fmt::Write as _;

use super::digits::{hex, spaced};

pub(crate) fn text_column(bytes: &[u8]) -> String {
    let char = |byte: &u8| if (b' '..0x7f).contains(byte) { char::from(*byte) } else { '.' };
    bytes.iter().map(char).collect()
}

/// Without `*`, as `hexdump -v`.
pub(crate) fn hexdump_c(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let half =
            |from: usize| spaced(chunk.get(from..chunk.len().min(from + 8)).unwrap_or_default());
        let _ = writeln!(
            text,
            "{:08x}  {:<24} {:<24} |{}|",
            line * 16,
            half(0),
            half(8),
            text_column(chunk)
        );
    }
    let _ = writeln!(text, "{:08x}", bytes.len());
    text
}

pub(crate) fn hexdump(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "{:07x}", line * 16);
        for word in chunk.chunks(2) {
            let _ = write!(text, " {:02x}{:02x}", word.get(1).unwrap_or(&0), word[0]);
        }
        text.push('\n');
    }
    let _ = writeln!(text, "{:07x}", bytes.len());
    text
}

pub(crate) fn xxd(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (line, chunk) in bytes.chunks(16).enumerate() {
        let words: String = chunk.chunks(2).map(|word| format!("{} ", hex(word))).collect();
        let _ = writeln!(text, "{:08x}: {:<40} {}", line * 16, words, text_column(chunk));
    }
    text
}
