//! Splits text into lines.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::context::{Context, Machine};
use crate::fault::FaultKind;

/// Reads a form of text, line by line. The position is the line's first byte.
pub(crate) trait LineMachine {
    /// Reads a line without its line end.
    fn line(&mut self, line: &[u8], context: &mut Context);
    fn finish(&mut self, context: &mut Context);
}

/// A [`LineMachine`] that is fed with pieces.
pub(crate) struct Lines {
    machine: Box<dyn LineMachine + Send + Sync>,
    /// The beginning of a line whose end is not in the pieces so far.
    begun: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(machine: impl LineMachine + Send + Sync + 'static) -> Self {
        Self { machine: Box::new(machine), begun: Vec::new() }
    }

    fn line(&mut self, line: &[u8], context: &mut Context) {
        if context.stopped() {
            return;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // Text ends with NUL where a program took it for a string of C.
        let len = line.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        self.machine.line(line.get(..len).unwrap_or_default(), context);
    }
}

impl Machine for Lines {
    fn push(&mut self, mut piece: &[u8], context: &mut Context) {
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (line, rest) = piece.split_at(end);
            let len = if self.begun.is_empty() {
                self.line(line, context);
                if context.must_leave() {
                    context.leave(piece.to_vec());
                    return;
                }
                line.len()
            } else {
                let mut begun = core::mem::take(&mut self.begun);
                begun.extend_from_slice(line);
                self.line(&begun, context);
                if context.must_leave() {
                    begun.extend_from_slice(rest);
                    context.leave(begun);
                    return;
                }
                let len = begun.len();
                begun.clear();
                if begun.capacity() <= 64 * 1024 {
                    self.begun = begun;
                }
                len
            };
            context.advance_in_line(len);
            context.advance(b"\n");
            piece = rest.get(1..).unwrap_or_default();
        }
        self.begun.extend_from_slice(piece);
        if self.begun.len() > context.limits.line() && !context.stopped() {
            let limit = context.limits.value;
            context.stop(context.here(), None, FaultKind::TooLong { limit });
        }
        if context.stopped() {
            self.begun = Vec::new();
        }
    }

    fn finish(&mut self, context: &mut Context) {
        let last = core::mem::take(&mut self.begun);
        if !last.is_empty() {
            self.line(&last, context);
            if context.must_leave() {
                context.leave(last);
                return;
            }
            context.advance_in_line(last.len());
        }
        if !context.stopped() {
            self.machine.finish(context);
        }
    }
}
