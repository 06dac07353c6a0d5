//! Raw values, and the plain output of etcdctl: `get`, `get --print-value-only`, `watch`, `put --prev-kv` and `txn`.
//!
//! etcdctl prints the key, a line end, the value and a line end. Values contain line ends, so a value ends where a line follows that can only be a
//! key, or before a value if there are no keys. A value in protobuf states its length.

mod terminal;

use alloc::vec::Vec;

use self::terminal::{ends_in_crlf, prompt_follows, without_carriage_returns};
use crate::context::{Candidate, Context, Machine};
use crate::digits;
use crate::entry::{LineEnd, Place};
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::kubernetes::{self, Length};
use crate::text::{self, WATCH_PROGRESS, Word};
use crate::{ENCRYPTED_PREFIX, PROTOBUF_PREFIX};

/// Used bytes are removed from the buffer when there are this many.
const COMPACT_AT: usize = 64 * 1024;

#[derive(Default)]
pub(crate) struct Plain {
    buffer: Vec<u8>,
    /// Where the bytes begin that are not used yet.
    start: usize,
    /// Within a value: how far it was searched for its end.
    searched: usize,
    value: Option<Place>,
    key: Option<(Vec<u8>, Place)>,
    /// The first key's path up to its second slash. Later keys have the same, or a value follows that is recognized.
    root: Vec<u8>,
    keyed: bool,
    /// Whether `PUT` or `DELETE` was seen.
    watch: bool,
    deleted: bool,
    /// Whether the output is a transaction's: an empty line stands before each answer.
    transaction: bool,
    /// Whether lines end with `\r\n`.
    crlf: bool,
    many: bool,
}

/// Whether something was found.
enum Found {
    Yes,
    No,
    /// More bytes are needed.
    More,
}

impl Plain {
    fn rest(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }

    /// Uses `len` bytes outside of values.
    fn skip(&mut self, len: usize, context: &mut Context) {
        context.advance(self.rest().get(..len).unwrap_or_default());
        self.start += len;
    }

    /// Reads a line before a value. Returns whether to go on.
    fn head(&mut self, end: bool, context: &mut Context) -> bool {
        let rest = self.rest();
        if rest.is_empty() {
            return false;
        }
        let heads = [ENCRYPTED_PREFIX, PROTOBUF_PREFIX, text::CBOR_PREFIX];
        if self.key.is_some()
            || text::begins_stored(rest)
            || rest.starts_with(PROTOBUF_PREFIX)
            || rest.starts_with(text::CBOR_PREFIX)
            || rest.first() == Some(&b'{')
        {
            return self.begin(end, context);
        }
        if !end && text::may_begin(rest, &heads) {
            return false;
        }
        if end && text::is_prompt(rest) {
            self.skip(rest.len(), context);
            return true;
        }
        let limit = context.limits.key;
        let Some(len) = rest.iter().take(limit.saturating_add(2)).position(|byte| *byte == b'\n')
        else {
            if rest.len() > limit || end {
                let kind = if text::is_key(rest, limit) {
                    FaultKind::NoValue
                } else {
                    FaultKind::Trailing
                };
                self.stop(kind, context);
            }
            return false;
        };
        let (line, _) = rest.split_at(len);
        let crlf = line.ends_with(b"\r");
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(word) = Word::of(line) {
            self.watch |= matches!(word, Word::Put | Word::Delete | Word::Progress);
            self.deleted = word == Word::Delete;
            self.transaction |= word == Word::Transaction;
        } else if text::is_key(line, limit) {
            let key = line.to_vec();
            if !self.keyed {
                self.root = text::root(&key).to_vec();
                self.crlf = crlf;
            }
            self.keyed = true;
            self.key = Some((key, context.here()));
        } else if !(line.trim_ascii().is_empty()
            || line.iter().all(u8::is_ascii_digit)
            || text::is_prompt(line))
        {
            self.stop(
                if context.seen() { FaultKind::Trailing } else { FaultKind::Unrecognized },
                context,
            );
            return false;
        }
        self.skip(len + 1, context);
        true
    }

    /// Begins a value, or skips an empty one.
    fn begin(&mut self, end: bool, context: &mut Context) -> bool {
        let rest = self.rest();
        if !end && rest == b"\r" {
            return false;
        }
        let blank = match rest {
            [b'\n', ..] => 1,
            [b'\r', b'\n', ..] => 2,
            _ => 0,
        };
        if blank > 0 {
            let key = self.key.take();
            if !self.deleted
                && let Some((key, place)) = key
            {
                let fault = Fault::new(place, Some(Form::EtcdctlPlain), FaultKind::NoValue);
                context.give(Err(Fault { key: Some(key), ..fault }));
            }
            self.skip(blank, context);
            return true;
        }
        self.value = Some(self.key.as_ref().map_or(context.here(), |(_, place)| *place));
        self.searched = self.start;
        true
    }

