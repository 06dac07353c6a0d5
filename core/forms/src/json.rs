//! JSON: the output of etcdctl and of etcd's gateway, parts of it that jq printed, rows of kine, and Kubernetes objects.
//!
//! A pair is any object with a `value`, wherever it is: in `kvs`, in an event of a watch, in a transaction's response, alone, in an array. Its
//! `key` and `value` are base64. A row of kine has a `name` instead of the `key`, which is plain text. Strings that are not in an object are values.

mod pair;
pub(crate) mod syntax;
mod trailing;

use alloc::vec::Vec;

use self::pair::{Name, Pair, not_encoded};
use self::syntax::{Event, Syntax};
use self::trailing::Trailing;
use crate::context::{Candidate, Context, Machine};
use crate::digits;
use crate::entry::{LineEnd, Place};
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::guard::Guard;
use crate::kubernetes::JsonObject;
use crate::text;

pub(crate) struct Json {
    syntax: Syntax,
    mode: Mode,
    /// The name of the member whose value comes next.
    name: Name,
    pair: Pair,
    /// The string that is being read.
    text: Vec<u8>,
    text_place: Place,
    /// A key that stands alone before its value: `jq '.kvs[] | .key, .value'`.
    lone_key: Option<Vec<u8>>,
    /// The line after the last value, which is not JSON.
    trailing: Option<Trailing>,
    /// Where a string is cut off by the end of the line. It is the end of the input too, or the text is not JSON.
    cut: Option<Place>,
    /// Whether the text begins within an object.
    is_part: bool,
}

/// What the value at the top is.
enum Mode {
    /// Not known yet, or a Kubernetes object, which is the value itself.
    Object(Kept),
    /// It contains pairs or strings.
    Container,
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    object: JsonObject,
    place: Option<Place>,
    /// Whether the object has ended. White space after it belongs to it.
    ended: bool,
}

impl Json {
    pub(crate) fn new(context: &Context) -> Self {
        Self {
            syntax: Syntax::new(context.limits.depth),
            mode: Mode::Container,
            name: Name::Other,
            pair: Pair::default(),
            text: Vec::new(),
            text_place: context.here(),
            lone_key: None,
            trailing: None,
            cut: None,
            is_part: false,
        }
    }

    /// Reads members of an object whose brackets are missing: some lines of a longer text.
    pub(crate) fn members(context: &mut Context) -> Self {
        let mut json = Self::new(context);
        json.is_part = true;
        let event = json.syntax.next(&mut &b"{"[..]);
        json.in_container(event, 1, context);
        json
    }

    fn event(&mut self, event: Event<'_>, read: &[u8], context: &mut Context) {
        let depth = self.syntax.depth();
        match event {
            Event::Open { array: false } if depth == 1 => {
                let place = Some(context.here());
                self.mode = Mode::Object(Kept { place, ..Kept::default() });
            }
            Event::Open { array: true } if depth == 1 => self.mode = Mode::Container,
            Event::Begin { .. } if depth == 0 => self.mode = Mode::Container,
            _ => {}
        }
        match &mut self.mode {
            Mode::Object(kept) => {
                kept.bytes.extend_from_slice(read);
                // Only strings count, and those do not change the depth.
                kept.object.read(depth, event);
                kept.ended = depth == 0;
                let limit = context.limits.value;
                if kept.bytes.len() > limit {
                    context.stop(context.here(), Some(Form::Raw), FaultKind::TooLong { limit });
                    return;
                }
                let name = Name::of(kept.object.name());
                if event == (Event::End { name: true })
                    && depth == 1
                    && name != Name::Other
                    && !kept.object.is_kubernetes()
                {
                    self.name = name;
                    self.pair = Pair { depth, place: kept.place, ..Pair::default() };
                    if kept.object.encrypted_inside() {
                        let kind = FaultKind::UnrecognizedEncrypted;
                        context.fault(context.here(), Form::EtcdctlJson, kind);
                    }
                    self.mode = Mode::Container;
                }
            }
            Mode::Container => self.in_container(event, depth, context),
        }
    }

