//! Rows of kine's table, as psql, sqlite3 and CSV print them: aligned or not, expanded, with borders, quoted, as INSERT statements.
//!
//! A row is read by its words, whatever stands between them: the key is the word that is a path, values are the words that decode to a stored
//! value, the revision is the number before the key. A value that is wrapped goes on in the next line, in the same column.

mod cell;
mod words;

use alloc::vec::Vec;

use self::cell::Cell;
use self::words::{Word, Words};

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
    /// The values of the last line, which may go on in the next one.
    cells: Vec<Cell>,
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
    let words = || Words::of(line).map(|word| word.text);
    let count = words().take(3).count();
    let is_rule = |line: &[u8]| {
        line.len() >= 2
            && line.iter().all(|byte| b"-+| ".contains(byte) || *byte >= 0x80)
            && (line.contains(&b'-')
                || line.starts_with("\u{2500}".as_bytes().get(..1).unwrap_or_default()))
    };
    // The options of a command, or a comment of SQL.
    if trimmed.starts_with(b"--") && !is_rule(trimmed) {
        return false;
    }
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
                let is_key =
                    |(bytes, _): (Vec<u8>, Form)| bytes.len() >= 8 && text::is_key(&bytes, 4096);
                text::is_key(text, 4096)
                    || text::is_bookkeeping(text)
                    || digits::decode(text.get(..512).unwrap_or(text)).is_some_and(is_key)
                    || text.starts_with(ENCRYPTED_PREFIX)
                    || stored(head).is_some()
            }))
}

/// Whether the line separates the rows of an expanded table, of psql or MySQL.
fn is_record(line: &[u8]) -> bool {
    line.starts_with(b"-[ RECORD ")
        || line.starts_with(b"***") && line.ends_with(b" row ***************************")
}

impl Rows {
    /// Adds the line to the cells of the line before it. Returns what remains of the line, for the row.
    fn continue_cells<'l>(&mut self, line: &'l [u8], context: &mut Context) -> Option<&'l [u8]> {
        let mut rest = Some(line);
        if let Some(after) = self.cells.last_mut().and_then(|cell| cell.quoted(line)) {
            rest = after;
        } else if !self.cells.is_empty() {
            // psql puts marks between the columns.
            let is_mark = |word: &Word<'_>| matches!(word.text, b"+" | b":" | b"." | b">");
            let words = || Words::of(line).filter(|word| !is_mark(word));
            let found = |word: Word<'_>| self.cells.iter().position(|cell| cell.continues(word));
            if words().next().is_none() || !words().all(|word| found(word).is_some()) {
                self.end_cells(Some(line), context);
                return Some(line);
            }
            for word in words() {
                if let Some(cell) = self.cells.iter_mut().find(|cell| cell.continues(word)) {
                    cell.push(word);
                }
            }
            rest = None;
        }
        let limit = context.limits.value;
        if self
            .cells
            .iter()
            .any(|cell| cell.text.len() > limit.saturating_mul(2).saturating_add(16))
        {
            context.stop(context.here(), Some(FORM), FaultKind::TooLong { limit });
            return None;
        }
        rest
    }

    /// Reports the values of the last line. They are not complete if the line after it begins with what looks like more of them.
    fn end_cells(&mut self, next: Option<&[u8]>, context: &mut Context) {
        if self.cells.is_empty() {
            return;
        }
        let is_known = |word: Word<'_>| {
            let text = text::unquoted(word.text);
            text::is_key(text, context.limits.key)
                || text::is_bookkeeping(text)
                || stored(word.text).is_some()
        };
        let goes_on = next.is_some_and(|line| {
            Words::of(line).any(|word| cell::may_be_part(word.text))
                && !Words::of(line).any(is_known)
        });
        for cell in core::mem::take(&mut self.cells) {
            let Cell { key, revision, place, .. } = &cell;
            let (key, place) = match key {
                Some((key, place)) => (Some(key.clone()), *place),
                None => (None, *place),
            };
            match cell.value().filter(|_| !goes_on) {
                Some(bytes) => {
                    let candidate = Candidate::new(FORM, place, bytes);
                    context.offer(Candidate { key, revision: *revision, ..candidate });
                }
                None => {
                    let fault = Fault::new(place, Some(FORM), FaultKind::CutShort);
                    context.give(Err(Fault { key, ..fault }));
                }
            }
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
}

impl LineMachine for Rows {
    fn line(&mut self, line: &[u8], context: &mut Context) {
        let Some(line) = self.continue_cells(line, context) else {
            return;
        };
        let place = context.here();
        let trimmed = line.trim_ascii();
        if trimmed.is_empty() || is_record(trimmed) {
            self.end_cells(None, context);
            self.lone_key(context);
            self.revision = None;
            return;
        }
        let limit = context.limits.key;
        if text::contains(line, ENCRYPTED_PREFIX) || text::contains(line, PROTOBUF_PREFIX) {
            self.end_cells(None, context);
            let mut words = Words::of(line).map(|word| text::unquoted(word.text));
            let key = words.find(|word| text::is_key(word, limit)).map(<[u8]>::to_vec);
            context.stop_at(key, place, FORM, FaultKind::PrintedAsText);
            return;
        }
        let mut number = None;
        let mut before = &b""[..];
        let mut found = false;
        let line_begin = Words::of(line).next().map_or(0, |word| word.column);
        let mut words = Words::of(line);
        while let Some(word) = words.next() {
            let text = text::unquoted(word.text);
            let decoded = if word.text.len() < 8 { None } else { digits::decode(word.text) };
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
            } else if let Some(cell) = Cell::begin(word, words.rest(), line_begin, place) {
                // The old value, after the value, has another revision.
                let cell = cell.of_row(self.key.clone(), self.revision.take(), found);
                self.used = true;
                self.cells.push(cell);
            } else if self.cells.last_mut().is_some_and(|cell| cell.push_after_space(word)) {
            } else if number.is_none() && text::number(text).is_some() {
                number = text::number(text);
                let name = before.strip_suffix(b":").unwrap_or(before);
                if matches!(name, b"id" | b"mod_revision" | b"modRevision") {
                    self.revision = number;
                }
            } else {
                let bytes = decoded.map(|(bytes, _)| bytes).unwrap_or_default();
                if bytes.len() >= 3 && ENCRYPTED_PREFIX.starts_with(&bytes) {
                    self.fault(FaultKind::CutShort, context);
                } else if Guard::finds(word.text) {
                    self.fault(FaultKind::UnrecognizedEncrypted, context);
                } else if bytes.len() >= 24 && text.iter().any(u8::is_ascii_digit) {
                    self.fault(FaultKind::Unrecognized, context);
                } else {
                    means_something = false;
                }
            }
            found |= means_something;
            before = text;
        }
        if !found && !text::is_printable(line) {
            self.end_cells(None, context);
            context.stop(place, Some(FORM), FaultKind::Trailing);
        }
    }

    fn finish(&mut self, context: &mut Context) {
        self.end_cells(None, context);
        self.lone_key(context);
    }
}