    /// Searches for the end of the value. Returns whether to go on.
    fn search(&mut self, end: bool, context: &mut Context) -> bool {
        let rest = self.rest();
        let is_new = self.searched == self.start && !self.crlf;
        // Only from its first byte on, a value in protobuf is known to be one.
        if is_new && !end && text::may_begin(rest, &[PROTOBUF_PREFIX]) {
            return false;
        }
        if is_new && rest.starts_with(PROTOBUF_PREFIX) {
            match kubernetes::protobuf_len(rest) {
                Length::Exact(len) => match rest.get(len) {
                    None if !end => return false,
                    None | Some(b'\n') => {
                        let last = end && rest.len() <= len + 1;
                        context.advance(rest.get(..len).unwrap_or_default());
                        self.searched += len;
                        return self.cut(last, context);
                    }
                    Some(_) => {}
                },
                Length::More if !end => return self.fits(context),
                Length::More | Length::Unknown => {}
            }
        }
        loop {
            let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
            let Some(line_end) = unsearched.iter().position(|byte| *byte == b'\n') else {
                context.advance_in_line(unsearched.len());
                self.searched = self.buffer.len();
                return if end { self.cut(true, context) } else { self.fits(context) };
            };
            context.advance_in_line(line_end);
            self.searched += line_end;
            let after = unsearched.get(line_end + 1..).unwrap_or_default();
            let is_line_end = !self.crlf
                || self.searched.checked_sub(1).and_then(|at| self.buffer.get(at)) == Some(&b'\r');
            let found = if is_line_end { self.boundary(after, end, context) } else { Found::No };
            match found {
                Found::Yes => return self.cut(false, context),
                Found::More => return self.fits(context),
                Found::No => {
                    context.advance(b"\n");
                    self.searched += 1;
                }
            }
        }
    }

    /// Whether the value so far is within the limit. Returns false in any case: more bytes are needed.
    fn fits(&mut self, context: &mut Context) -> bool {
        let limit = context.limits.value;
        if self.searched - self.start > limit.saturating_add(2)
            || self.rest().len()
                > limit.saturating_add(context.limits.key).saturating_add(COMPACT_AT)
        {
            self.stop(FaultKind::TooLong { limit }, context);
        }
        false
    }

    /// Whether a value or key begins after a line end.
    fn boundary(&self, after: &[u8], end: bool, context: &Context) -> Found {
        let more = |possible: bool| if possible && !end { Found::More } else { Found::No };
        // Plaintext objects may contain such a line.
        if self.rest().starts_with(ENCRYPTED_PREFIX) || self.rest().first() == Some(&b'{') {
            match prompt_follows(after, end) {
                Found::No => {}
                found => return found,
            }
        }
        if !self.keyed {
            let heads: [&[u8]; 5] = [
                ENCRYPTED_PREFIX,
                b"k8s\0\n",
                b"k8s\0\r\n",
                b"{\"kind\":\"",
                b"{\"apiVersion\":\"",
            ];
            if heads.iter().any(|head| after.starts_with(head)) {
                return Found::Yes;
            }
            return more(!after.is_empty() && text::may_begin(after, &heads) || after.is_empty());
        }
        if self.watch {
            let heads: [&[u8]; 5] =
                [b"PUT\n/", b"DELETE\n/", b"PUT\r\n/", b"DELETE\r\n/", WATCH_PROGRESS];
            if heads.iter().any(|head| after.starts_with(head)) {
                return Found::Yes;
            }
            if !end && text::may_begin(after, &heads) {
                return Found::More;
            }
        }
        if after.is_empty() {
            return more(true);
        }
        if self.transaction {
            let heads: [&[u8]; 2] = [b"\nOK\n", b"\r\nOK\r\n"];
            if heads.iter().any(|head| after.starts_with(head)) {
                return Found::Yes;
            }
            if !end && text::may_begin(after, &heads) {
                return Found::More;
            }
        }
        let limit = context.limits.key;
        if !after.starts_with(b"/")
            && !text::may_begin(after, &[b"compact_rev_key\n", b"compact_rev_key\r\n"])
            && !after.starts_with(text::COMPACT_REV_KEY)
        {
            return Found::No;
        }
        let Some(len) = after.iter().take(limit.saturating_add(2)).position(|byte| *byte == b'\n')
        else {
            let line = after.strip_suffix(b"\r").unwrap_or(after);
            return more(line.len() <= limit && text::is_graphic(line));
        };
        let (line, value) = after.split_at(len);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !text::is_key(line, limit) {
            return Found::No;
        }
        if line == text::COMPACT_REV_KEY
            || self.root.len() >= text::ROOT_MIN && line.starts_with(&self.root)
        {
            return Found::Yes;
        }
        let value = value.get(1..).unwrap_or_default();
        if text::begins_stored(value) {
            return Found::Yes;
        }
        more(text::may_begin(value, &[ENCRYPTED_PREFIX, b"k8s\0\n"]))
    }

