//! UTF-16, as PowerShell's `>` writes it.

use alloc::vec::Vec;

use crate::context::{Context, Machine};
use crate::fault::FaultKind;
use crate::form::Form;
use crate::nested::Nested;

pub(crate) struct Utf16 {
    little: bool,
    /// The first byte of a unit.
    first: Option<u8>,
    /// The first unit of a pair.
    high: Option<u16>,
    nested: Option<Nested>,
}

impl Utf16 {
    pub(crate) fn new(little: bool) -> Self {
        Self { little, first: None, high: None, nested: None }
    }

    /// Decodes a unit. Returns `None` if it is half of a pair without the other half.
    fn unit(&mut self, unit: u16, out: &mut Vec<u8>) -> Option<()> {
        let code = match (self.high.take(), unit) {
            (None, 0xd800..0xdc00) => {
                self.high = Some(unit);
                return Some(());
            }
            (None, _) => u32::from(unit),
            (Some(high), 0xdc00..0xe000) => {
                0x10000 + (u32::from(high & 0x3ff) << 10) + u32::from(unit & 0x3ff)
            }
            (Some(_), _) => return None,
        };
        let char = char::from_u32(code)?;
        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
        Some(())
    }

    fn invalid(&self, context: &mut Context) {
        context.stop(context.here(), Some(Form::Utf16), FaultKind::Syntax("not valid UTF-16"));
    }
}

impl Machine for Utf16 {
    fn push(&mut self, piece: &[u8], context: &mut Context) {
        let mut out = Vec::with_capacity(piece.len());
        for &byte in piece {
            let Some(first) = self.first.take() else {
                self.first = Some(byte);
                continue;
            };
            let unit = if self.little {
                u16::from_le_bytes([first, byte])
            } else {
                u16::from_be_bytes([first, byte])
            };
            if self.unit(unit, &mut out).is_none() {
                self.invalid(context);
                return;
            }
        }
        let nested = self.nested.get_or_insert_with(|| Nested::text(Form::Utf16, context));
        nested.push(&out, context.here(), context);
    }

    fn finish(&mut self, context: &mut Context) {
        if self.first.is_some() || self.high.is_some() {
            self.invalid(context);
            return;
        }
        if let Some(nested) = self.nested.take() {
            nested.finish(false, context);
        }
    }
}
