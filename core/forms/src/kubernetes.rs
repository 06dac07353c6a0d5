//! What stored Kubernetes objects look like.

use alloc::vec::Vec;

use crate::PROTOBUF_PREFIX;
use crate::fault::FaultKind;
use crate::guard::Guard;
use crate::json::syntax::{Event, Syntax};
use crate::reader::Limits;

/// The length of an object in protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// The object ends after this many bytes.
    Exact(usize),
    /// More bytes are needed.
    More,
    /// The bytes are not such an object.
    Unknown,
}

/// Returns the length of the object in protobuf that `bytes` begin with.
///
/// `"k8s\0" ‖ Unknown`, whose fields are written in order and whose last, the content type, is always written, even if it is empty. Upstream:
/// apimachinery/pkg/runtime/generated.pb.go, `Unknown.MarshalToSizedBuffer`.
pub(crate) fn protobuf_len(bytes: &[u8]) -> Length {
    const CONTENT_TYPE: u8 = 4 << 3 | 2;
    let Some(mut rest) = bytes.strip_prefix(PROTOBUF_PREFIX) else {
        return Length::Unknown;
    };
    let mut before = 0;
    loop {
        let Some((&tag, after)) = rest.split_first() else {
            return Length::More;
        };
        // Fields 1 to 4, all with a length, in ascending order.
        if tag & 7 != 2 || tag <= before || tag > CONTENT_TYPE {
            return Length::Unknown;
        }
        before = tag;
        let (len, after) = match varint(after) {
            Varint::Value(len, after) => (len, after),
            Varint::More => return Length::More,
            Varint::Invalid => return Length::Unknown,
        };
        let Some(after) = usize::try_from(len).ok().and_then(|len| after.get(len..)) else {
            return Length::More;
        };
        rest = after;
        if tag == CONTENT_TYPE {
            return Length::Exact(bytes.len() - rest.len());
        }
    }
}

/// Whether the bytes begin as an object in protobuf does: `"k8s\0" ‖ 0a <length> TypeMeta`, where TypeMeta has nothing but the strings `apiVersion` (1)
/// and `kind` (2). Returns `None` if they end before that is known.
pub(crate) fn begins_object(bytes: &[u8]) -> Option<bool> {
    let Some(rest) = bytes.strip_prefix(PROTOBUF_PREFIX) else {
        return Some(false);
    };
    let (&tag, rest) = rest.split_first()?;
    if tag != b'\n' {
        return Some(false);
    }
    let (len, rest) = match varint(rest) {
        Varint::Value(len, rest) => (usize::try_from(len).unwrap_or(usize::MAX), rest),
        Varint::More => return None,
        Varint::Invalid => return Some(false),
    };
    // A kind and a group have less than 400 bytes.
    if len > 1024 {
        return Some(false);
    }
    let mut rest = rest.get(..len)?;
    let mut before = 0;
    while let [tag, len, after @ ..] = rest {
        if !matches!(tag, 0x0a | 0x12) || *tag <= before || *len >= 0x80 {
            return Some(false);
        }
        before = *tag;
        match after.get(usize::from(*len)..) {
            Some(after) => rest = after,
            None => return Some(false),
        }
    }
    Some(rest.is_empty())
}

/// Whether the bytes are an object in protobuf, with a line end after it or without. Returns `None` if they end within a field.
pub(crate) fn is_whole_object(bytes: &[u8]) -> Option<bool> {
    if !begins_object(bytes)? {
        return Some(false);
    }
    let mut rest = bytes.strip_prefix(PROTOBUF_PREFIX).unwrap_or_default();
    let mut before = 0;
    while let Some((&tag, after)) = rest.split_first() {
        if !matches!(tag, 0x0a | 0x12 | 0x1a | 0x22) || tag <= before {
            return Some(matches!(rest, b"\n" | b"\r" | b"\r\n" | b"\n\n"));
        }
        before = tag;
        let Varint::Value(len, after) = varint(after) else { return None };
        rest = usize::try_from(len).ok().and_then(|len| after.get(len..))?;
    }
    Some(true)
}

pub(crate) enum Varint<'a> {
    Value(u64, &'a [u8]),
    More,
    Invalid,
}

/// Reads a varint of protobuf.
pub(crate) fn varint(bytes: &[u8]) -> Varint<'_> {
    let mut value = 0_u64;
    let mut rest = bytes;
    for shift in (0..70).step_by(7) {
        let Some((&byte, after)) = rest.split_first() else {
            return Varint::More;
        };
        rest = after;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return Varint::Invalid;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Varint::Value(value, rest);
        }
    }
    Varint::Invalid
}

/// A Kubernetes object in JSON, as far as it was read.
#[derive(Default)]
pub(crate) struct JsonObject {
    kind: Vec<u8>,
    has_api_version: bool,
    begun: bool,
    /// The last name or string of the object itself.
    text: Vec<u8>,
    name: Vec<u8>,
    /// Searches the strings, whose characters may be escaped.
    guard: Guard,
}

