//! What a log or an error may show of secrets, and how much memory a sealed value takes.

use std::error::Error as _;

use dekker_core::crypto::entropy::EntropyError;
use dekker_core::crypto::keys::{DekSourceType, Envelope, KeyError};
use dekker_core::crypto::nonce::Exhausted;
use dekker_core::crypto::secret::Secret;
use dekker_core::engine::event::{DecryptRequest, EncryptResponse, StatusResponse};
use dekker_core::provider::kms::annotations::Annotations;
use dekker_core::provider::kms::message::KeyId;
use dekker_core::provider::kms::v2::write_dek::SealError;

/// `sha256:` of `key-1`.
const HASH: &str = "sha256:be2974546978e3739e6d6da85c4be9f334ce32df2b9fd4b6ff1b55c0d57e9d44";

#[test]
fn debug_output_has_the_hash_of_a_key_id_and_no_secret() {
    let (key_id, ciphertext) = (String::from("key-1"), b"encrypted".to_vec());
    let annotations = Annotations::default();
    let request = DecryptRequest {
        ciphertext: ciphertext.clone(),
        key_id: key_id.clone(),
        annotations: annotations.clone(),
    };
    let encrypted = EncryptResponse { ciphertext, key_id: key_id.clone(), annotations };
    let status = StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id };
    let named = KeyId::try_from("key-1").unwrap();
    for (shown, expected) in [
        (format!("{request:?}"), format!("DecryptRequest {{ key_id_hash: \"{HASH}\", .. }}")),
        (format!("{encrypted:?}"), "EncryptResponse { ciphertext_len: 9, .. }".into()),
        (format!("{status:?}"), "StatusResponse { version: \"v2\", healthz: \"ok\", .. }".into()),
        (format!("{named:?}"), format!("KeyId({HASH})")),
    ] {
        assert_eq!(shown, expected);
    }
    assert_eq!(format!("{:?}", Secret::new(b"key".to_vec())), "Secret(..)");
}

#[test]
fn key_errors_say_which_lengths_are_valid() {
    let length = |source_type| KeyError::Length { source_type, len: 31 };
    for (error, expected) in [
        (length(DekSourceType::AesGcmKey), "invalid DEK: 31 bytes, expected 16, 24 or 32"),
        (
            length(DekSourceType::HkdfSha256XnonceAesGcmSeed),
            "invalid seed: 31 bytes, expected at least 32",
        ),
        (KeyError::LocalLength { len: 31 }, "a key of 31 bytes does not fit its cipher"),
        (KeyError::Entropy(EntropyError), "the source of randomness failed"),
        (KeyError::Cipher, "the cipher failed"),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn only_a_failed_source_of_randomness_is_the_source_of_a_key_error() {
    let error = KeyError::from(EntropyError);
    assert!(error.source().is_some_and(|source| source.is::<EntropyError>()));
    assert!(KeyError::Cipher.source().is_none());
    assert!(KeyError::LocalLength { len: 31 }.source().is_none());
}

#[test]
fn the_error_of_a_seal_has_the_text_and_the_source_of_its_cause() {
    for (error, text) in [
        (SealError::Exhausted(Exhausted), "the DEK has no nonce left"),
        (SealError::Key(KeyError::Cipher), "the cipher failed"),
    ] {
        assert_eq!(error.to_string(), text);
        assert_eq!(error.source().map(ToString::to_string).as_deref(), Some(text));
    }
}

#[test]
fn a_sealed_values_buffer_has_room_for_exactly_the_value() {
    let envelope = Envelope { prefix: b"prefix:", start: &[1; 3], header: &[2; 12], end: &[3; 5] };
    let out = envelope.assemble(100, |out| {
        out.extend_from_slice(&[4; 100]);
        Ok(())
    });
    let out = out.unwrap();
    assert_eq!(out, [b"prefix:".as_slice(), &[1; 3], &[2; 12], &[4; 100], &[3; 5]].concat());
    assert_eq!(out.capacity(), out.len());
}
