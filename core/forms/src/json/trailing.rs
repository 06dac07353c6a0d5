//! What follows the values of a JSON text.

use alloc::vec::Vec;

use super::Json;
use crate::context::Context;
use crate::fault::FaultKind;
use crate::form::Form;
use crate::text;

/// The line after the last value.
#[derive(Default)]
pub(super) struct Trailing {
    line: Vec<u8>,
    /// Whether its first byte was read as JSON: `[` of a prompt.
    is_begun: bool,
}

impl Json {
    /// Begins to read text after the last value. `begun` was read as JSON.
    pub(super) fn begin_trailing(&mut self, begun: &[u8]) {
        self.trailing = Some(Trailing { line: begun.to_vec(), is_begun: !begun.is_empty() });
    }

    /// Text follows the values: prompts are skipped. Any other line ends the JSON.
    pub(super) fn trail(&mut self, mut piece: &[u8], context: &mut Context) {
        let Some(trailing) = &mut self.trailing else { return };
        while let Some(end) = piece.iter().position(|byte| *byte == b'\n') {
            let (part, after) = piece.split_at_checked(end + 1).unwrap_or((piece, &[]));
            trailing.line.extend_from_slice(part);
            if !is_margin(&trailing.line, self.is_part) {
                trailing.line.extend_from_slice(after);
                return self.end_trailing(context);
            }
            context
                .advance(trailing.line.get(usize::from(trailing.is_begun)..).unwrap_or_default());
            *trailing = Trailing::default();
            piece = after;
        }
        trailing.line.extend_from_slice(piece);
        if trailing.line.len() > TRAILING_MAX {
            self.end_trailing(context);
        }
    }

    /// Reads the last line, which has no line end.
    pub(super) fn finish_trailing(&mut self, context: &mut Context) {
        if self.trailing.as_ref().is_some_and(|last| !is_margin(&last.line, self.is_part)) {
            self.end_trailing(context);
        }
    }

    fn end_trailing(&mut self, context: &mut Context) {
        let Some(Trailing { line, is_begun }) = self.trailing.take() else { return };
        if is_begun {
            context.stop(context.here(), Some(Form::EtcdctlJson), FaultKind::Trailing);
            return;
        }
        context.end(Form::EtcdctlJson);
        if context.must_leave() {
            context.leave(line);
        }
    }
}

/// The greatest length of a prompt, in bytes.
const TRAILING_MAX: usize = 1024;

/// Whether the line after the last value means nothing. After a part of a text, brackets may be closed that were not opened.
pub(super) fn is_margin(line: &[u8], is_part: bool) -> bool {
    let is_bracket = |byte: &u8| is_part && b"]},".contains(byte);
    let is_blank = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0 || is_bracket(byte);
    line.iter().all(is_blank) || text::is_prompt(line) || text::is_row_count(line)
}