/// The part of a name or kind that is kept.
const TEXT_MAX: usize = 256;

impl JsonObject {
    /// Reads an event that happened at a depth.
    pub(crate) fn read(&mut self, depth: usize, event: Event<'_>) {
        self.begun = true;
        let mut buffer = [0; 4];
        let part: &[u8] = match event {
            Event::Begin { .. } => {
                self.text.clear();
                return;
            }
            Event::Part(part) => part,
            Event::Char(char) => char.encode_utf8(&mut buffer).as_bytes(),
            Event::End { name: true } if depth == 1 => {
                core::mem::swap(&mut self.name, &mut self.text);
                return;
            }
            Event::End { name: false } if depth == 1 => {
                match self.name.as_slice() {
                    b"kind" => self.kind = self.text.clone(),
                    b"apiVersion" => self.has_api_version = true,
                    _ => {}
                }
                return;
            }
            _ => return,
        };
        self.guard.push(part);
        if depth == 1 && self.text.len() < TEXT_MAX {
            self.text.extend_from_slice(part.get(..TEXT_MAX).unwrap_or(part));
        }
    }

    /// Whether `apiVersion` or `kind` was read.
    pub(crate) fn is_kubernetes(&self) -> bool {
        self.has_api_version || !self.kind.is_empty()
    }

    /// The name of the member that is being read.
    pub(crate) fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether a string contains an encrypted value.
    pub(crate) fn encrypted_inside(&self) -> bool {
        self.guard.found()
    }

    /// Whether such an object is a stored value.
    pub(crate) fn verdict(&self, encrypted_inside: bool) -> Result<(), FaultKind> {
        let encrypted_inside = encrypted_inside || self.encrypted_inside();
        if !self.has_api_version || self.kind.is_empty() {
            return Err(if encrypted_inside {
                FaultKind::UnrecognizedEncrypted
            } else {
                FaultKind::Unrecognized
            });
        }
        if encrypted_inside {
            return Err(FaultKind::KubernetesData);
        }
        match self.kind.as_slice() {
            b"EncryptionConfiguration" => Err(FaultKind::Configuration),
            kind if kind.ends_with(b"List") => Err(FaultKind::Kubernetes),
            _ => Ok(()),
        }
    }
}

/// Reads a value that is one JSON object, with white space around it. Returns `None` if it is anything else, or has no `apiVersion` and `kind`.
pub(crate) fn json_object(bytes: &[u8], limits: &Limits) -> Option<JsonObject> {
    let mut syntax = Syntax::new(limits.depth);
    let mut input = bytes;
    let mut object = JsonObject::default();
    loop {
        let depth = syntax.depth();
        let event = syntax.next(&mut input);
        match event {
            Event::More => break,
            Event::Invalid(_) | Event::TooDeep => return None,
            Event::Space => {}
            Event::Open { .. } if depth == 0 && object.begun => return None,
            // The value is an object: nothing else stands outside of it.
            _ if depth == 0 && event != (Event::Open { array: false }) => return None,
            _ => object.read(depth, event),
        }
    }
    (object.begun && syntax.complete() && object.has_api_version && !object.kind.is_empty())
        .then_some(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_in_protobuf_are_recognized_and_measured() {
        let secret = b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x03\n\x01a\x1a\0\"\0";
        assert_eq!(begins_object(secret), Some(true));
        assert_eq!(protobuf_len(secret), Length::Exact(secret.len()));
        assert_eq!(protobuf_len(&[&secret[..], b"\nk8s"].concat()), Length::Exact(secret.len()));
        for len in 0..secret.len() {
            let head = secret.get(..len).unwrap_or_default();
            let known = if len < 4 { Some(false) } else { (len >= 18).then_some(true) };
            assert_eq!(begins_object(head), known, "{len}");
            let length = if len < 4 { Length::Unknown } else { Length::More };
            assert_eq!(protobuf_len(head), length, "{len}");
            // Fields of the object may be missing at its end.
            let whole = match len {
                0..4 => Some(false),
                18 | 23 | 25 => Some(true),
                _ => None,
            };
            assert_eq!(is_whole_object(head), whole, "{len}");
        }
        for (end, whole) in
            [("", true), ("\n", true), ("\r\n", true), ("\nk8s", false), ("\0", false)]
        {
            let bytes = [&secret[..], end.as_bytes()].concat();
            assert_eq!(is_whole_object(&bytes), Some(whole), "{end:?}");
        }
        for text in
            [&b"k8s\0\0\0\0\0"[..], b"k8s\0\n\x04abcd", b"k8s\0\n\x03\n\x05a", b"k8s\0\n\x01\n"]
        {
            assert_eq!(begins_object(text), Some(false), "{text:?}");
        }
    }
}
