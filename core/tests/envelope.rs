//! Properties of the codec of KMS v2 values.

use std::collections::BTreeMap;
use std::error::Error as _;

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::provider::kms::annotations::{
    ANNOTATIONS_MAX, AnnotationsError, validate_annotations,
};
use dekker_core::provider::kms::message::{EncryptedDekSource, MessageError};
use dekker_core::provider::kms::v2::envelope::{EncryptedObject, EnvelopeError, frame};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// The parts of a valid object.
#[derive(Clone, Debug)]
struct Parts {
    data: Vec<u8>,
    key_id: String,
    source: Vec<u8>,
    annotations: BTreeMap<String, Vec<u8>>,
    source_type: DekSourceType,
}

impl Parts {
    fn encode(&self) -> Vec<u8> {
        let annotations = self.annotations.clone().into_iter().collect();
        let source = EncryptedDekSource::new(self.source.clone(), &self.key_id, annotations);
        let frame = frame("", &source.expect("valid parts"), self.source_type);
        frame.around(&[], self.data.len(), |envelope| {
            [envelope.start, &self.data, envelope.end].concat()
        })
    }

    fn matches(&self, object: &EncryptedObject<'_>) -> bool {
        let annotations = self.annotations.iter();
        object.encrypted_data == self.data
            && object.key_id == self.key_id
            && object.encrypted_dek_source == self.source
            && object.source_type == self.source_type
            && object
                .annotations
                .iter()
                .map(|(key, value)| (*key, *value))
                .eq(annotations.map(|(key, value)| (key.as_str(), value.as_slice())))
    }
}

fn parts() -> impl Strategy<Value = Parts> {
    let source_type = prop_oneof![
        Just(DekSourceType::AesGcmKey),
        Just(DekSourceType::HkdfSha256XnonceAesGcmSeed)
    ];
    let annotations = btree_map("[a-z0-9]{1,9}\\.[a-z]{1,9}\\.?", vec(any::<u8>(), 0..200), 0..6);
    let key_id = "\\PC{1,200}";
    (vec(any::<u8>(), 1..400), key_id, vec(any::<u8>(), 1..1025), annotations, source_type)
        .prop_map(|(data, key_id, source, annotations, source_type)| Parts {
            data,
            key_id,
            source,
            annotations,
            source_type,
        })
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn field(number: u32, wire_type: u64, value: &[u8]) -> Vec<u8> {
    [varint(u64::from(number) << 3 | wire_type), value.to_vec()].concat()
}

fn bytes_field(number: u32, value: &[u8]) -> Vec<u8> {
    field(number, 2, &[varint(value.len() as u64), value.to_vec()].concat())
}

/// Generates a field that no version of the message has, with any wire type, including groups.
fn unknown() -> impl Strategy<Value = Vec<u8>> {
    let number = 6u32..0x2000_0000;
    let leaf = prop_oneof![
        any::<u64>().prop_map(|value| (0, varint(value))),
        any::<[u8; 8]>().prop_map(|value| (1, value.to_vec())),
        vec(any::<u8>(), 0..50).prop_map(|value| (2, [varint(value.len() as u64), value].concat())),
        any::<[u8; 4]>().prop_map(|value| (5, value.to_vec())),
    ];
    let leaf =
        (number.clone(), leaf).prop_map(|(number, (kind, value))| field(number, kind, &value));
    leaf.prop_recursive(6, 20, 3, move |inner| {
        (number.clone(), vec(inner, 0..3)).prop_map(|(number, inner)| {
            [field(number, 3, &inner.concat()), field(number, 4, &[])].concat()
        })
    })
}

/// Generates known fields with a wrong wire type. Go keeps them as unknown fields.
fn mistyped() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (1u32..5, any::<u64>()).prop_map(|(number, value)| field(number, 0, &varint(value))),
        (1u32..6, any::<[u8; 8]>()).prop_map(|(number, value)| field(number, 1, &value)),
        (1u32..6, any::<[u8; 4]>()).prop_map(|(number, value)| field(number, 5, &value)),
        vec(any::<u8>(), 0..20).prop_map(|value| bytes_field(5, &value)),
        (1u32..6).prop_map(|number| [field(number, 3, &[]), field(number, 4, &[])].concat()),
    ]
}

