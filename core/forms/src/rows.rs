//! Rows of kine's table, as psql, sqlite3 and CSV print them: aligned or not, expanded, with borders, quoted, as INSERT statements.
//!
//! A row is read by its words, whatever stands between them: the key is the word that is a path, values are the words that decode to a stored
//! value, the revision is the number before the key.

use alloc::vec::Vec;

use crate::context::{Candidate, Context};
use crate::digits;
use crate::entry::Place;
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::guard::Guard;
use crate::lines::LineMachine;
use crate::text;
use crate::{ENCRYPTED_PREFIX, PROTOBUF_PREFIX};

const FORM: Form = Form::Rows;

#[derive(Default)]
pub(crate) struct Rows {
    key: Option<(Vec<u8>, Place)>,
    /// Whether a value of the key was found.
    used: bool,
    revision: Option<u64>,
    cell: Option<Cell>,
}

/// The text of a value in base64 that may go on in the next line: `encode(value, 'base64')` and `base64(value)` wrap it.
struct Cell {
    text: Vec<u8>,
    /// The length of its last line.
    width: usize,
    goes_on: GoesOn,
    place: Place,
}

/// The widths to which databases wrap base64: SQLite and Postgres.
const WRAPS: [usize; 2] = [72, 76];

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

/// Splits a line into words. Quotes keep a word together.
struct Words<'l> {
    rest: &'l [u8],
}

impl<'l> Iterator for Words<'l> {
    type Item = &'l [u8];

    fn next(&mut self) -> Option<&'l [u8]> {
        // The borders of a table, U+2500 to U+257F, begin with these bytes in UTF-8.
        let is_separator = |byte: u8| {
            matches!(
                byte,
                b' ' | b'\t' | b'|' | b',' | b';' | b'(' | b')' | b'=' | 0xe2 | 0x94 | 0x95
            )
        };
        loop {
            let (&first, rest) = self.rest.split_first()?;
            if is_separator(first) || (0x80..0xc0).contains(&first) {
                self.rest = rest;
                continue;
            }
            let quoted = match self.rest {
                [quote @ (b'\'' | b'"'), ..] => Some((1, *quote)),
                [b'X' | b'x', b'\'', ..] => Some((2, b'\'')),
                _ => None,
            };
            let end = match quoted {
                Some((from, quote)) => self
                    .rest
                    .iter()
                    .skip(from)
                    .position(|byte| *byte == quote)
                    .map_or(self.rest.len(), |at| from + at + 1),
                None => {
                    self.rest.iter().position(|byte| is_separator(*byte)).unwrap_or(self.rest.len())
                }
            };
            let (word, rest) = self.rest.split_at_checked(end)?;
            self.rest = rest;
            return Some(word);
        }
    }
}

/// Decodes a word that is a stored value. The word may be cut off, if it is only for recognition.
fn stored(word: &[u8]) -> Option<Vec<u8>> {
    if word.len() < 8 {
        return None;
    }
    let (bytes, _) = digits::decode(word)?;
    is_stored(&bytes).then_some(bytes)
}

fn is_stored(bytes: &[u8]) -> bool {
    text::begins_stored(bytes)
        || text::begins_json_object(bytes)
        || bytes.starts_with(text::CBOR_PREFIX)
}

/// The names of kine's columns.
const COLUMNS: [&[u8]; 12] = [
    b"id",
    b"name",
    b"created",
    b"deleted",
    b"create_revision",
    b"prev_revision",
    b"lease",
    b"value",
    b"old_value",
    b"hex",
    b"encode",
    b"quote",
];

