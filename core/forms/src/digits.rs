//! Hex and base64 as text: one value in one line, wrapped, or one value a line.
//!
//! A line begins a value if it decodes to the beginning of one (`k8s:enc:`, Kubernetes' protobuf or JSON, a key). Any other line continues the value
//! before it, which requires that all lines before it have the same width.

mod bare;
mod decode;

use alloc::vec::Vec;

pub(crate) use self::bare::is_margin;
use self::bare::{bare, digits_of};
use self::decode::{Base64, Hex, NotADigit, hex_mark};
pub(crate) use self::decode::{base64, decode, hex_digit, is_plausible};
use crate::ENCRYPTED_PREFIX;
use crate::context::Context;
use crate::entry::Place;
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::lines::LineMachine;
use crate::nested::Nested;
use crate::resource;
use crate::text::{self, Word};

/// Which digits the text has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Hex,
    Base64,
}

pub(crate) struct Digits {
    kind: Kind,
    value: Option<Value>,
    /// The key of the next value, from a line before it.
    key: Option<(Vec<u8>, Place)>,
    /// Whether `DELETE` of a watch was seen, whose key has no value.
    deleted: bool,
    /// The root of the first key. Text that was encoded may have lines that look like a key otherwise.
    root: Vec<u8>,
}

/// Tools wrap lines at up to this many characters. A longer line is a whole value, and nothing continues it.
const WRAP_MAX: usize = 160;

/// The widths to which tools wrap: xxd, OpenSSL and PEM, SQLite, base64 and Postgres, and those that people choose.
const WRAPS: [usize; 8] = [60, 64, 72, 76, 80, 100, 120, 128];

/// The value that is being read.
struct Value {
    decoder: Decoder,
    nested: Nested,
    place: Place,
    nature: Nature,
    /// What was decoded, as long as the nature is not known.
    head: Vec<u8>,
    /// The width of the first line, and how many there were.
    width: usize,
    lines: u64,
    /// Whether a shorter line ended the value.
    ended: bool,
}

impl Value {
    /// Whether the next line may continue the value.
    fn continues(&self) -> bool {
        self.lines == 0 || self.width <= WRAP_MAX
    }

    /// Whether a value may have ended after its first line, so that a shorter line may be another value that is not recognized.
    fn may_have_ended(&self, text: &[u8], width: usize) -> bool {
        let is_spaced = text.iter().any(|byte| b" \t,".contains(byte));
        self.nature == Nature::Stored
            && self.lines == 1
            && width < self.width
            && self.decoder.is_whole()
            && !WRAPS.contains(&self.width)
            && !is_spaced
    }
}

/// What a value decodes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// Not known yet: a key, so far.
    Key,
    /// A stored value. Another one may follow in the next line.
    Stored,
    /// Another form, such as the output of etcdctl, in which stored values may begin anywhere.
    Document,
}

impl Nature {
    fn of(head: &[u8], max: usize) -> Self {
        let heads = [ENCRYPTED_PREFIX, b"k8s\0\n", text::CBOR_PREFIX];
        if heads.iter().any(|prefix| head.starts_with(prefix)) || text::begins_json_object(head) {
            Self::Stored
        } else if text::is_key(head, max) || head == b"/" || text::may_begin(head, &heads) {
            Self::Key
        } else {
            Self::Document
        }
    }
}

#[derive(Clone)]
enum Decoder {
    Hex(Hex),
    Base64(Base64),
}

impl Decoder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Hex => Self::Hex(Hex::default()),
            Kind::Base64 => Self::Base64(Base64::default()),
        }
    }

    fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotADigit> {
        match self {
            Self::Hex(hex) => hex.push(text, out),
            Self::Base64(base64) => base64.push(text, out),
        }
    }

    /// Whether the digits so far make whole bytes.
    fn is_whole(&self) -> bool {
        match self {
            Self::Hex(hex) => hex.is_whole(),
            Self::Base64(base64) => base64.is_whole(),
        }
    }

    fn finish(&self, out: &mut Vec<u8>) -> Result<(), NotADigit> {
        match self {
            Self::Hex(hex) => hex.is_whole().then_some(()).ok_or(NotADigit),
            Self::Base64(base64) => base64.finish(out),
        }
    }
}

/// Decodes the first line of a text, or as many lines as have digits of this kind. Returns `None` if the first one has not. `whole` says that nothing
/// follows the text; otherwise its last line may be cut off.
pub(crate) fn decode_head(text: &[u8], kind: Kind, lines: usize, whole: bool) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(kind);
    let mut out = Vec::new();
    let mut all = text.split(|byte| *byte == b'\n').enumerate().peekable();
    while let Some((index, line)) = all.next().filter(|(index, _)| *index < lines) {
        let is_cut = all.peek().is_none() && !whole;
        let (form, digits) = digits_of(line);
        let (form, digits) = match digits {
            // The closing quotation mark is not there yet.
            [b'X' | b'x', b'\'', rest @ ..] if is_cut => (Some(Form::SqliteHex), rest),
            [b'"' | b'\'', rest @ ..] if is_cut => hex_mark(rest),
            _ => (form, digits),
        };
        // The last character may be cut: of `\x` or `0x`, two.
        let cuts = if is_cut { 3 } else { 1 };
        let decoded = (0..cuts).any(|less| {
            let Some(digits) = digits.get(..digits.len().saturating_sub(less)) else {
                return false;
            };
            let mut attempt = decoder.clone();
            let len = out.len();
            if attempt.push(digits, &mut out).is_ok() {
                decoder = attempt;
                return true;
            }
            out.truncate(len);
            false
        });
        if !decoded || (kind == Kind::Base64 && form.is_some()) {
            if index == 0 {
                return None;
            }
            break;
        }
    }
    // The text may end within a byte.
    let _ = decoder.finish(&mut out);
    (!out.is_empty()).then_some(out)
}

