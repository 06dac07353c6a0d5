//! The words of a line, and the columns in which they stand.

/// A word of a line.
#[derive(Clone, Copy)]
pub(super) struct Word<'l> {
    /// With its quotes, if it has any.
    pub(super) text: &'l [u8],
    /// How many characters stand before it in the line.
    pub(super) column: usize,
    /// Whether exactly one space stands before it.
    pub(super) after_space: bool,
}

/// Splits a line into words. Quotes keep a word together.
pub(super) struct Words<'l> {
    rest: &'l [u8],
    column: usize,
}

impl<'l> Words<'l> {
    pub(super) fn of(line: &'l [u8]) -> Self {
        Self { rest: line, column: 0 }
    }

    /// What follows the last word.
    pub(super) fn rest(&self) -> &'l [u8] {
        self.rest
    }

    fn take(&mut self, len: usize) -> &'l [u8] {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, &[]));
        self.rest = rest;
        // The bytes of UTF-8 after a character's first one.
        self.column += taken.iter().filter(|byte| !(0x80..0xc0).contains(*byte)).count();
        taken
    }
}

/// The length of the separator that a text begins with. 0 if it begins with a word.
fn separator(text: &[u8]) -> usize {
    match text {
        [b' ' | b'\t' | b'|' | b',' | b';' | b'(' | b')' | b'=' | 0, ..] => 1,
        // The borders of a table, U+2500 to U+257F, and the mark of a line that goes on, U+21B5.
        [0xe2, 0x94 | 0x95, _, ..] | [0xe2, 0x86, 0xb5, ..] => 3,
        // A space that does not break.
        [0xc2, 0xa0, ..] => 2,
        _ => 0,
    }
}

impl<'l> Iterator for Words<'l> {
    type Item = Word<'l>;

    fn next(&mut self) -> Option<Word<'l>> {
        let begin = self.rest;
        loop {
            match separator(self.rest) {
                0 => break,
                len => self.take(len),
            };
        }
        let gap = begin.get(..begin.len() - self.rest.len());
        let column = self.column;
        let quoted = match self.rest {
            [] => return None,
            [quote @ (b'\'' | b'"'), ..] => Some((1, *quote)),
            [b'X' | b'x', b'\'', ..] => Some((2, b'\'')),
            _ => None,
        };
        let closed = quoted.and_then(|(from, quote)| {
            self.rest.iter().skip(from).position(|byte| *byte == quote).map(|at| from + at + 1)
        });
        let unquoted = || {
            let mut at = 0;
            while self.rest.get(at..).is_some_and(|rest| !rest.is_empty() && separator(rest) == 0) {
                at += 1;
            }
            at
        };
        let len = match (closed, quoted) {
            (Some(len), _) => len,
            // A text in quotes that goes on in the next line.
            (None, Some((1, _))) => self.rest.len(),
            (None, _) => unquoted(),
        };
        let text = self.take(len);
        Some(Word { text, column, after_space: gap == Some(b" ") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};
    use alloc::vec::Vec;

    #[test]
    fn a_line_is_split_at_what_tools_print_between_columns() {
        let words = |line: &str| -> Vec<(String, usize)> {
            Words::of(line.as_bytes())
                .map(|word| (String::from_utf8_lossy(word.text).to_string(), word.column))
                .collect()
        };
        let word = |text: &str, column| (text.to_string(), column);
        assert_eq!(words("5|/a/b|ab"), [word("5", 0), word("/a/b", 2), word("ab", 7)]);
        assert_eq!(words("│ 5  │ é │ x"), [word("5", 2), word("é", 7), word("x", 11)]);
        assert_eq!(
            words("'a b',\"c|\",X'6b'"),
            [word("'a b'", 0), word("\"c|\"", 6), word("X'6b'", 11)]
        );
        assert_eq!(words("│ X'6b │"), [word("X'6b", 2)]);
        assert_eq!(words("ab↵│"), [word("ab", 0)]);
        assert_eq!(words("a…b"), [word("a…b", 0)]);
        assert_eq!(words(" \t|"), []);
    }
}
