//! The class `FormReader`, and the resource of a storage key.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use dekker_forms::{Content, Entry, Fault, Form, Item, Limits, Reader};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::names;
use crate::objects::{make_fault, make_resource, make_value};

/// Finds the stored values in an input, in any form that `dekker_forms` knows.
///
/// Push a piece, then call `next` until it returns `undefined`; at the end of the input, call `finish` until it returns `undefined`. So one value at a
/// time leaves the module.
#[wasm_bindgen]
pub struct FormReader {
    reader: Reader,
    /// The prefixes of a configuration's values.
    prefixes: Vec<String>,
    piece: Vec<u8>,
    /// How much of the piece has been read.
    read: usize,
}

#[wasm_bindgen]
impl FormReader {
    /// Creates a reader. `prefixes` are those of a configuration's values. Other texts are ignored.
    #[wasm_bindgen(constructor)]
    pub fn new(prefixes: Vec<String>) -> Self {
        Self { reader: Reader::new(Limits::default()), prefixes, piece: Vec::new(), read: 0 }
    }

    /// Replaces the previous piece, which must have been read to its end.
    pub fn push(&mut self, piece: Vec<u8>) {
        self.piece = piece;
        self.read = 0;
    }

    /// Returns the next value or fault in the piece, or `undefined` if it has been read to its end.
    pub fn next(&mut self) -> JsValue {
        let mut rest = self.piece.get(self.read..).unwrap_or_default();
        let item = self.reader.push(&mut rest);
        self.read = self.piece.len() - rest.len();
        self.convert(item)
    }

    /// Returns the next value or fault after the last byte, or `undefined` if there is no other.
    pub fn finish(&mut self) -> JsValue {
        let item = self.reader.finish();
        self.convert(item)
    }

    fn convert(&self, item: Option<Item>) -> JsValue {
        match item {
            None => JsValue::UNDEFINED,
            Some(Ok(entry)) => value(&entry, &self.prefixes),
            Some(Err(fault)) => failed(&fault),
        }
    }
}

/// Returns the resource of a storage key, or `undefined` if it cannot be known.
#[wasm_bindgen(js_name = resourceOf)]
pub fn resource_of(key: &[u8]) -> JsValue {
    dekker_forms::resource(key)
        .map_or(JsValue::UNDEFINED, |found| make_resource(&found.to_string(), found.certain))
}

fn value(entry: &Entry, prefixes: &[String]) -> JsValue {
    let readings = entry.probable_readings(&names(prefixes));
    // No reading is without more than a line end or two.
    let removed: Vec<_> = readings
        .into_iter()
        .map(|bytes| u8::try_from(entry.bytes.len() - bytes.len()).unwrap_or(u8::MAX))
        .collect();
    make_value(
        entry.key.as_deref(),
        entry.revision.map(number),
        &entry.bytes,
        entry.form.name(),
        &lines(&entry.within),
        number(entry.place.line),
        number(entry.place.offset),
        match entry.content {
            Content::Encrypted => "encrypted",
            Content::Protobuf => "protobuf",
            Content::Json => "json",
            Content::Cbor => "cbor",
            // `Other`, and nothing else today: the enum is non-exhaustive.
            _ => "other",
        },
        &removed,
        entry.cut_short,
        entry.crlf_undone,
    )
}

fn failed(fault: &Fault) -> JsValue {
    let place = format!("line {}, byte {}: ", fault.place.line, fault.place.offset);
    let text = fault.to_string();
    make_fault(
        fault.key.as_deref(),
        fault.form.map(Form::name),
        &lines(&fault.within),
        number(fault.place.line),
        number(fault.place.offset),
        text.strip_prefix(&place).unwrap_or(&text),
        fault.command(),
    )
}

/// Returns the names of forms, each followed by a line end.
fn lines(forms: &[Form]) -> String {
    let mut lines = String::new();
    for form in forms {
        lines.push_str(form.name());
        lines.push('\n');
    }
    lines
}

/// Converts a revision or a position. Only a forged revision is above 2^53, and is rounded.
#[allow(clippy::cast_precision_loss)]
fn number(of: u64) -> f64 {
    of as f64
}