    /// Reports the value before `searched`, and skips the line end. `last` says that nothing follows.
    fn cut(&mut self, last: bool, context: &mut Context) -> bool {
        let mut bytes = self.buffer.get(self.start..self.searched).unwrap_or_default().to_vec();
        self.start = self.searched;
        let place = self.value.take().unwrap_or(context.here());
        let mut line_end = LineEnd::Absent;
        if self.rest().first() == Some(&b'\n') {
            context.advance(b"\n");
            self.start += 1;
            line_end = LineEnd::Removed;
            if self.crlf {
                bytes.truncate(bytes.strip_suffix(b"\r").unwrap_or(&bytes).len());
            }
            // The empty line before the next answer, unless one answer has both values.
            if self.transaction && !last && bytes.ends_with(b"\n") {
                line_end = LineEnd::MaybeAdded { len: 1 };
            }
        } else if last && (self.keyed || self.many) {
            let end = if self.crlf {
                LineEnd::of(&bytes)
            } else if bytes.ends_with(b"\n\0") {
                line_end = LineEnd::MaybeAdded { len: 2 };
                LineEnd::Absent
            } else if bytes.ends_with(b"\n") {
                LineEnd::MaybeAdded { len: 1 }
            } else {
                LineEnd::Absent
            };
            if let LineEnd::MaybeAdded { len } = end {
                bytes.truncate(bytes.len().saturating_sub(len.into()));
                line_end = LineEnd::Removed;
            }
        } else if last {
            line_end = LineEnd::of(&bytes);
        }
        if last && bytes.ends_with(b"\n") && bytes.starts_with(ENCRYPTED_PREFIX) && !self.crlf {
            // etcdctl added one line end, another tool the second.
            line_end = match line_end {
                LineEnd::Removed => LineEnd::MaybeAdded { len: 1 },
                other => other,
            };
        }
        let mut crlf_undone = false;
        // Without keys, only the values say whether carriage returns were added.
        let has_crlf = !self.keyed && ends_in_crlf(&bytes, line_end);
        if has_crlf && line_end == LineEnd::Removed {
            line_end = LineEnd::MaybeAdded { len: 1 };
        }
        if self.crlf || has_crlf {
            let (value, end) = match line_end {
                LineEnd::MaybeAdded { len } if has_crlf => {
                    bytes.split_at(bytes.len().saturating_sub(len.into()))
                }
                _ => (&bytes[..], &[][..]),
            };
            let len = value.len();
            let undone = without_carriage_returns(value);
            crlf_undone = undone.len() != len;
            bytes = [&undone, end].concat();
        }
        let key = self.key.take().map(|(key, _)| key);
        let form = match (&key, self.many || !last) {
            (Some(_), _) => Form::EtcdctlPlain,
            (None, true) if !self.keyed => Form::EtcdctlValueOnly,
            (None, _) => Form::Raw,
        };
        // `jq -r '.kvs[] | (.key | @base64d), .value'` prints keys as they are, and values in base64.
        let mut form = form;
        if key.is_some()
            && !text::begins_stored(&bytes)
            && let Some((decoded, digits)) = digits::decode(&bytes)
            && digits::is_plausible(&decoded)
        {
            bytes = decoded;
            form = digits;
        }
        self.many |= !last;
        if key.as_deref() != Some(text::COMPACT_REV_KEY) {
            context.offer(Candidate {
                key,
                line_end,
                crlf_undone,
                ..Candidate::new(form, place, bytes)
            });
        }
        true
    }

    fn stop(&mut self, kind: FaultKind, context: &mut Context) {
        let form = if self.keyed { Form::EtcdctlPlain } else { Form::Raw };
        let place = self.key.as_ref().map_or(context.here(), |(_, place)| *place);
        let key = self.key.take().map(|(key, _)| key);
        context.stop_at(key, place, form, kind);
        self.buffer = Vec::new();
        self.start = 0;
    }

    fn run(&mut self, end: bool, context: &mut Context) {
        while !context.stopped() {
            let goes_on = if self.value.is_some() {
                self.search(end, context)
            } else {
                self.head(end, context)
            };
            if !goes_on {
                break;
            }
        }
        if self.start >= COMPACT_AT || self.start == self.buffer.len() {
            self.buffer.drain(..self.start.min(self.buffer.len()));
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
        }
    }
}

impl Machine for Plain {
    fn push(&mut self, piece: &[u8], context: &mut Context) {
        self.buffer.extend_from_slice(piece);
        self.run(false, context);
    }

    fn finish(&mut self, context: &mut Context) {
        self.run(true, context);
        if let Some((key, place)) = self.key.take()
            && !self.deleted
            && !context.stopped()
        {
            context.stop_at(Some(key), place, Form::EtcdctlPlain, FaultKind::NoValue);
        }
    }
}
