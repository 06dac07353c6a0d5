//! What every machine works with: the limits, the position in the input, and the items that are ready.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use crate::entry::{LineEnd, Place};
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::gate;
use crate::reader::{Item, Limits};

/// Reads one form, in pieces of any length.
pub(crate) trait Machine {
    fn push(&mut self, piece: &[u8], context: &mut Context);
    fn finish(&mut self, context: &mut Context);
}

/// A value before the gate.
pub(crate) struct Candidate {
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) revision: Option<u64>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) place: Place,
    pub(crate) form: Form,
    pub(crate) line_end: LineEnd,
    pub(crate) crlf_undone: bool,
    /// Whether the form states the exact bounds of the value and its key, so that any plaintext may be a value.
    pub(crate) exact: bool,
}

impl Candidate {
    pub(crate) fn new(form: Form, place: Place, bytes: Vec<u8>) -> Self {
        Self {
            key: None,
            revision: None,
            bytes,
            place,
            form,
            line_end: LineEnd::Absent,
            crlf_undone: false,
            exact: false,
        }
    }
}

pub(crate) struct Context {
    pub(crate) limits: Limits,
    /// How many readers this one is inside of.
    pub(crate) depth: u8,
    place: Place,
    /// For a reader inside a reader: offsets of its input, and where they are in the outermost input.
    marks: Option<Vec<(u64, Place)>>,
    items: VecDeque<Item>,
    seen: bool,
    stopped: bool,
    /// Why the machine does not read on, until another form is found in the rest of the input.
    ended: Option<Fault>,
    /// The rest of the input.
    rest: Option<Vec<u8>>,
    /// How many machines have ended.
    ends: u8,
}

/// So many forms may follow each other in an input. Each takes the time to choose it.
const ENDS_MAX: u8 = 100;

/// More marks than this are thinned out. Only the last few kilobytes before the position need them.
const MARKS_MAX: usize = 16 * 1024;

impl Context {
    pub(crate) fn new(limits: Limits, depth: u8, marked: bool) -> Self {
        Self {
            limits,
            depth,
            place: Place { offset: 0, line: 1 },
            marks: marked.then(Vec::new),
            items: VecDeque::new(),
            seen: false,
            stopped: false,
            ended: None,
            rest: None,
            ends: 0,
        }
    }

    /// Moves the position past `bytes`.
    pub(crate) fn advance(&mut self, bytes: &[u8]) {
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count();
        self.place.line += lines as u64;
        self.advance_in_line(bytes.len());
    }

    /// Moves the position past `len` bytes that contain no line end.
    pub(crate) fn advance_in_line(&mut self, len: usize) {
        self.place.offset += len as u64;
    }

    /// The position, in the outermost input.
    pub(crate) fn here(&self) -> Place {
        let Some(marks) = &self.marks else {
            return self.place;
        };
        let after = marks.partition_point(|(offset, _)| *offset <= self.place.offset);
        let mark = after.checked_sub(1).and_then(|at| marks.get(at)).or(marks.first());
        mark.map_or(self.place, |(_, place)| *place)
    }

    /// Records that the bytes from `offset` on come from `place` of the outermost input.
    pub(crate) fn mark(&mut self, offset: u64, place: Place) {
        let passed = self.place.offset;
        let Some(marks) = &mut self.marks else { return };
        if marks.len() >= MARKS_MAX {
            let settled = marks.partition_point(|(offset, _)| *offset <= passed).saturating_sub(1);
            marks.drain(..settled);
            if marks.len() >= MARKS_MAX {
                let mut keep = false;
                marks.retain(|_| {
                    keep = !keep;
                    keep
                });
            }
        }
        marks.push((offset, place));
    }

    pub(crate) fn offer(&mut self, candidate: Candidate) {
        let item = gate::admit(candidate, &self.limits);
        self.give(item);
    }

    pub(crate) fn give(&mut self, item: Item) {
        self.seen = true;
        self.items.push_back(item);
    }

    /// Reports a fault. The machine goes on after it.
    pub(crate) fn fault(&mut self, place: Place, form: Form, kind: FaultKind) {
        self.give(Err(Fault::new(place, Some(form), kind)));
    }

    /// Reports a fault after which nothing more is read.
    pub(crate) fn stop(&mut self, place: Place, form: Option<Form>, kind: FaultKind) {
        self.give(Err(Fault::new(place, form, kind)));
        self.stopped = true;
    }

    /// Reports a fault of a key's value, after which nothing more is read.
    pub(crate) fn stop_at(
        &mut self,
        key: Option<Vec<u8>>,
        place: Place,
        form: Form,
        kind: FaultKind,
    ) {
        let form = (form != Form::Raw).then_some(form);
        self.give(Err(Fault { key, ..Fault::new(place, form, kind) }));
        self.stopped = true;
    }

    /// Ends the machine: the position is the beginning of a line that is not of its form. Another form may begin there; otherwise, that it does not
    /// is reported. The caller leaves the line and what follows it with [`Self::leave`].
    pub(crate) fn end(&mut self, form: Form) {
        let fault = Fault::new(self.here(), Some(form), FaultKind::Trailing);
        self.ends += 1;
        if self.ends > ENDS_MAX {
            self.stop_with(fault);
        } else {
            self.ended = Some(fault);
        }
    }

    /// Whether the machine has ended, and has not left the rest of the input yet.
    pub(crate) fn must_leave(&self) -> bool {
        self.ended.is_some() && self.rest.is_none()
    }

    /// Leaves the input from the position on to another machine.
    pub(crate) fn leave(&mut self, rest: Vec<u8>) {
        self.rest = Some(rest);
    }

    pub(crate) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// Adds what follows the rest.
    pub(crate) fn extend_rest(&mut self, piece: &[u8]) {
        if let Some(rest) = &mut self.rest {
            rest.extend_from_slice(piece);
        }
    }

    /// Reports a fault after which nothing more is read.
    pub(crate) fn stop_with(&mut self, fault: Fault) {
        self.give(Err(fault));
        self.stopped = true;
    }

    /// Takes what was left, to choose a form for it.
    pub(crate) fn take_rest(&mut self) -> Option<Vec<u8>> {
        self.rest.take()
    }

    /// Takes why the last machine has ended.
    pub(crate) fn take_ended(&mut self) -> Option<Fault> {
        self.ended.take()
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether any item was found so far.
    pub(crate) fn seen(&self) -> bool {
        self.seen
    }

    pub(crate) fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }
}