/// Returns whether an object is within the limits that apply to every accepted object.
fn within_limits(object: &EncryptedObject<'_>, len: usize) -> bool {
    !object.encrypted_data.is_empty()
        && object.encrypted_data.len() <= len
        && (1..=1024).contains(&object.key_id.len())
        && (1..=1024).contains(&object.encrypted_dek_source.len())
        && validate_annotations(object.annotations.iter().map(|(key, value)| (*key, *value)))
            .is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn decode_returns_what_was_encoded(parts in parts()) {
        let bytes = parts.encode();
        let object = EncryptedObject::decode(&bytes).expect("a valid object");
        prop_assert!(parts.matches(&object));
    }

    #[test]
    fn unknown_and_mistyped_fields_are_skipped(parts in parts(), before in vec(prop_oneof![unknown(), mistyped()], 0..4), after in vec(prop_oneof![unknown(), mistyped()], 0..4)) {
        let bytes = [before.concat(), parts.encode(), after.concat()].concat();
        let object = EncryptedObject::decode(&bytes).expect("as Go reads it");
        prop_assert!(parts.matches(&object));
    }

    #[test]
    fn last_of_a_repeated_field_wins(first in parts(), last in parts()) {
        let mut first = first;
        first.annotations.retain(|key, _| last.annotations.contains_key(key));
        first.source_type = DekSourceType::AesGcmKey;
        let bytes = [first.encode(), last.encode()].concat();
        prop_assert!(last.matches(&EncryptedObject::decode(&bytes).expect("valid")));
    }

    #[test]
    fn order_of_the_fields_does_not_matter(parts in parts(), turn in 0usize..8) {
        let mut fields = vec![
            bytes_field(1, &parts.data),
            bytes_field(2, parts.key_id.as_bytes()),
            bytes_field(3, &parts.source),
            field(5, 0, &varint(u64::from(parts.source_type.number()))),
        ];
        // The value may precede the key, and either may occur twice.
        fields.extend(parts.annotations.iter().map(|(key, value)| {
            let entry = [bytes_field(2, b"first"), bytes_field(2, value), bytes_field(1, key.as_bytes()), bytes_field(9, b"x")];
            bytes_field(4, &entry.concat())
        }));
        let turn = turn % fields.len();
        fields.rotate_left(turn);
        let bytes = fields.concat();
        prop_assert!(parts.matches(&EncryptedObject::decode(&bytes).expect("valid")));
    }

    #[test]
    fn arbitrary_bytes_decode_within_limits_or_not_at_all(bytes in vec(any::<u8>(), 0..600)) {
        if let Ok(object) = EncryptedObject::decode(&bytes) {
            prop_assert!(within_limits(&object, bytes.len()));
        }
    }

    #[test]
    fn altered_objects_decode_within_limits_or_not_at_all(
        parts in parts(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let mut bytes = parts.encode();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(object) = EncryptedObject::decode(&bytes) {
            prop_assert!(within_limits(&object, bytes.len()));
        }
    }
}

#[test]
fn groups_nest_up_to_32_deep() {
    let valid = [bytes_field(1, b"d"), bytes_field(2, b"k"), bytes_field(3, b"s")].concat();
    for (depth, is_valid) in [(1, true), (32, true), (33, false)] {
        let groups = [vec![6 << 3 | 3; depth], vec![6 << 3 | 4; depth]].concat();
        let bytes = [valid.clone(), groups].concat();
        assert_eq!(EncryptedObject::decode(&bytes).is_ok(), is_valid, "{depth}");
    }
}

#[test]
fn annotations_are_counted_up_to_the_first_that_exceeds_the_limit() {
    let one = |n: usize| bytes_field(4, &bytes_field(1, format!("{n:05}").as_bytes()));
    let many: Vec<u8> = (0..ANNOTATIONS_MAX + 9).flat_map(one).collect();
    let error = EncryptedObject::decode(&many).expect_err("too many annotations");
    let too_long = AnnotationsError::TooLong { len: (ANNOTATIONS_MAX + 1) * 5 };
    assert_eq!(error, EnvelopeError::Message(MessageError::Annotations(too_long)));
    assert!(error.source().is_some_and(|source| source.is::<MessageError>()));
    assert!(EnvelopeError::EncryptedDataEmpty.source().is_none());
}

#[test]
fn hostile_bytes_are_refused() {
    let valid = [bytes_field(1, b"d"), bytes_field(2, b"k"), bytes_field(3, b"s")].concat();
    assert!(EncryptedObject::decode(&valid).is_ok());
    let table = [
        ("field number 0", field(0, 0, &[0])),
        ("a field number over 2^29 - 1", [varint(0x2000_0000 << 3), vec![0]].concat()),
        ("wire type 6", vec![6 << 3 | 6]),
        ("wire type 7", vec![6 << 3 | 7]),
        ("a group that ends without beginning", field(6, 4, &[])),
        ("a group that does not end", field(6, 3, &[])),
        ("a group that ends as another", [field(6, 3, &[]), field(7, 4, &[])].concat()),
        ("a million groups within each other", vec![6 << 3 | 3; 1_000_000]),
        ("a varint of eleven bytes", field(6, 0, &[0x80; 11])),
        (
            "a varint of 65 bits",
            field(6, 0, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]),
        ),
        ("a length beyond the end", field(6, 2, &varint(u64::MAX))),
        ("a length of 4 GiB", field(6, 2, &varint(1 << 32))),
        ("half a tag", vec![0x80]),
        ("a key ID that is not UTF-8", bytes_field(2, b"\xff")),
        ("an annotation that is cut short", bytes_field(4, &[1 << 3 | 2, 9])),
        ("an annotation key that is not UTF-8", bytes_field(4, &bytes_field(1, b"\xff"))),
        ("an annotation without a key", bytes_field(4, &[])),
    ];
    for (desc, hostile) in table {
        let bytes = [valid.clone(), hostile].concat();
        assert!(EncryptedObject::decode(&bytes).is_err(), "{desc}");
    }
}

