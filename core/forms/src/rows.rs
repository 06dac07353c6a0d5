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
}

/// Splits a line into words. Quotes keep a word together.
struct Words<'l> {
    rest: &'l [u8],
}

impl<'l> Iterator for Words<'l> {
    type Item = &'l [u8];

    fn next(&mut self) -> Option<&'l [u8]> {
        // The borders of a table, U+2500 to U+257F, begin with these bytes in UTF-8.
        let is_separator =
            |byte: u8| b" \t|,;()=".contains(&byte) || matches!(byte, 0xe2 | 0x94 | 0x95);
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
    (text::begins_stored(&bytes)
        || text::begins_json_object(&bytes)
        || bytes.starts_with(text::CBOR_PREFIX))
    .then_some(bytes)
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
    trimmed.starts_with(b"-[ RECORD ")
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

impl Rows {
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

    fn value(&mut self, bytes: Vec<u8>, context: &mut Context) {
        let (key, place) = match &self.key {
            Some((key, place)) => (Some(key.clone()), *place),
            None => (None, context.here()),
        };
        // The old value, after the value, has another revision.
        let revision = self.revision.take();
        self.used = true;
        context.offer(Candidate { key, revision, ..Candidate::new(FORM, place, bytes) });
    }
}

impl LineMachine for Rows {
    fn line(&mut self, line: &[u8], context: &mut Context) {
        let place = context.here();
        let trimmed = line.trim_ascii();
        if trimmed.is_empty() || trimmed.starts_with(b"-[ RECORD ") {
            self.lone_key(context);
            self.revision = None;
            return;
        }
        if text::contains(line, ENCRYPTED_PREFIX) || text::contains(line, PROTOBUF_PREFIX) {
            let key = Words { rest: line }
                .map(text::unquoted)
                .find(|word| text::is_key(word, context.limits.key));
            let key = key.map(<[u8]>::to_vec);
            context.stop_at(key, place, FORM, FaultKind::PrintedAsText);
            return;
        }
        let mut number = None;
        let mut before = &b""[..];
        let mut found = false;
        for word in (Words { rest: line }) {
            let text = text::unquoted(word);
            if text::is_key(text, context.limits.key) || text::is_bookkeeping(text) {
                self.lone_key(context);
                self.revision = number.or(self.revision.take());
                self.key = Some((text.to_vec(), place));
                found = true;
            } else if let Some(bytes) = stored(word) {
                self.value(bytes, context);
                found = true;
            } else if let Some((key, _)) = digits::decode(word)
                .filter(|(bytes, _)| text::is_key(bytes, context.limits.key) && bytes.len() >= 8)
            {
                self.lone_key(context);
                self.revision = number.or(self.revision.take());
                self.key = Some((key, place));
                found = true;
            } else if number.is_none() && text::number(text).is_some() {
                number = text::number(text);
                if before == b"id" {
                    self.revision = number;
                }
            } else {
                let digits = digits::decode(word).map(|(bytes, _)| bytes).unwrap_or_default();
                let is_head = digits.len() >= 3 && ENCRYPTED_PREFIX.starts_with(&digits);
                if Guard::finds(word) || is_head {
                    let kind = if is_head {
                        FaultKind::CutShort
                    } else {
                        FaultKind::UnrecognizedEncrypted
                    };
                    let key = self.key.as_ref().map(|(key, _)| key.clone());
                    context.give(Err(Fault { key, ..Fault::new(place, Some(FORM), kind) }));
                    self.used = true;
                    found = true;
                } else if digits.len() >= 24 && self.key.is_some() && !self.used {
                    // A value that is none of Kubernetes.
                    let key = self.key.as_ref().map(|(key, _)| key.clone());
                    context.give(Err(Fault {
                        key,
                        ..Fault::new(place, Some(FORM), FaultKind::Unrecognized)
                    }));
                    self.used = true;
                }
            }
            before = text;
        }
        if !found && !text::is_printable(line) {
            context.stop(place, Some(FORM), FaultKind::Trailing);
        }
    }

    fn finish(&mut self, context: &mut Context) {
        self.lone_key(context);
    }
}