impl Digits {
    pub(crate) fn new(kind: Kind) -> Self {
        Self { kind, value: None, key: None, deleted: false, root: Vec::new() }
    }

    /// Whether the line begins a value, or is a key.
    fn is_first(&self, text: &[u8], context: &Context) -> bool {
        let Some(value) = &self.value else {
            return true;
        };
        if value.nature == Nature::Document {
            return value.ended || !value.continues();
        }
        let mut out = Vec::new();
        // Enough for the longest beginning that is searched for, with six characters for a byte.
        let head = text.get(..16 * 6).unwrap_or(text);
        let _ = Decoder::new(self.kind).push(head, &mut out);
        if text::begins_stored(&out) || text::begins_json_object(&out) {
            return true;
        }
        if !value.decoder.is_whole()
            || out.first() != Some(&b'/')
            || text.len() > context.limits.key.saturating_mul(6)
        {
            return false;
        }
        let mut decoder = Decoder::new(self.kind);
        let mut key = Vec::new();
        decoder.push(text, &mut key).is_ok()
            && decoder.finish(&mut key).is_ok()
            && text::is_key(&key, context.limits.key)
            && (resource::has_known_prefix(&key)
                || self.root.len() >= text::ROOT_MIN && key.starts_with(&self.root))
    }

    /// Ends the value.
    fn end(&mut self, context: &mut Context) {
        let Some(Value { decoder, mut nested, place, nature, head, width: _, lines: _, ended: _ }) =
            self.value.take()
        else {
            return;
        };
        let mut out = Vec::new();
        let whole = decoder.finish(&mut out).is_ok();
        let mut key = head;
        key.extend_from_slice(&out);
        if whole && nature == Nature::Key && text::is_key(&key, context.limits.key) {
            self.lone_key(context);
            if self.root.is_empty() {
                self.root = text::root(&key).to_vec();
            }
            self.key = Some((key, place));
            return;
        }
        let key = self.key.take();
        if !whole {
            let fault = Fault::new(place, Some(nested.form), FaultKind::CutShort);
            context.give(Err(Fault { key: key.map(|(key, _)| key), ..fault }));
            return;
        }
        if let Decoder::Base64(base64) = &decoder
            && base64.is_url()
        {
            nested.form = Form::Base64Url;
        }
        if let Some((key, place)) = key {
            nested.key = Some((key, place));
        }
        nested.push(&out, place, context);
        nested.finish(false, context);
    }

    /// A key without a value.
    fn lone_key(&mut self, context: &mut Context) {
        if let Some((key, place)) = self.key.take()
            && !self.deleted
        {
            let fault = Fault::new(place, Some(Form::Base64), FaultKind::NoValue);
            context.give(Err(Fault { key: Some(key), ..fault }));
        }
    }

    fn fault(&mut self, words: &'static str, context: &mut Context) {
        let form = self.value.take().map_or(Form::Hex, |value| value.nested.form);
        context.stop(context.here(), Some(form), FaultKind::Syntax(words));
    }
}

impl LineMachine for Digits {
    fn line(&mut self, line: &[u8], context: &mut Context) {
        if let Some(word) = Word::of(line.trim_ascii()) {
            self.end(context);
            self.lone_key(context);
            self.deleted = word == Word::Delete;
            return;
        }
        // A code fence has no digits, and ends the value nevertheless.
        if text::is_prompt(line) || is_margin(line) {
            self.end(context);
            return;
        }
        let (form, text) = digits_of(line);
        if text.is_empty() {
            return;
        }
        let width = bare(line).len();
        if self.is_first(text, context) {
            self.end(context);
            let default = match self.kind {
                Kind::Hex => Form::Hex,
                Kind::Base64 => Form::Base64,
            };
            self.value = Some(Value {
                decoder: Decoder::new(self.kind),
                nested: Nested::new(form.unwrap_or(default), context),
                place: context.here(),
                nature: Nature::Key,
                head: Vec::new(),
                width,
                lines: 0,
                ended: false,
            });
        }
        let Some(value) = &mut self.value else { return };
        if value.ended
            || width > value.width
            || !value.continues()
            || value.may_have_ended(text, width)
        {
            self.fault("the line is not a value, and does not continue the one before it", context);
            return;
        }
        value.ended = width < value.width;
        let mut out = Vec::new();
        if value.decoder.push(text, &mut out).is_err() {
            self.fault("the line is not hex or base64", context);
            return;
        }
        value.lines += 1;
        if value.nature == Nature::Key {
            value.head.extend_from_slice(&out);
            value.nature = Nature::of(&value.head, context.limits.key);
        }
        value.nested.push(&out, context.here(), context);
    }

    fn finish(&mut self, context: &mut Context) {
        self.end(context);
        self.lone_key(context);
    }
}
