use std::collections::BTreeMap;

use prost::Message;
use tonic::server::NamedService;

use crate::kms::{v1beta1, v2};
use crate::plugin::{CountsResponse, introspection_server::IntrospectionServer};
use crate::storage::{EncryptedDekSourceType, EncryptedObject};
use crate::values::{Outcome, Problem, State, Value};

/// Encodes a length-delimited field as protobuf defines it: `field number << 3 | 2`, length, bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, bytes.len() as u8], bytes].concat()
}

#[test]
fn services_have_the_wire_names() {
    fn name<S: NamedService>(_: Option<S>) -> &'static str {
        S::NAME
    }
    use v1beta1::key_management_service_server::KeyManagementServiceServer as V1;
    use v2::key_management_service_server::KeyManagementServiceServer as V2;
    assert_eq!(name(None::<V1<()>>), "v1beta1.KeyManagementService");
    assert_eq!(name(None::<V2<()>>), "v2.KeyManagementService");
    assert_eq!(name(None::<IntrospectionServer<()>>), "dekker.plugin.v1.Introspection");
}

#[test]
fn fields_have_the_wire_numbers() {
    let annotations = BTreeMap::from([("a.example".to_owned(), vec![7])]);
    let annotation = [field(1, b"a.example"), field(2, &[7])].concat();
    let object = EncryptedObject {
        encrypted_data: b"data".to_vec(),
        key_id: "key".into(),
        encrypted_dek_source: b"source".to_vec(),
        annotations: annotations.clone(),
        encrypted_dek_source_type: EncryptedDekSourceType::HkdfSha256XnonceAesGcmSeed.into(),
    };
    let status =
        v2::StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "key".into() };
    let decrypt = v2::DecryptRequest {
        ciphertext: b"c".to_vec(),
        uid: "u".into(),
        key_id: "key".into(),
        annotations: annotations.clone(),
    };
    let encrypted =
        v2::EncryptResponse { ciphertext: b"c".to_vec(), key_id: "key".into(), annotations };
    let encrypt = v2::EncryptRequest { plaintext: b"p".to_vec(), uid: "u".into() };
    let old_version = v1beta1::VersionResponse {
        version: "v1beta1".into(),
        runtime_name: "n".into(),
        runtime_version: "1".into(),
    };
    let old_encrypt = v1beta1::EncryptRequest { version: "v1beta1".into(), plain: b"p".to_vec() };
    let old_decrypt = v1beta1::DecryptRequest { version: "v1beta1".into(), cipher: b"c".to_vec() };
    let value = Value { resource: "secrets".into(), key: "/k".into(), value: "v".into() };
    let outcome = Outcome {
        value: b"v".to_vec(),
        key_id_hash: "sha256:".into(),
        state: State::OtherSource.into(),
        problem: Some(Problem {
            status: 7,
            kind: "k".into(),
            detail: "d".into(),
            grpc_code: 5,
            retry_after: 6,
        }),
    };
    let problem =
        [vec![1 << 3, 7], field(2, b"k"), field(3, b"d"), vec![4 << 3, 5, 5 << 3, 6]].concat();
    let counts = CountsResponse { status: 1, encrypt: 2, decrypt: 3 };
    for (desc, got, want) in [
        (
            "EncryptedObject",
            object.encode_to_vec(),
            [
                field(1, b"data"),
                field(2, b"key"),
                field(3, b"source"),
                field(4, &annotation),
                vec![5 << 3, 1],
            ]
            .concat(),
        ),
        (
            "v2 StatusResponse",
            status.encode_to_vec(),
            [field(1, b"v2"), field(2, b"ok"), field(3, b"key")].concat(),
        ),
        (
            "v2 DecryptRequest",
            decrypt.encode_to_vec(),
            [field(1, b"c"), field(2, b"u"), field(3, b"key"), field(4, &annotation)].concat(),
        ),
        (
            "v2 EncryptResponse",
            encrypted.encode_to_vec(),
            [field(1, b"c"), field(2, b"key"), field(3, &annotation)].concat(),
        ),
        ("v2 EncryptRequest", encrypt.encode_to_vec(), [field(1, b"p"), field(2, b"u")].concat()),
        (
            "v1beta1 VersionResponse",
            old_version.encode_to_vec(),
            [field(1, b"v1beta1"), field(2, b"n"), field(3, b"1")].concat(),
        ),
        (
            "v1beta1 EncryptRequest",
            old_encrypt.encode_to_vec(),
            [field(1, b"v1beta1"), field(2, b"p")].concat(),
        ),
        (
            "v1beta1 DecryptRequest",
            old_decrypt.encode_to_vec(),
            [field(1, b"v1beta1"), field(2, b"c")].concat(),
        ),
        (
            "Value",
            value.encode_to_vec(),
            [field(1, b"secrets"), field(2, b"/k"), field(3, b"v")].concat(),
        ),
        (
            "Outcome",
            outcome.encode_to_vec(),
            [field(1, b"v"), field(2, b"sha256:"), vec![3 << 3, 2], field(4, &problem)].concat(),
        ),
        ("CountsResponse", counts.encode_to_vec(), vec![1 << 3, 1, 2 << 3, 2, 3 << 3, 3]),
    ] {
        assert_eq!(got, want, "{desc}");
    }
}