/// Whether the line is the first of a table.
pub(crate) fn is_first_line(line: &[u8]) -> bool {
    let trimmed = line.trim_ascii();
    let words = || Words { rest: line };
    let count = words().take(3).count();
    let is_rule = |line: &[u8]| {
        line.len() >= 2
            && line.iter().all(|byte| b"-+| ".contains(byte) || *byte >= 0x80)
            && (line.contains(&b'-')
                || line.starts_with("\u{2500}".as_bytes().get(..1).unwrap_or_default()))
    };
    is_record(trimmed)
        || trimmed.starts_with(b"INSERT INTO ")
        || trimmed.starts_with(b"CREATE TABLE ")
        || trimmed.starts_with(b"PRAGMA ")
        || trimmed.starts_with(b"BEGIN TRANSACTION")
        || is_rule(trimmed)
        || (count > 0
            && words().all(|word| {
                let name = text::unquoted(word);
                COLUMNS.contains(&name)
            }))
        || (count > 1
            && (line.contains(&b'=') || line.contains(&b'|'))
            && words().next().is_some_and(|word| COLUMNS.contains(&word)))
        || (count > 1
            && words().any(|word| {
                let text = text::unquoted(word);
                let head = text.get(..64).unwrap_or(text);
                text::is_key(text, 4096)
                    || text::is_bookkeeping(text)
                    || text.starts_with(ENCRYPTED_PREFIX)
                    || stored(head).is_some()
            }))
}

/// Whether the line separates the rows of an expanded table, of psql or MySQL.
fn is_record(line: &[u8]) -> bool {
    line.starts_with(b"-[ RECORD ")
        || line.starts_with(b"***") && line.ends_with(b" row ***************************")
}

/// Whether the line is nothing but base64, of a width to which tools wrap.
fn is_wrapped(line: &[u8]) -> bool {
    let is_digit = |byte: &u8| byte.is_ascii_alphanumeric() || b"+/=-_".contains(byte);
    line.len() <= 128 && line.iter().all(is_digit)
}

impl Rows {
    /// Adds the line to the cell that is open. Returns what remains of the line, for the row.
    fn continue_cell<'l>(&mut self, line: &'l [u8], context: &mut Context) -> Option<&'l [u8]> {
        let Some(cell) = &mut self.cell else {
            return Some(line);
        };
        let trimmed = line.trim_ascii();
        let (part, rest, goes_on) = match cell.goes_on {
            GoesOn::Quoted(quote) => match line.iter().position(|byte| *byte == quote) {
                Some(end) => {
                    let (part, rest) = line.split_at(end);
                    (part, rest.get(1..), false)
                }
                None => (line, None, true),
            },
            GoesOn::Marked => {
                let mut words = Words { rest: line };
                let word = words.next().unwrap_or_default();
                // The mark follows the column, whose width is that of the first line.
                match word.split_at_checked(cell.width) {
                    Some((part, rest)) => (part, None, rest == b"+"),
                    None => (word, None, words.next() == Some(b"+")),
                }
            }
            GoesOn::Maybe
                if WRAPS.contains(&cell.width)
                    && is_wrapped(trimmed)
                    && !trimmed.is_empty()
                    && trimmed.len() <= cell.width
                    && stored(trimmed).is_none() =>
            {
                (trimmed, None, trimmed.len() == cell.width)
            }
            GoesOn::Maybe => {
                self.end_cell(context);
                return Some(line);
            }
        };
        cell.text.extend_from_slice(part.trim_ascii());
        if cell.text.len() > context.limits.value.saturating_mul(2) {
            let limit = context.limits.value;
            context.stop(context.here(), Some(FORM), FaultKind::TooLong { limit });
            return None;
        }
        if !goes_on {
            self.end_cell(context);
        }
        rest
    }

    fn end_cell(&mut self, context: &mut Context) {
        let Some(cell) = self.cell.take() else { return };
        match stored(&cell.text) {
            Some(bytes) => self.value(bytes, cell.place, context),
            None => self.fault(FaultKind::CutShort, context),
        }
    }

    /// Reports a fault in place of the key's value.
    fn fault(&mut self, kind: FaultKind, context: &mut Context) {
        let key = self.key.as_ref().map(|(key, _)| key.clone());
        context.give(Err(Fault { key, ..Fault::new(context.here(), Some(FORM), kind) }));
        self.used = true;
    }

    fn lone_key(&mut self, context: &mut Context) {
        if let Some((key, place)) = self.key.take()
            && !self.used
            && !text::is_bookkeeping(&key)
        {
            let fault = Fault::new(place, Some(FORM), FaultKind::NoValue);
            context.give(Err(Fault { key: Some(key), ..fault }));
        }
        self.used = false;
    }

    fn value(&mut self, bytes: Vec<u8>, place: Place, context: &mut Context) {
        let (key, place) = match &self.key {
            Some((key, place)) => (Some(key.clone()), *place),
            None => (None, place),
        };
        // The old value, after the value, has another revision.
        let revision = self.revision.take();
        self.used = true;
        context.offer(Candidate { key, revision, ..Candidate::new(FORM, place, bytes) });
    }
}

