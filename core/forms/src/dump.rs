//! The output of hexdump, xxd and od.
//!
//! Every line begins with its offset, which must be the number of bytes before it, in hex, octal or decimal. hexdump and od print the length as a
//! last line; without it the dump is cut short. A `*` stands for lines that repeat the one before.

mod cells;

use alloc::vec::Vec;

use self::cells::{Cells, split};
use crate::context::Context;
use crate::entry::Place;
use crate::fault::FaultKind;
use crate::form::Form;
use crate::lines::LineMachine;
use crate::nested::Nested;
use crate::text;

/// The bases in which an offset may be.
const BASES: [u32; 3] = [16, 8, 10];

#[derive(Default)]
pub(crate) struct Dump {
    current: Option<Current>,
}

/// The dump that is being read.
struct Current {
    cells: Cells,
    colon: bool,
    nested: Nested,
    /// The bytes of all lines.
    total: u64,
    /// The bytes of the first line.
    line_len: usize,
    /// Which of [`BASES`] fit all offsets so far.
    bases: [bool; 3],
    /// The last line's bytes, which are not pushed yet, and its place.
    held: Vec<u8>,
    held_place: Place,
    /// Whether `*` came after the last line.
    repeats: bool,
    /// How many bytes all repetitions have.
    repeated: u64,
    /// Whether the last line is cut off.
    cut: bool,
}

/// Whether a line is the first of a dump, or `Some(false)` if it is another line of one.
pub(crate) fn is_first_line(line: &[u8]) -> Option<bool> {
    let line = split(line)?;
    let (bytes, _) = Cells::of(&line)?.decode(&line)?;
    let zero = line.offset.iter().all(|digit| *digit == b'0');
    (!bytes.is_empty() && (zero || bytes.len() >= 8)).then_some(zero)
}

/// Whether the line is a heading of PowerShell's `Format-Hex`.
pub(crate) fn is_heading(line: &[u8]) -> bool {
    line.trim_ascii() == b"00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F"
}

fn parse(offset: &[u8], base: u32) -> Option<u64> {
    offset.iter().try_fold(0_u64, |value, digit| {
        let digit = char::from(*digit).to_digit(base)?;
        value.checked_mul(base.into())?.checked_add(digit.into())
    })
}

impl Dump {
    fn begin(&mut self, line: &cells::Line<'_>, context: &mut Context) {
        let zero = line.offset.iter().all(|digit| *digit == b'0');
        let decoded = Cells::of(line).and_then(|cells| Some((cells, cells.decode(line)?)));
        let Some((cells, (bytes, cut))) = decoded.filter(|_| zero) else {
            let kind = FaultKind::Gap { expected: 0 };
            context.stop(context.here(), Some(Form::HexdumpC), kind);
            return;
        };
        let form = match (line.colon, cells, line.offset.len()) {
            (true, ..) => Form::Xxd,
            (false, Cells::Words { size: 1, base: 16, .. }, 8..) => Form::HexdumpC,
            (false, Cells::Words { size: 1, .. } | Cells::Chars { .. }, _) => Form::Od,
            (false, Cells::Words { base: 8, .. }, _) if !line.rest.starts_with(b"  ") => Form::Od,
            _ => Form::Hexdump,
        };
        self.current = Some(Current {
            cells,
            colon: line.colon,
            nested: Nested::new(form, context),
            total: bytes.len() as u64,
            line_len: bytes.len(),
            bases: [true; 3],
            held: bytes,
            held_place: context.here(),
            repeats: false,
            repeated: 0,
            cut,
        });
    }

    /// Ends the dump. If `complete`, nothing is missing at its end.
    fn end(&mut self, complete: bool, context: &mut Context) {
        let Some(current) = self.current.take() else { return };
        let complete = complete || current.is_complete();
        let Current { mut nested, held, held_place, colon, cut, repeats, .. } = current;
        nested.push(&held, held_place, context);
        nested.finish(repeats || cut || !(complete || colon), context);
    }
}

impl Current {
    /// Whether nothing is missing at the end: nothing follows a line that is shorter than the others.
    fn is_complete(&self) -> bool {
        let is_exact = self.colon || matches!(self.cells, Cells::Words { size: 1, .. });
        is_exact && !self.repeats && self.held.len() < self.line_len
    }