#[test]
fn unknown_fields_are_ignored_and_unknown_source_types_are_detected() {
    let bytes = [field(1, b"data"), field(9, b"new"), vec![5 << 3, 2]].concat();
    let object = EncryptedObject::decode(&*bytes).unwrap();
    assert_eq!(object.encrypted_data, b"data");
    assert!(EncryptedDekSourceType::try_from(object.encrypted_dek_source_type).is_err());
}

#[test]
fn debug_shows_no_secret() {
    let secret = "SECRET";
    let bytes = secret.as_bytes().to_vec();
    let annotations = BTreeMap::from([("a.example".to_owned(), bytes.clone())]);
    for shown in [
        format!("{:?}", v2::StatusResponse { key_id: secret.into(), ..Default::default() }),
        format!(
            "{:?}",
            v2::DecryptRequest {
                ciphertext: bytes.clone(),
                uid: "u".into(),
                key_id: secret.into(),
                annotations: annotations.clone(),
            }
        ),
        format!(
            "{:?}",
            v2::EncryptResponse {
                ciphertext: bytes.clone(),
                key_id: secret.into(),
                annotations: annotations.clone(),
            }
        ),
        format!(
            "{:?}",
            EncryptedObject {
                encrypted_data: bytes.clone(),
                key_id: secret.into(),
                encrypted_dek_source: bytes.clone(),
                annotations,
                encrypted_dek_source_type: 0,
            }
        ),
        format!("{:?}", v2::EncryptRequest { plaintext: bytes.clone(), uid: "u".into() }),
        format!("{:?}", v2::DecryptResponse { plaintext: bytes.clone() }),
        format!(
            "{:?}",
            v1beta1::EncryptRequest { version: "v1beta1".into(), plain: bytes.clone() }
        ),
        format!("{:?}", v1beta1::DecryptResponse { plain: bytes.clone() }),
        format!(
            "{:?}",
            v1beta1::DecryptRequest { version: "v1beta1".into(), cipher: bytes.clone() }
        ),
        format!("{:?}", v1beta1::EncryptResponse { cipher: bytes.clone() }),
        format!(
            "{:?}",
            Value { resource: "r".into(), key: secret.into(), value: bytes.clone().into() }
        ),
        format!(
            "{:?}",
            Outcome { value: bytes, key_id_hash: String::new(), state: 0, problem: None }
        ),
    ] {
        assert!(!shown.contains("SECRET"), "{shown}");
        assert!(!shown.contains("83, 69"), "{shown}");
        assert!(shown.contains("[6 bytes]"), "{shown}");
    }
}