impl LineMachine for Rows {
    fn line(&mut self, line: &[u8], context: &mut Context) {
        let Some(line) = self.continue_cell(line, context) else {
            return;
        };
        let place = context.here();
        let trimmed = line.trim_ascii();
        if trimmed.is_empty() || is_record(trimmed) {
            self.lone_key(context);
            self.revision = None;
            return;
        }
        let limit = context.limits.key;
        if text::contains(line, ENCRYPTED_PREFIX) || text::contains(line, PROTOBUF_PREFIX) {
            let key =
                Words { rest: line }.map(text::unquoted).find(|word| text::is_key(word, limit));
            let key = key.map(<[u8]>::to_vec);
            context.stop_at(key, place, FORM, FaultKind::PrintedAsText);
            return;
        }
        let mut number = None;
        let mut before = &b""[..];
        let mut found = false;
        let mut words = Words { rest: line };
        while let Some(word) = words.next() {
            let text = text::unquoted(word);
            let decoded = if word.len() < 8 { None } else { digits::decode(word) };
            let key = match &decoded {
                _ if text::is_key(text, limit) || text::is_bookkeeping(text) => Some(text),
                Some((bytes, _)) if bytes.len() >= 8 && text::is_key(bytes, limit) => {
                    Some(bytes.as_slice())
                }
                _ => None,
            };
            let mut means_something = true;
            if let Some(key) = key {
                self.lone_key(context);
                self.revision = number.or(self.revision.take());
                self.key = Some((key.to_vec(), place));
            } else if let Some(cell) = cell(word, words.rest, place) {
                self.cell = Some(cell);
            } else if let Some(bytes) =
                decoded.as_ref().map(|(bytes, _)| bytes).filter(|bytes| is_stored(bytes))
            {
                self.value(bytes.clone(), place, context);
            } else if number.is_none() && text::number(text).is_some() {
                number = text::number(text);
                if before.strip_suffix(b":").unwrap_or(before) == b"id" {
                    self.revision = number;
                }
            } else {
                let bytes = decoded.map(|(bytes, _)| bytes).unwrap_or_default();
                if bytes.len() >= 3 && ENCRYPTED_PREFIX.starts_with(&bytes) {
                    self.fault(FaultKind::CutShort, context);
                } else if Guard::finds(word) {
                    self.fault(FaultKind::UnrecognizedEncrypted, context);
                } else if bytes.len() >= 24 && word.iter().any(u8::is_ascii_digit) {
                    self.fault(FaultKind::Unrecognized, context);
                } else {
                    means_something = false;
                }
            }
            found |= means_something;
            before = text;
        }
        if !found && !text::is_printable(line) {
            context.stop(place, Some(FORM), FaultKind::Trailing);
        }
    }

    fn finish(&mut self, context: &mut Context) {
        if self.cell.as_ref().is_some_and(|cell| cell.goes_on != GoesOn::Maybe) {
            self.cell = None;
            self.fault(FaultKind::CutShort, context);
        }
        self.end_cell(context);
        self.lone_key(context);
    }
}

/// Returns the cell that a word begins, if it may go on in the next line. `rest` is the line after the word.
fn cell(word: &[u8], rest: &[u8], place: Place) -> Option<Cell> {
    let rest = rest.trim_ascii();
    let (text, goes_on) = match word {
        [quote @ (b'"' | b'\''), text @ ..] if !text.contains(quote) => {
            (text, GoesOn::Quoted(*quote))
        }
        [text @ .., b'+'] if matches!(rest, b"" | b"|") && stored(word).is_none() => {
            (text, GoesOn::Marked)
        }
        _ if rest.is_empty() && is_wrapped(word) => (word, GoesOn::Maybe),
        _ => return None,
    };
    stored(text)?;
    Some(Cell { text: text.to_vec(), width: text.len(), goes_on, place })
}
