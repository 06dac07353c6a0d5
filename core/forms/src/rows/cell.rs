//! A value of a row that may go on in the next line.

use alloc::vec::Vec;

use super::words::Word;
use super::{is_stored, stored};
use crate::digits;
use crate::entry::Place;
use crate::text;

/// A value in hex or base64, of which the next line may have more: `encode(value, 'base64')`, `base64(value)` and tables wrap it.
pub(super) struct Cell {
    pub(super) text: Vec<u8>,
    pub(super) key: Option<(Vec<u8>, Place)>,
    pub(super) revision: Option<u64>,
    pub(super) place: Place,
    /// The column of its first character.
    column: usize,
    /// The length of its first line.
    width: usize,
    /// The length of its last line.
    last: usize,
    /// Whether other words stand in its first line, such as the key. They are missing in a line that continues it.
    has_row: bool,
    /// Where its first line begins, if nothing follows the cell there. Unaligned output of psql continues it at the beginning of the next line.
    line_begin: Option<usize>,
    goes_on: GoesOn,
}

/// How a cell goes on in the next line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GoesOn {
    /// psql marks the line with a `+`.
    Marked,
    /// CSV: the closing quotation mark has not come.
    Quoted(u8),
    /// Nothing says whether it does.
    Maybe,
}

/// The widths to which databases and tools wrap base64 and hex.
const WRAPS: [usize; 7] = [60, 64, 72, 76, 80, 120, 128];

impl Cell {
    /// Returns the cell that a word begins. `rest` is the line after the word, and `line_begin` the column of its first word.
    pub(super) fn begin(
        word: Word<'_>,
        rest: &[u8],
        line_begin: usize,
        place: Place,
    ) -> Option<Self> {
        let rest = rest.trim_ascii();
        let (text, goes_on) = match word.text {
            [quote @ (b'"' | b'\''), text @ ..] if !text.contains(quote) && rest.is_empty() => {
                (text, GoesOn::Quoted(*quote))
            }
            // The mark follows the column without a space.
            [text @ .., b'+'] if matches!(rest, b"" | b"|") && stored(word.text).is_none() => {
                (text, GoesOn::Marked)
            }
            text => (text, GoesOn::Maybe),
        };
        // `X'…`, whose closing quotation mark stands in another line.
        let digits = text.strip_prefix(b"X'").filter(|text| !text.ends_with(b"'")).unwrap_or(text);
        stored(digits)?;
        let width = text.len();
        Some(Self {
            text: text.to_vec(),
            key: None,
            revision: None,
            place,
            column: word.column,
            width,
            last: width,
            has_row: false,
            line_begin: rest.is_empty().then_some(line_begin),
            goes_on,
        })
    }

    /// Sets whose value it is.
    pub(super) fn of_row(
        self,
        key: Option<(Vec<u8>, Place)>,
        revision: Option<u64>,
        has_row: bool,
    ) -> Self {
        Self { key, revision, has_row, ..self }
    }

    /// Adds a line to a text in quotes, and returns what follows the closing quotation mark. Returns `None` if the cell has no open quotes.
    pub(super) fn quoted<'l>(&mut self, line: &'l [u8]) -> Option<Option<&'l [u8]>> {
        let GoesOn::Quoted(quote) = self.goes_on else { return None };
        let end = line.iter().position(|byte| *byte == quote);
        let (part, rest) = end.and_then(|end| line.split_at_checked(end)).unwrap_or((line, &[]));
        self.text.extend_from_slice(part.trim_ascii());
        if end.is_none() {
            return Some(None);
        }
        self.goes_on = GoesOn::Maybe;
        // Nothing continues it.
        self.last = 0;
        Some(Some(rest.get(1..).unwrap_or_default()))
    }

    /// Whether the word continues the cell.
    pub(super) fn continues(&self, word: Word<'_>) -> bool {
        let (text, mark) = self.split(word.text);
        let is_wrapped = WRAPS.contains(&self.width);
        let is_below = word.column == self.column && (self.has_row || is_wrapped);
        let is_at_begin = self.line_begin == Some(word.column) && is_wrapped;
        (is_below || is_at_begin)
            && self.last == self.width
            && matches!(mark, b"" | b"+")
            && is_digits(text)
            && stored(text).is_none()
    }

    /// Adds a word that continues it.
    pub(super) fn push(&mut self, word: Word<'_>) {
        let (text, mark) = self.split(word.text);
        self.text.extend_from_slice(text);
        self.last = text.len();
        self.goes_on = if mark == b"+" { GoesOn::Marked } else { GoesOn::Maybe };
    }

    /// Adds a word that follows the last one after a space: line ends may have become spaces.
    pub(super) fn push_after_space(&mut self, word: Word<'_>) -> bool {
        let fits = word.after_space
            && self.goes_on == GoesOn::Maybe
            && self.last == self.width
            && WRAPS.contains(&self.width)
            && word.text.len() <= self.width
            && is_digits(word.text)
            && stored(word.text).is_none();
        if fits {
            self.text.extend_from_slice(word.text);
            self.last = word.text.len();
        }
        fits
    }

    fn split<'w>(&self, word: &'w [u8]) -> (&'w [u8], &'w [u8]) {
        let word = text::unquoted(word);
        // The closing quotation mark of `X'…'` belongs to the text.
        let width = self.width + usize::from(self.text.starts_with(b"X'"));
        word.split_at_checked(width).unwrap_or((word, &[]))
    }

    /// Returns the value. `None` if it is not complete, or is not one.
    pub(super) fn value(&self) -> Option<Vec<u8>> {
        if self.goes_on != GoesOn::Maybe {
            return None;
        }
        digits::decode(&self.text).map(|(bytes, _)| bytes).filter(|bytes| is_stored(bytes))
    }
}

/// Whether the text is nothing but hex or base64.
fn is_digits(text: &[u8]) -> bool {
    let text = text.strip_suffix(b"'").unwrap_or(text);
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    text.iter().any(u8::is_ascii_alphanumeric) && text.iter().all(is_digit)
}

/// Whether the word is probably a part of a value: it has digits of hex or base64, and is not a word of a language.
pub(super) fn may_be_part(word: &[u8]) -> bool {
    let word = text::unquoted(word);
    is_digits(word)
        && (word.len() >= 16 || word.len() >= 8 && word.iter().any(u8::is_ascii_digit))
        && text::number(word).is_none()
}
