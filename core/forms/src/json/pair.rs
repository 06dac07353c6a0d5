//! A pair of key and value: an object of JSON.

use alloc::vec::Vec;

use crate::context::{Candidate, Context};
use crate::digits;
use crate::entry::Place;
use crate::fault::{Fault, FaultKind};
use crate::form::Form;
use crate::guard::Guard;
use crate::text;

/// The members that mean something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Name {
    Key,
    Value,
    RowKey,
    Revision,
    RowId,
    /// `kv` and `prev_kv` of an event.
    Event,
    /// Another member of etcd's answers.
    Etcd,
    Other,
}

impl Name {
    pub(super) fn of(name: &[u8]) -> Self {
        // A `match` would compare byte by byte, and take two kilobytes of a WebAssembly module.
        let found = NAMES.iter().find(|(text, _)| *text == name);
        found.map_or(Self::Other, |(_, name)| *name)
    }
}

const NAMES: [(&[u8], Name); 28] = [
    (b"key", Name::Key),
    (b"value", Name::Value),
    (b"hex(value)", Name::Value),
    (b"encode", Name::Value),
    (b"quote(value)", Name::Value),
    (b"old_value", Name::Value),
    (b"name", Name::RowKey),
    (b"mod_revision", Name::Revision),
    (b"modRevision", Name::Revision),
    (b"id", Name::RowId),
    (b"kv", Name::Event),
    (b"prev_kv", Name::Event),
    (b"prevKv", Name::Event),
    (b"header", Name::Etcd),
    (b"Header", Name::Etcd),
    (b"kvs", Name::Etcd),
    (b"Events", Name::Etcd),
    (b"result", Name::Etcd),
    (b"responses", Name::Etcd),
    (b"create_revision", Name::Etcd),
    (b"createRevision", Name::Etcd),
    (b"CompactRevision", Name::Etcd),
    (b"count", Name::Etcd),
    (b"more", Name::Etcd),
    (b"cluster_id", Name::Etcd),
    (b"clusterId", Name::Etcd),
    (b"member_id", Name::Etcd),
    (b"memberId", Name::Etcd),
];

/// The innermost object, as a pair.
#[derive(Default)]
pub(super) struct Pair {
    pub(super) depth: usize,
    pub(super) place: Option<Place>,
    pub(super) key: Option<Vec<u8>>,
    pub(super) row: bool,
    pub(super) value: Option<Vec<u8>>,
    pub(super) revision: Option<u64>,
    pub(super) row_id: Option<u64>,
    pub(super) event: bool,
}

impl Pair {
    /// Reports the value, or that there is none. Does nothing if the object is no pair.
    pub(super) fn report(self, context: &mut Context) {
        let Self { depth: _, place, key, row, value, revision, row_id, event } = self;
        let place = place.unwrap_or(context.here());
        let form = if row { Form::JsonRows } else { Form::EtcdctlJson };
        let key = match key {
            Some(text) if row => Some(text),
            Some(text) => match pair_key(text, context.limits.key) {
                Some(key) => Some(key),
                None => {
                    context.fault(place, form, FaultKind::Syntax("the key is not base64"));
                    return;
                }
            },
            None => None,
        };
        if key.as_ref().is_some_and(|key| key.len() > context.limits.key) {
            context.fault(place, form, FaultKind::TooLong { limit: context.limits.key });
            return;
        }
        // kine's own rows are no objects.
        if row && key.as_deref().is_some_and(text::is_bookkeeping) {
            return;
        }
        // Databases print NULL as an empty text.
        let Some(text) = value.filter(|text| !(row && text.is_empty())) else {
            match key {
                // A deletion has no value.
                Some(key) if !event => {
                    let fault = Fault::new(place, Some(form), FaultKind::NoValue);
                    context.give(Err(Fault { key: Some(key), ..fault }));
                }
                _ => {}
            }
            return;
        };
        // A key in base64 stands before a value in base64. Otherwise, the tool is not known.
        let decoded = if row || key.is_none() {
            digits::decode(&text).map(|(bytes, _)| bytes)
        } else {
            digits::base64(&text)
        };
        let Some(bytes) = decoded else {
            let fault = Fault::new(place, Some(form), not_encoded(&text));
            context.give(Err(Fault { key, ..fault }));
            return;
        };
        let mut candidate = Candidate::new(form, place, bytes);
        candidate.exact = key.is_some();
        candidate.key = key;
        candidate.revision = if row { row_id } else { revision };
        context.offer(candidate);
    }
}

/// Returns the key of a pair: base64, or plain text that is a path.
fn pair_key(text: Vec<u8>, max: usize) -> Option<Vec<u8>> {
    match digits::base64(&text) {
        // `/registry/…` may be base64 too, for bytes that are no key.
        Some(_) if text::is_key(&text, max) && text.starts_with(b"/registry/") => Some(text),
        Some(key) => Some(key),
        None => text::is_key(&text, max).then_some(text),
    }
}

/// Why a text is not an encoded value.
pub(super) fn not_encoded(text: &[u8]) -> FaultKind {
    if text.starts_with(crate::ENCRYPTED_PREFIX) {
        FaultKind::PrintedAsText
    } else if Guard::finds(text) {
        FaultKind::UnrecognizedEncrypted
    } else {
        FaultKind::NotEncoded
    }
}
