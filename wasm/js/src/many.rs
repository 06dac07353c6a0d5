//! Many values in one call.
//!
//! A call from one side to the other costs as much as the engine's work on a small value. So the driver packs the values into one array, and each
//! outcome goes back as numbers and a view of this module's memory: no text, and no object.

use std::sync::Arc;

use dekker_core::engine::event::OpId;
use dekker_core::{Decrypted, Encrypted, Location};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, JsValue};

use crate::convert;
use crate::engine::{self, Engine};

#[wasm_bindgen]
extern "C" {
    /// `Outcomes` of `outcome.js`. Each function but `label` adds the outcome of the next value.
    pub type Outcomes;

    #[wasm_bindgen(method)]
    fn written(this: &Outcomes, stored: &[u8]);
    #[wasm_bindgen(method)]
    fn read(this: &Outcomes, plaintext: &[u8], labels: u32);
    #[wasm_bindgen(method)]
    fn label(
        this: &Outcomes,
        state: u32,
        transformer_prefix: &JsValue,
        key_id_hash: &JsValue,
        key_prefix: &JsValue,
        has_rule: bool,
    );
    #[wasm_bindgen(method)]
    fn failed(this: &Outcomes, outcome: JsValue);
    #[wasm_bindgen(method)]
    fn parked(this: &Outcomes);
}

#[wasm_bindgen]
impl Engine {
    /// Encrypts the values of a group, as `toStorage` does. The first operation is `op`, and each has the next number.
    ///
    /// `lengths` has three numbers for each value: the index of its resource in `resources`, the length of its storage key and that of its plaintext.
    /// `bytes` has the storage key and the plaintext of each, without gaps.
    ///
    /// # Errors
    /// Returns an error if the engine is in use, or if `lengths` does not fit the rest.
    #[wasm_bindgen(js_name = toStorageMany)]
    pub fn to_storage_many(
        &self,
        op: f64,
        resources: Vec<String>,
        lengths: &[u32],
        bytes: &[u8],
        now: f64,
        outcomes: &Outcomes,
    ) -> Result<(), JsError> {
        let now = engine::time(now);
        for (op, value) in (engine::id(op)..).zip(values(&resources, lengths, bytes)) {
            let (at, plaintext) = value?;
            let outcome = self.borrow()?.to_storage(OpId(op), at, plaintext, now);
            match outcome {
                Some(Ok(Encrypted { stored, .. })) => outcomes.written(&stored),
                Some(Err(error)) => outcomes.failed(convert::failed(&error)?),
                None => outcomes.parked(),
            }
        }
        Ok(())
    }

    /// Decrypts the stored values of a group, as `fromStorage` does. The arguments are those of `toStorageMany`.
    ///
    /// # Errors
    /// Returns an error if the engine is in use, or if `lengths` does not fit the rest.
    #[wasm_bindgen(js_name = fromStorageMany)]
    pub fn from_storage_many(
        &self,
        op: f64,
        resources: Vec<String>,
        lengths: &[u32],
        bytes: &[u8],
        now: f64,
        outcomes: &Outcomes,
    ) -> Result<(), JsError> {
        let now = engine::time(now);
        let mut labels = LabelNumbers::default();
        for (op, value) in (engine::id(op)..).zip(values(&resources, lengths, bytes)) {
            let (at, stored) = value?;
            let outcome = self.borrow()?.from_storage(OpId(op), at, stored, now);
            match outcome {
                Some(Ok(decrypted)) => {
                    let number = labels.number(&decrypted, outcomes, &mut self.1.borrow_mut());
                    outcomes.read(decrypted.plaintext.expose(), number);
                }
                Some(Err(error)) => outcomes.failed(convert::failed(&error)?),
                None => outcomes.parked(),
            }
        }
        Ok(())
    }
}

/// Returns the location and the bytes of each value of a packed group.
fn values<'a>(
    resources: &'a [String],
    lengths: &'a [u32],
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<(Location<'a>, &'a [u8]), JsError>> {
    let mut rest = bytes;
    let mut next = move |numbers: &[u32]| {
        let &[resource, key, content] = numbers else {
            return None;
        };
        let resource = resources.get(resource as usize)?;
        let (key, after) = rest.split_at_checked(key as usize)?;
        let (content, after) = after.split_at_checked(content as usize)?;
        rest = after;
        Some((Location { resource, key }, content))
    };
    lengths
        .chunks(3)
        .map(move |numbers| next(numbers).ok_or_else(|| JsError::new("a group is not well-formed")))
}

/// The numbers of what `Outcomes` has as labels. Most values of a group have the same.
#[derive(Default)]
struct LabelNumbers(Vec<Labels>);

/// What values have in common. Equal texts are the same allocation, or else get another number.
struct Labels {
    state: u32,
    transformer_prefix: Arc<str>,
    key_id_hash: Option<Arc<str>>,
    key_prefix: Option<Arc<str>>,
    has_rule: bool,
}

impl LabelNumbers {
    /// Returns the number of a value's labels, which are passed to JavaScript if they are new.
    #[allow(clippy::cast_possible_truncation, reason = "a group has few values")]
    fn number(&mut self, of: &Decrypted, outcomes: &Outcomes, texts: &mut convert::Texts) -> u32 {
        let Decrypted {
            plaintext: _,
            state,
            transformer_prefix,
            key_prefix,
            has_rule,
            key_id_hash,
        } = of;
        let state = convert::state_number(*state);
        let known = self.0.iter().position(|labels| {
            labels.state == state
                && labels.has_rule == *has_rule
                && Arc::ptr_eq(&labels.transformer_prefix, transformer_prefix)
                && is_same(labels.key_id_hash.as_ref(), key_id_hash.as_ref())
                && is_same(labels.key_prefix.as_ref(), key_prefix.as_ref())
        });
        if let Some(known) = known {
            return known as u32;
        }
        outcomes.label(
            state,
            &texts.get(Some(transformer_prefix)),
            &texts.get(key_id_hash.as_ref()),
            &texts.get(key_prefix.as_ref()),
            *has_rule,
        );
        self.0.push(Labels {
            state,
            transformer_prefix: transformer_prefix.clone(),
            key_id_hash: key_id_hash.clone(),
            key_prefix: key_prefix.clone(),
            has_rule: *has_rule,
        });
        self.0.len() as u32 - 1
    }
}

/// Whether both are the same allocation, or both are absent.
fn is_same(a: Option<&Arc<str>>, b: Option<&Arc<str>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}