    fn in_container(&mut self, event: Event<'_>, depth: usize, context: &mut Context) {
        match event {
            Event::Open { .. } => {
                self.flush(context);
                let event = self.name == Name::Event;
                self.name = Name::Other;
                self.pair = Pair { depth, place: Some(context.here()), event, ..Pair::default() };
            }
            Event::Close { .. } => {
                self.flush(context);
                self.name = Name::Other;
            }
            Event::Begin { .. } => {
                self.text.clear();
                self.text_place = context.here();
            }
            Event::Part(part) => self.part(part, context),
            Event::Char(char) => self.part(char.encode_utf8(&mut [0; 4]).as_bytes(), context),
            Event::End { name: true } => {
                self.name = Name::of(&self.text);
                if self.name == Name::Other {
                    self.search(context);
                }
            }
            Event::End { name: false } => self.string(depth, context),
            Event::Number if depth == 0 => {
                context.fault(context.here(), Form::JsonStrings, FaultKind::NotEncoded);
            }
            Event::Number => self.number(depth, context),
            Event::Word => self.name = Name::Other,
            Event::Space
            | Event::Mark
            | Event::Scalar
            | Event::More
            | Event::Invalid(_)
            | Event::TooDeep => {}
        }
    }

    fn part(&mut self, part: &[u8], context: &mut Context) {
        // Base64 takes four characters for three bytes, hex two for one.
        let limit = context.limits.value;
        if self.text.len() + part.len() > limit.saturating_mul(2).saturating_add(16) {
            let form = Some(Form::EtcdctlJson);
            context.stop(self.text_place, form, FaultKind::TooLong { limit });
            return;
        }
        self.text.extend_from_slice(part);
    }

    /// A string that is not a name has ended.
    fn string(&mut self, depth: usize, context: &mut Context) {
        let name = core::mem::replace(&mut self.name, Name::Other);
        if depth == 0 || self.syntax.in_array() {
            if depth <= 1 {
                self.lone(context);
            } else {
                self.search(context);
            }
            return;
        }
        if name == Name::Value
            && self.pair.depth == depth
            && self.pair.value.is_some()
            && self.pair.row
        {
            // A row has a `value` and an `old_value`.
            let (key, place) = (self.pair.key.clone(), self.pair.place);
            self.flush(context);
            self.pair = Pair { depth, place, key, row: true, ..Pair::default() };
        }
        let place = self.text_place;
        let pair = self.pair_at(depth, place);
        let twice = match name {
            Name::Key | Name::RowKey => pair.key.is_some(),
            Name::Value => pair.value.is_some(),
            Name::Revision => pair.revision.is_some(),
            Name::RowId => pair.row_id.is_some(),
            Name::Event | Name::Etcd | Name::Other => {
                self.search(context);
                return;
            }
        };
        if twice {
            let kind = FaultKind::Syntax("a name occurs twice in a JSON object");
            context.stop(place, Some(Form::EtcdctlJson), kind);
            return;
        }
        let text = core::mem::take(&mut self.text);
        let pair = self.pair_at(depth, place);
        match name {
            Name::Key | Name::RowKey => {
                pair.row = name == Name::RowKey;
                pair.key = Some(text);
            }
            Name::Value => pair.value = Some(text),
            Name::Revision => pair.revision = number(&text, context),
            Name::RowId => pair.row_id = text::number(&text),
            Name::Event | Name::Etcd | Name::Other => {}
        }
    }

    /// The pair of the innermost object. A new one, if other objects were inside it.
    fn pair_at(&mut self, depth: usize, place: Place) -> &mut Pair {
        if self.pair.depth != depth {
            self.pair = Pair { depth, place: Some(place), ..Pair::default() };
        }
        &mut self.pair
    }

    /// Reports an encrypted value in a string where none is expected.
    fn search(&mut self, context: &mut Context) {
        if Guard::finds(&self.text) {
            let kind = FaultKind::UnrecognizedEncrypted;
            context.fault(self.text_place, Form::EtcdctlJson, kind);
        }
    }

    fn number(&mut self, depth: usize, context: &mut Context) {
        let name = core::mem::replace(&mut self.name, Name::Other);
        let text = self.syntax.number();
        match name {
            Name::Revision => {
                let revision = number(text, context);
                self.pair_at(depth, context.here()).revision = revision;
            }
            Name::RowId => {
                let id = text::number(text);
                self.pair_at(depth, context.here()).row_id = id;
            }
            Name::Key | Name::Value | Name::RowKey | Name::Event | Name::Etcd | Name::Other => {}
        }
    }

