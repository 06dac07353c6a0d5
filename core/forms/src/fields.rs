//! The output of `etcdctl -w fields`: `"Key" : "…"`, a line for each field, strings as Go quotes them.
//!
//! Upstream: etcdctl, printer_fields.go.

use alloc::vec::Vec;

use crate::context::{Candidate, Context};
use crate::entry::Place;
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::guard::Guard;
use crate::lines::LineMachine;
use crate::text;

const FORM: Form = Form::EtcdctlFields;

#[derive(Default)]
pub(crate) struct Fields {
    key: Option<(Vec<u8>, Place)>,
    revision: Option<u64>,
    deleted: bool,
}

/// Splits a line into the field's name and value. Returns `None` if it is no field.
pub(crate) fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.trim_ascii().strip_prefix(b"\"")?;
    let end = rest.iter().position(|byte| *byte == b'"')?;
    let (name, rest) = rest.split_at_checked(end)?;
    let value = rest.strip_prefix(b"\"")?.trim_ascii_start().strip_prefix(b":")?;
    name.iter().all(u8::is_ascii_alphanumeric).then_some((name, value.trim_ascii()))
}

/// Reads a string literal of Go. Returns `None` if it is not exactly one.
fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text.strip_prefix(b"\"")?;
    let mut out = Vec::with_capacity(rest.len());
    loop {
        let (&byte, after) = rest.split_first()?;
        rest = after;
        match byte {
            b'"' => return rest.is_empty().then_some(out),
            b'\\' => {
                let (&escape, after) = rest.split_first()?;
                rest = after;
                let mut code = |len, base| -> Option<u32> {
                    let (digits, after) = rest.split_at_checked(len)?;
                    rest = after;
                    digits.iter().try_fold(0, |code: u32, digit| {
                        code.checked_mul(base)?.checked_add(char::from(*digit).to_digit(base)?)
                    })
                };
                out.push(match escape {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    b'\\' | b'"' => escape,
                    b'x' => u8::try_from(code(2, 16)?).ok()?,
                    b'u' | b'U' => {
                        let char = char::from_u32(code(if escape == b'u' { 4 } else { 8 }, 16)?)?;
                        out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes());
                        continue;
                    }
                    _ => return None,
                });
            }
            0..b' ' | 0x7f => return None,
            _ => out.push(byte),
        }
    }
}

impl Fields {
    fn value(&mut self, value: &[u8], context: &mut Context) {
        let (key, place) = match self.key.take() {
            Some((key, place)) => (Some(key), place),
            None => (None, context.here()),
        };
        let revision = self.revision.take();
        let Some(bytes) = unquote(value) else {
            let kind = FaultKind::Syntax("not a string as Go quotes it");
            context.stop_at(key, place, FORM, kind);
            return;
        };
        if bytes.is_empty() {
            // The event of a deletion has no value.
            if !self.deleted {
                let fault = Fault::new(place, Some(FORM), FaultKind::NoValue);
                context.give(Err(Fault { key, ..fault }));
            }
            return;
        }
        let exact = key.is_some();
        context.offer(Candidate { key, revision, exact, ..Candidate::new(FORM, place, bytes) });
    }

    fn lone_key(&mut self, context: &mut Context) {
        if let Some((key, place)) = self.key.take() {
            let fault = Fault::new(place, Some(FORM), FaultKind::NoValue);
            context.give(Err(Fault { key: Some(key), ..fault }));
        }
    }
}

impl LineMachine for Fields {
    fn line(&mut self, line: &[u8], context: &mut Context) {
        if line.trim_ascii().is_empty() || text::is_prompt(line) {
            return;
        }
        let place = context.here();
        let Some((name, value)) = split(line) else {
            self.lone_key(context);
            context.end(FORM);
            return;
        };
        match name {
            b"Key" | b"PrevKey" => {
                self.lone_key(context);
                self.revision = None;
                match unquote(value).filter(|key| key.len() <= context.limits.key) {
                    Some(key) => self.key = Some((key, place)),
                    None => {
                        let kind = FaultKind::Syntax("not a key as Go quotes it");
                        context.stop(place, Some(FORM), kind);
                    }
                }
            }
            b"ModRevision" | b"PrevModRevision" => {
                self.revision = text::number(value);
                if self.revision.is_none() {
                    let kind = FaultKind::Syntax("a revision is not a number");
                    context.stop(place, Some(FORM), kind);
                }
            }
            b"Value" | b"PrevValue" => self.value(value, context),
            b"Type" => self.deleted = value == b"DELETE",
            _ if Guard::finds(value) => {
                context.fault(place, FORM, FaultKind::UnrecognizedEncrypted);
            }
            _ => {}
        }
    }

    fn finish(&mut self, context: &mut Context) {
        self.lone_key(context);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_go_strings_are_unquoted() {
        for (text, bytes) in [
            (r#""""#, Some(&b""[..])),
            (r#""a\\\"\a\b\f\n\r\t\v""#, Some(b"a\\\"\x07\x08\x0c\n\r\t\x0b")),
            (r#""\x00\xff\u00e9\U0001f600""#, Some(b"\x00\xff\xc3\xa9\xf0\x9f\x98\x80")),
            (r#"""#, None),
            (r#""a"#, None),
            (r#""a"b"#, None),
            (r#""\x0""#, None),
            (r#""\'""#, None),
            (r#""\ud800""#, None),
            ("\"\n\"", None),
        ] {
            assert_eq!(unquote(text.as_bytes()).as_deref(), bytes, "{text}");
        }
    }
}
