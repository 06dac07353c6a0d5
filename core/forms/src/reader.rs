//! The reader: bytes in, entries and faults out.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::context::{Context, Machine};
use crate::detect::{self, Choice};
use crate::digits::Digits;
use crate::dump::Dump;
use crate::entry::Entry;
use crate::fault::{Fault, FaultKind};
use crate::fields::Fields;
use crate::json::Json;
use crate::lines::Lines;
use crate::plain::Plain;
use crate::protobuf::Protobuf;
use crate::rows::Rows;
use crate::utf16::Utf16;

/// The number of bytes by which the form is chosen. The reader returns nothing before it has them or the input's end, unless a few bytes prove the form:
/// those of etcdctl's JSON and fields, of its watches, and of the gateway's JSON.
pub const HEAD: usize = 8192;
/// The most bytes that a machine reads before items are returned.
const PIECE: usize = 16 * 1024;

/// A value, or why there is none.
pub type Item = Result<Entry, Fault>;

/// What a [`Reader`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The greatest length of a value, in bytes. 64 MiB by default.
    pub value: usize,
    /// The greatest length of a storage key, in bytes. 4 KiB by default.
    pub key: usize,
    /// The greatest depth of nesting in JSON. 128 by default.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { value: 64 * 1024 * 1024, key: 4096, depth: 128 }
    }
}

impl Limits {
    /// The default limits, with another greatest length of a value.
    #[must_use]
    pub fn with_value(mut self, bytes: usize) -> Self {
        self.value = bytes;
        self
    }

    /// The greatest length of a line: a byte takes up to four characters (`\x6b`).
    pub(crate) fn line(&self) -> usize {
        self.value.saturating_mul(4).saturating_add(64 * 1024)
    }
}

/// Finds the values in an input.
pub struct Reader {
    context: Context,
    state: State,
    /// How many bytes were pushed.
    pushed: u64,
}

enum State {
    /// The first bytes.
    Head(Vec<u8>),
    Reading(Box<dyn Machine + Send + Sync>),
    Done,
}

impl Reader {
    /// Creates a reader.
    pub fn new(limits: Limits) -> Self {
        Self::inside(limits, 0, false)
    }

    /// Creates a reader for what other forms decode to. If `marked`, places are those of the outermost input.
    pub(crate) fn inside(limits: Limits, depth: u8, marked: bool) -> Self {
        Self {
            context: Context::new(limits, depth, marked),
            state: State::Head(Vec::new()),
            pushed: 0,
        }
    }

    /// Reads from `input` until an item is found, and removes from `input` what was read. Call it again with the rest of `input`, until it returns
    /// `None`; then `input` is empty.
    pub fn push(&mut self, input: &mut &[u8]) -> Option<Item> {
        loop {
            if let Some(item) = self.context.pop() {
                return Some(item);
            }
            if input.is_empty() {
                return None;
            }
            let (piece, rest) = input.split_at_checked(PIECE).unwrap_or((input, &[]));
            *input = rest;
            self.pushed += piece.len() as u64;
            self.read(piece);
        }
    }

    /// Reads what remains after the last byte. Call it until it returns `None`.
    pub fn finish(&mut self) -> Option<Item> {
        if let Some(item) = self.context.pop() {
            return Some(item);
        }
        let mut end = false;
        loop {
            if !self.context.stopped()
                && let State::Head(head) = &mut self.state
            {
                let head = core::mem::take(head);
                end = head.is_empty();
                self.choose(&head, true);
            }
            if !self.context.stopped()
                && !self.context.has_rest()
                && let State::Reading(machine) = &mut self.state
            {
                machine.finish(&mut self.context);
            }
            match self.context.take_rest() {
                Some(rest) => self.state = State::Head(rest),
                None => break,
            }
        }
        let finished = matches!(self.state, State::Done);
        self.state = State::Done;
        if !finished && !self.context.seen() {
            let kind = if end { FaultKind::Empty } else { FaultKind::NoValues };
            self.context.stop(self.context.here(), None, kind);
        }
        self.context.pop()
    }

    /// Pushes decoded bytes that come from `place` of the outermost input.
    pub(crate) fn push_from(&mut self, bytes: &[u8], place: crate::entry::Place) {
        self.context.mark(self.pushed, place);
        self.pushed += bytes.len() as u64;
        for piece in bytes.chunks(PIECE) {
            self.read(piece);
        }
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.context.pop()
    }

    fn read(&mut self, piece: &[u8]) {
        self.read_piece(piece);
        // A form has ended, and another one may begin.
        while let Some(rest) = self.context.take_rest() {
            self.state = State::Head(Vec::new());
            self.read_piece(&rest);
        }
    }

    fn read_piece(&mut self, mut piece: &[u8]) {
        if self.context.stopped() {
            return;
        }
        if let State::Head(head) = &mut self.state {
            let missing = HEAD.saturating_sub(head.len());
            let (taken, rest) = piece.split_at_checked(missing).unwrap_or((piece, &[]));
            head.extend_from_slice(taken);
            piece = rest;
            if head.len() < HEAD && detect::certain(head, self.context.depth).is_none() {
                return;
            }
            let head = core::mem::take(head);
            self.choose(&head, false);
            if self.context.has_rest() {
                self.context.extend_rest(piece);
                return;
            }
        }
        if !self.context.stopped()
            && !piece.is_empty()
            && let State::Reading(machine) = &mut self.state
        {
            machine.push(piece, &mut self.context);
        }
    }

    /// Chooses the machine by the head, and gives it the head.
    fn choose(&mut self, head: &[u8], whole: bool) {
        let found = detect::detect(head, whole, self.context.depth);
        let (skipped, rest) = head.split_at_checked(found.skip).unwrap_or((head, &[]));
        self.context.advance(skipped);
        let context = &mut self.context;
        let mut machine: Box<dyn Machine + Send + Sync> = match found.choice {
            Choice::Plain => Box::new(Plain::default()),
            Choice::Json => Box::new(Json::new(context)),
            Choice::JsonMembers => Box::new(Json::members(context)),
            Choice::Protobuf => Box::new(Protobuf::default()),
            Choice::Fields => Box::new(Lines::new(Fields::default())),
            Choice::Dump => Box::new(Lines::new(Dump::default())),
            Choice::Rows => Box::new(Lines::new(Rows::default())),
            Choice::Digits(kind) => Box::new(Lines::new(Digits::new(kind))),
            Choice::Utf16 { little } => Box::new(Utf16::new(little)),
            Choice::Fault { kind, form } => {
                if let Some(fault) = context.take_ended() {
                    context.stop_with(fault);
                    return;
                }
                context.stop(context.here(), form, kind);
                return;
            }
        };
        context.take_ended();
        machine.push(rest, context);
        self.state = State::Reading(machine);
    }
}

/// Reads an input that is in memory.
pub fn read_all(input: &[u8], limits: Limits) -> Vec<Item> {
    let mut reader = Reader::new(limits);
    let mut rest = input;
    let mut items = Vec::new();
    while let Some(item) = reader.push(&mut rest) {
        items.push(item);
    }
    while let Some(item) = reader.finish() {
        items.push(item);
    }
    items
}