    /// A string outside of any object: a value, or a key before its value.
    fn lone(&mut self, context: &mut Context) {
        let place = self.text_place;
        let text = core::mem::take(&mut self.text);
        let decoded = digits::decode(&text).map(|(bytes, _)| bytes);
        if let Some(bytes) = &decoded
            && text::is_key(bytes, context.limits.key)
        {
            self.lone_key = decoded;
            return;
        }
        let key = self.lone_key.take();
        let Some(bytes) = decoded else {
            let fault = Fault::new(place, Some(Form::JsonStrings), not_encoded(&text));
            context.give(Err(Fault { key, ..fault }));
            return;
        };
        let mut candidate = Candidate::new(Form::JsonStrings, place, bytes);
        candidate.exact = key.is_some();
        candidate.key = key;
        context.offer(candidate);
    }

    /// Reports the pair, if the innermost object is one.
    fn flush(&mut self, context: &mut Context) {
        core::mem::take(&mut self.pair).report(context);
    }

    /// Reports the Kubernetes object that was kept, if one has ended.
    fn release(&mut self, context: &mut Context) {
        if !matches!(&self.mode, Mode::Object(kept) if kept.ended) {
            return;
        }
        let Mode::Object(kept) = core::mem::replace(&mut self.mode, Mode::Container) else {
            return;
        };
        let place = kept.place.unwrap_or(context.here());
        if kept.bytes.starts_with(b"{\"error\":") {
            // etcd's gateway.
            context.give(Err(Fault::new(place, None, FaultKind::EtcdctlError)));
            return;
        }
        if let Err(kind) = kept.object.verdict(false) {
            context.give(Err(Fault::new(place, None, kind)));
            return;
        }
        let mut candidate = Candidate::new(Form::Raw, place, kept.bytes);
        candidate.line_end = LineEnd::of(&candidate.bytes);
        context.offer(candidate);
    }
}

/// Reads a revision. Stops the reader if it is not a number.
fn number(text: &[u8], context: &mut Context) -> Option<u64> {
    let number = text::number(text);
    if number.is_none() {
        let kind = FaultKind::Syntax("a revision is not a number");
        context.stop(context.here(), Some(Form::EtcdctlJson), kind);
    }
    number
}

impl Machine for Json {
    fn push(&mut self, piece: &[u8], context: &mut Context) {
        let mut input = piece;
        while !input.is_empty() && !context.stopped() && !context.must_leave() {
            if self.trailing.is_some() {
                self.trail(input, context);
                return;
            }
            if let Some(place) = self.cut {
                if !input.trim_ascii().is_empty() {
                    let kind = FaultKind::Syntax("a line end within a string or word of JSON");
                    context.stop(place, Some(Form::EtcdctlJson), kind);
                }
                return;
            }
            if self.syntax.ends_before(input) {
                self.release(context);
                self.begin_trailing(b"");
                continue;
            }
            let before = input;
            let event = self.syntax.next(&mut input);
            let read = before.get(..before.len() - input.len()).unwrap_or_default();
            match event {
                Event::More => return,
                Event::Space => {
                    if let Mode::Object(kept) = &mut self.mode {
                        kept.bytes.extend_from_slice(read);
                        let limit = context.limits.value;
                        if kept.bytes.len() > limit {
                            let kind = FaultKind::TooLong { limit };
                            context.stop(context.here(), Some(Form::Raw), kind);
                        }
                    }
                    context.advance(read);
                }
                Event::Invalid(_) if self.syntax.depth() == 0 && self.syntax.complete() => {
                    self.release(context);
                    self.begin_trailing(b"");
                }
                // A prompt such as `[root@node ~]#`.
                Event::Invalid(_) if self.syntax.at_first_element() && context.seen() => {
                    self.begin_trailing(b"[");
                }
                Event::Invalid(_) if matches!(input.first(), Some(b'\n' | b'\r')) => {
                    self.cut = Some(context.here());
                }
                Event::Invalid(words) => {
                    context.stop(context.here(), Some(Form::EtcdctlJson), FaultKind::Syntax(words));
                }
                Event::TooDeep => {
                    context.stop(context.here(), Some(Form::EtcdctlJson), FaultKind::TooDeep);
                }
                event => {
                    self.release(context);
                    self.event(event, read, context);
                    context.advance_in_line(read.len());
                }
            }
        }
    }

    fn finish(&mut self, context: &mut Context) {
        if self.trailing.is_some() {
            self.finish_trailing(context);
            return;
        }
        self.release(context);
        if self.is_part && self.syntax.after_member() {
            self.flush(context);
            return;
        }
        if !self.syntax.complete() {
            context.stop(context.here(), Some(Form::EtcdctlJson), FaultKind::CutShort);
        } else if self.lone_key.is_some() {
            context.fault(self.text_place, Form::JsonStrings, FaultKind::NoValue);
        }
    }
}