    /// Checks an offset, and repeats the last line as often as `*` says.
    fn check(&mut self, line: &cells::Line<'_>, context: &mut Context) -> Result<(), FaultKind> {
        let gap = FaultKind::Gap { expected: self.total };
        let is_end = line.rest.is_empty();
        // What may be too much in the last line: hexdump fills the last word with zeros, and a line of characters with spaces.
        let (padding, fill) = match self.cells {
            _ if !is_end || self.colon => (0, 0),
            Cells::Words { size, .. } => (size as u64 - 1, 0),
            Cells::Chars { .. } => (self.held.len() as u64, b' '),
        };
        let offsets = BASES.map(|base| parse(line.offset, base));
        if self.repeats {
            let len = self.held.len() as u64;
            let mut fits = offsets.iter().zip(self.bases).filter_map(|(offset, possible)| {
                let more = offset.filter(|_| possible)?.checked_sub(self.total)?;
                (more > 0 && more.checked_rem(len)? == 0).then_some(more)
            });
            let (Some(more), None) = (fits.next(), fits.next()) else {
                return Err(gap);
            };
            self.repeated = self.repeated.saturating_add(more);
            let limit = context.limits.value;
            if self.repeated > limit as u64 {
                return Err(FaultKind::TooLong { limit });
            }
            self.repeats = false;
            self.repeat(more, context);
            return Ok(());
        }
        let fits = |offset: &Option<u64>| {
            offset
                .and_then(|offset| self.total.checked_sub(offset))
                .is_some_and(|less| less <= padding)
        };
        for (possible, offset) in self.bases.iter_mut().zip(&offsets) {
            *possible &= fits(offset);
        }
        let Some(less) = self.bases.iter().zip(&offsets).find_map(|(possible, offset)| {
            offset.filter(|_| *possible).map(|offset| self.total - offset)
        }) else {
            return Err(gap);
        };
        for _ in 0..less {
            if self.held.pop() != Some(fill) {
                return Err(gap);
            }
        }
        Ok(())
    }

    /// Pushes the last line again, until there are so many more bytes.
    fn repeat(&mut self, more: u64, context: &mut Context) {
        let mut left = usize::try_from(more).unwrap_or(usize::MAX);
        while left > 0 && !context.stopped() {
            self.nested.push(&self.held, self.held_place, context);
            left = left.saturating_sub(self.held.len());
        }
        self.total += more;
    }
}

impl LineMachine for Dump {
    fn line(&mut self, line: &[u8], context: &mut Context) {
        let trimmed = line.trim_ascii();
        if trimmed.is_empty() {
            return;
        }
        if trimmed == b"*"
            && let Some(current) = &mut self.current
        {
            current.repeats = true;
            return;
        }
        let Some(line) = split(line) else {
            let form = self.current.as_ref().map_or(Form::HexdumpC, |current| current.nested.form);
            // A dump that has no end yet goes on in the line that is not understood.
            let has_ended = self.current.as_ref().is_none_or(Current::is_complete);
            match (text::is_prompt(line), has_ended) {
                (true, _) => self.end(false, context),
                (false, true) => {
                    self.end(false, context);
                    context.end(form);
                }
                (false, false) => context.stop(context.here(), Some(form), FaultKind::Trailing),
            }
            return;
        };
        let zero = line.offset.iter().all(|digit| *digit == b'0');
        let Some(current) = &mut self.current else {
            return self.begin(&line, context);
        };
        if zero && !line.rest.trim_ascii().is_empty() && current.total > 0 {
            self.end(false, context);
            return self.begin(&line, context);
        }
        let form = Some(current.nested.form);
        if line.colon != current.colon && !line.rest.is_empty() {
            context.stop(context.here(), form, FaultKind::Trailing);
            return;
        }
        if let Err(kind) = current.check(&line, context) {
            context.stop(context.here(), form, kind);
            return;
        }
        if line.rest.trim_ascii().is_empty() {
            self.end(true, context);
            return;
        }
        let Some((bytes, cut)) = current.cells.decode(&line).filter(|_| !current.cut) else {
            let words = "the line has other columns than those before it";
            context.stop(context.here(), form, FaultKind::Syntax(words));
            return;
        };
        let held = core::mem::replace(&mut current.held, bytes);
        current.nested.push(&held, current.held_place, context);
        current.held_place = context.here();
        current.total += current.held.len() as u64;
        current.cut = cut;
    }

    fn finish(&mut self, context: &mut Context) {
        self.end(false, context);
    }
}
