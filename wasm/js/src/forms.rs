//! The class `FormReader`, and the resource of a storage key.

use dekker_forms::{Content, Entry, Fault, Form, Item, Limits, Reader};
use serde::Serialize;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, JsValue};

use crate::convert::{self, Bytes, number};

/// Finds the stored values in an input, in any form that `dekker_forms` knows.
///
/// Push a piece, then call `next` until it returns `undefined`; at the end of the input, call `finish` until it returns `undefined`. So one value at a
/// time leaves the module.
#[wasm_bindgen]
pub struct FormReader {
    reader: Reader,
    piece: Vec<u8>,
    /// How much of the piece has been read.
    read: usize,
}

#[wasm_bindgen]
impl FormReader {
    /// Creates a reader.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        Self { reader: Reader::new(Limits::default()), piece: Vec::new(), read: 0 }
    }

    /// Replaces the previous piece, which must have been read to its end.
    pub fn push(&mut self, piece: Vec<u8>) {
        self.piece = piece;
        self.read = 0;
    }

    /// Returns the next value or fault in the piece, or `undefined` if it has been read to its end.
    ///
    /// # Errors
    /// Never.
    pub fn next(&mut self) -> Result<JsValue, JsError> {
        let mut rest = self.piece.get(self.read..).unwrap_or_default();
        let item = self.reader.push(&mut rest);
        self.read = self.piece.len() - rest.len();
        convert_item(item)
    }

    /// Returns the next value or fault after the last byte, or `undefined` if there is no other.
    ///
    /// # Errors
    /// Never.
    pub fn finish(&mut self) -> Result<JsValue, JsError> {
        convert_item(self.reader.finish())
    }
}

/// Returns the resource of a storage key, or `undefined` if it cannot be known.
///
/// # Errors
/// Never.
#[wasm_bindgen(js_name = resourceOf)]
pub fn resource_of(key: &[u8]) -> Result<JsValue, JsError> {
    let resource = dekker_forms::resource(key);
    resource.map_or(Ok(JsValue::UNDEFINED), |found| {
        convert::to_js(&Resource { resource: found.to_string(), certain: found.certain })
    })
}

#[derive(Serialize)]
struct Resource {
    resource: String,
    certain: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Found<'a> {
    Value {
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<Bytes<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        revision: Option<f64>,
        bytes: Bytes<'a>,
        form: &'static str,
        within: Vec<&'static str>,
        line: f64,
        offset: f64,
        content: &'static str,
        /// How many of the last bytes each reading of the value is without, the most probable reading first.
        removed: Vec<usize>,
        cut_short: bool,
        crlf_undone: bool,
    },
    Fault {
        #[serde(skip_serializing_if = "Option::is_none")]
        key: Option<Bytes<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        form: Option<&'static str>,
        within: Vec<&'static str>,
        line: f64,
        offset: f64,
        error: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        command: Option<&'static str>,
    },
}

fn convert_item(item: Option<Item>) -> Result<JsValue, JsError> {
    match item {
        None => Ok(JsValue::UNDEFINED),
        Some(Ok(entry)) => convert::to_js(&value(&entry)),
        Some(Err(fault)) => convert::to_js(&failed(&fault)),
    }
}

fn value(entry: &Entry) -> Found<'_> {
    Found::Value {
        key: entry.key.as_deref().map(Bytes),
        revision: entry.revision.map(number),
        bytes: Bytes(&entry.bytes),
        form: entry.form.name(),
        within: names(&entry.within),
        line: number(entry.place.line),
        offset: number(entry.place.offset),
        content: match entry.content {
            Content::Encrypted => "encrypted",
            Content::Protobuf => "protobuf",
            Content::Json => "json",
            Content::Cbor => "cbor",
            // `Other`, and nothing else today: the enum is non-exhaustive.
            _ => "other",
        },
        removed: removed(entry),
        cut_short: entry.cut_short,
        crlf_undone: entry.crlf_undone,
    }
}

fn removed(entry: &Entry) -> Vec<usize> {
    let readings = entry.probable_readings(&[]);
    readings.into_iter().map(|bytes| entry.bytes.len() - bytes.len()).collect()
}

fn failed(fault: &Fault) -> Found<'_> {
    let place = format!("line {}, byte {}: ", fault.place.line, fault.place.offset);
    let text = fault.to_string();
    Found::Fault {
        key: fault.key.as_deref().map(Bytes),
        form: fault.form.map(Form::name),
        within: names(&fault.within),
        line: number(fault.place.line),
        offset: number(fault.place.offset),
        error: text.strip_prefix(&place).unwrap_or(&text).to_owned(),
        command: fault.command(),
    }
}

fn names(forms: &[Form]) -> Vec<&'static str> {
    forms.iter().copied().map(Form::name).collect()
}