#[test]
fn errors_give_the_position_and_how_much_is_missing() {
    let valid = [bytes_field(1, b"d"), bytes_field(2, b"k"), bytes_field(3, b"s")].concat();
    let start = valid.len();
    let cut = |offset, missing| EnvelopeError::Truncated { offset, missing };
    let table = [
        ("half a tag", vec![0x80], cut(start, 1), Some(1)),
        (
            "a field with a part of its bytes",
            [field(6, 2, &varint(1000)), vec![0; 10]].concat(),
            cut(start + 3, 990),
            Some(990),
        ),
        ("half a number of 64 bits", field(6, 1, &[0; 4]), cut(start + 1, 4), Some(4)),
        (
            "a length that is not believed",
            field(6, 2, &varint(u64::MAX)),
            cut(start + 11, u64::MAX),
            None,
        ),
        (
            "an annotation that is shorter than its key",
            bytes_field(4, &[1 << 3 | 2, 9]),
            EnvelopeError::Annotation { offset: start + 4 },
            None,
        ),
        ("wire type 7", vec![6 << 3 | 7], EnvelopeError::WireType { offset: start + 1 }, None),
    ];
    for (desc, hostile, expected, missing) in table {
        let bytes = [valid.clone(), hostile].concat();
        let error = EncryptedObject::decode(&bytes).expect_err(desc);
        assert_eq!(error, expected, "{desc}");
        assert_eq!(error.missing(), missing, "{desc}");
    }
    assert_eq!(cut(3, 1).after(20), cut(23, 1));
    assert_eq!(
        EnvelopeError::Annotation { offset: 3 }.after(20),
        EnvelopeError::Annotation { offset: 23 }
    );
    assert_eq!(EnvelopeError::EncryptedDataEmpty.after(20), EnvelopeError::EncryptedDataEmpty);
}

#[test]
fn enum_is_truncated_to_32_bits_as_in_go() {
    let valid = [bytes_field(1, b"d"), bytes_field(2, b"k"), bytes_field(3, b"s")].concat();
    let of = |number| [valid.clone(), field(5, 0, &varint(number))].concat();
    let source_type =
        |number| EncryptedObject::decode(&of(number)).map(|object| object.source_type);
    assert_eq!(source_type(1 << 32), Ok(DekSourceType::AesGcmKey));
    assert_eq!(source_type(1 << 32 | 1), Ok(DekSourceType::HkdfSha256XnonceAesGcmSeed));
    assert!(source_type(2).is_err() && source_type(u64::MAX).is_err());
}
