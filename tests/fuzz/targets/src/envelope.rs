//! `EncryptedObject` of KMS v2: decoding gives prost's result, encoding gives prost's bytes, and an error names a position in the input.

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::provider::kms::message::EncryptedDekSource;
use dekker_core::provider::kms::v2::envelope::{EncryptedObject, EnvelopeError, frame};
use dekker_proto::storage::EncryptedObject as Object;
use prost::Message;

/// Treats any bytes as what follows `k8s:enc:kms:v2:<name>:`.
///
/// # Panics
/// Panics if a promise is broken.
pub fn run(input: &[u8]) {
    let object = match EncryptedObject::decode(input) {
        Ok(object) => object,
        Err(error) => return refused(input, &error),
    };
    let ours = owned(&object);
    // prost rejects fields of another wire type, which Go and Dekker skip. If prost decodes the input, the results must be equal.
    if let Ok(theirs) = Object::decode(input) {
        assert_eq!(ours, theirs, "prost decodes it differently");
    }
    // A valid object can be encoded, and decodes to the same object.
    let annotations = ours.annotations.clone().into_iter().collect();
    let source =
        EncryptedDekSource::new(ours.encrypted_dek_source.clone(), &ours.key_id, annotations);
    let source = source.expect("a decoded object is valid");
    let frame = frame("", &source, object.source_type);
    let (header, sealed) = object.encrypted_data.split_at(object.encrypted_data.len().min(12));
    let written = frame.around(header, sealed.len(), |envelope| {
        envelope.assemble(sealed.len(), |out| {
            out.extend_from_slice(sealed);
            Ok(())
        })
    });
    let written = written.expect("nothing is sealed");
    // prost omits an empty value of a map entry; Go and Dekker write it.
    if ours.annotations.values().all(|value| !value.is_empty()) {
        assert_eq!(written, ours.encode_to_vec(), "prost encodes it differently");
    }
    let again = EncryptedObject::decode(&written);
    assert_eq!(again.as_ref(), Ok(&object), "it reads back");
}

fn refused(input: &[u8], error: &EnvelopeError) {
    assert!(!error.to_string().is_empty(), "an error has a message");
    match error {
        EnvelopeError::Truncated { offset, .. }
        | EnvelopeError::Annotation { offset }
        | EnvelopeError::VarintOverflow { offset }
        | EnvelopeError::FieldNumber { offset }
        | EnvelopeError::WireType { offset } => {
            assert!(*offset <= input.len(), "a position past the end");
        }
        EnvelopeError::NotUtf8 { field } => assert!(matches!(field, 2 | 4), "no text"),
        _ => {}
    }
}

fn owned(object: &EncryptedObject<'_>) -> Object {
    let annotations = object.annotations.iter();
    Object {
        encrypted_data: object.encrypted_data.to_vec(),
        key_id: object.key_id.to_owned(),
        encrypted_dek_source: object.encrypted_dek_source.to_vec(),
        annotations: annotations.map(|(key, value)| ((*key).to_owned(), value.to_vec())).collect(),
        encrypted_dek_source_type: match object.source_type {
            DekSourceType::AesGcmKey => 0,
            DekSourceType::HkdfSha256XnonceAesGcmSeed => 1,
        },
    }
}

/// Returns objects with both kinds of DEK source, with and without annotations, with fields in another order, unknown fields, and groups.
pub fn seeds() -> Vec<Vec<u8>> {
    let object = |source_type, annotations: &[(&str, &[u8])]| Object {
        encrypted_data: (0..60).collect(),
        key_id: "key-1".into(),
        encrypted_dek_source: vec![7; 40],
        annotations: annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
            .collect(),
        encrypted_dek_source_type: source_type,
    };
    let plain = object(0, &[]).encode_to_vec();
    let annotated = object(1, &[("a.example.com", b"1"), ("b.example.com", b"")]).encode_to_vec();
    let longest =
        Object { key_id: "k".repeat(1024), encrypted_dek_source: vec![1; 1024], ..object(0, &[]) };
    // A group of an unknown field that contains a number and another group; a varint of ten bytes; a fixed64 and a fixed32.
    let unknown = [0x33, 0x08, 0x01, 0x3b, 0x3c, 0x34, 0x40];
    let varint = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let fixed = [0x49, 1, 2, 3, 4, 5, 6, 7, 8, 0x4d, 1, 2, 3, 4];
    vec![
        annotated.clone(),
        [&annotated[..], &plain].concat(),
        longest.encode_to_vec(),
        [&unknown[..], &varint, &fixed, &plain].concat(),
        plain,
    ]
}
