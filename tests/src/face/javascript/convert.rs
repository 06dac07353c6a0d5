//! Conversions between the face's JSON and core's types.

use std::time::Duration;

use ::base64::Engine as _;
use ::base64::engine::general_purpose::STANDARD;
use dekker_core::config::{KmsVersion, SocketAddress};
use dekker_core::engine::event as core;
use dekker_core::provider::value;
use dekker_core::{ErrorKind, TransformError, ValueState};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{Finding, Sample};

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Bytes, encoded as base64 in JSON.
pub(super) struct Bytes(Vec<u8>);

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let bytes = STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Found {
    severity: String,
    path: String,
    message: String,
    line: Option<u32>,
    column: Option<u32>,
}

pub(super) fn findings(findings: Value) -> Vec<Finding> {
    let findings: Vec<Found> = serde_json::from_value(findings).expect("findings");
    let finding = |found: Found| Finding {
        is_fault: match &*found.severity {
            "fault" => true,
            "warning" => false,
            other => panic!("severity {other}"),
        },
        path: found.path,
        message: found.message,
        position: found.line.zip(found.column),
    };
    findings.into_iter().map(finding).collect()
}

#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Outcome<T> {
    Done(T),
    Failed { error: Fault },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Fault {
    code: String,
    message: String,
    is_transient: bool,
    grpc_code: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Encrypted {
    stored: Bytes,
    transformer_prefix: String,
    key_id_hash: Option<String>,
    key_prefix: Option<String>,
    has_rule: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Decrypted {
    plaintext: Bytes,
    stale: bool,
    state: Option<String>,
    transformer_prefix: String,
    key_id_hash: Option<String>,
    key_prefix: Option<String>,
    has_rule: bool,
}

fn error(fault: Fault) -> TransformError {
    let kind = match &*fault.code {
        "NO_MATCHING_PREFIX" => ErrorKind::NoMatchingPrefix,
        "ENCRYPTED_DATA" => ErrorKind::EncryptedData,
        "DECRYPT_FAILED" => ErrorKind::DecryptFailed,
        "MALFORMED" => ErrorKind::Malformed,
        "KMS" => ErrorKind::Kms,
        "NOT_READY" => ErrorKind::NotReady,
        "NONCES_EXHAUSTED" => ErrorKind::NoncesExhausted,
        "OVERLOADED" => ErrorKind::Overloaded,
        "READ_ONLY" => ErrorKind::ReadOnly,
        "INTERNAL" => ErrorKind::Internal,
        other => panic!("error code {other}"),
    };
    assert_eq!(fault.is_transient, kind.is_transient(), "{kind:?}");
    let mut error = TransformError::new(kind, fault.message);
    error.grpc_code = fault.grpc_code;
    error
}

pub(super) fn encrypted(of: Outcome<Encrypted>) -> Result<value::Encrypted, TransformError> {
    match of {
        Outcome::Done(done) => Ok(value::Encrypted {
            stored: done.stored.0,
            transformer_prefix: done.transformer_prefix.into(),
            key_id_hash: done.key_id_hash.map(Into::into),
            key_prefix: done.key_prefix.map(Into::into),
            has_rule: done.has_rule,
        }),
        Outcome::Failed { error: fault } => Err(error(fault)),
    }
}

pub(super) fn decrypted(of: Outcome<Decrypted>) -> Result<value::Decrypted, TransformError> {
    match of {
        Outcome::Done(done) => {
            let decrypted = value::Decrypted {
                plaintext: done.plaintext.0.into(),
                state: done.state.as_deref().map(state),
                transformer_prefix: done.transformer_prefix.into(),
                key_id_hash: done.key_id_hash.map(Into::into),
                key_prefix: done.key_prefix.map(Into::into),
                has_rule: done.has_rule,
            };
            assert_eq!(done.stale, decrypted.is_stale(), "{:?}", decrypted.state);
            Ok(decrypted)
        }
        Outcome::Failed { error: fault } => Err(error(fault)),
    }
}

fn state(name: &str) -> ValueState {
    match name {
        "fresh" => ValueState::Fresh,
        "other-source" => ValueState::OtherSource,
        "stale" => ValueState::Stale,
        other => panic!("state {other}"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Check {
    name: String,
    fault: Option<String>,
}

pub(super) fn check(check: Check) -> core::Check {
    core::Check { name: check.name, fault: check.fault }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(super) enum Action {
    CallStatus {
        call: u64,
        provider: u32,
    },
    CallEncrypt {
        call: u64,
        provider: u32,
        uid: String,
        plaintext: Bytes,
        is_new_dek: bool,
    },
    CallDecrypt {
        call: u64,
        provider: u32,
        uid: String,
        ciphertext: Bytes,
        key_id: String,
        annotations: Vec<(String, Bytes)>,
    },
    ToStorageDone {
        op: u64,
        outcome: Outcome<Encrypted>,
    },
    FromStorageDone {
        op: u64,
        outcome: Outcome<Decrypted>,
    },
    HealthDone {
        op: u64,
        checks: Vec<Check>,
    },
    ReloadDone {
        generation: u64,
        error: Option<String>,
    },
    CloseProvider {
        provider: u32,
    },
    Log {
        level: String,
        provider: Option<String>,
        message: String,
    },
}

pub(super) fn action(action: Action) -> core::Action {
    match action {
        Action::CallStatus { call, provider } => core::Action::CallStatus {
            call: core::CallId(call),
            provider: core::ProviderId(provider),
        },
        Action::CallEncrypt { call, provider, uid, plaintext, is_new_dek } => {
            core::Action::CallEncrypt {
                call: core::CallId(call),
                provider: core::ProviderId(provider),
                uid,
                plaintext: plaintext.0.into(),
                is_new_dek,
            }
        }
        Action::CallDecrypt { call, provider, uid, ciphertext, key_id, annotations } => {
            core::Action::CallDecrypt {
                call: core::CallId(call),
                provider: core::ProviderId(provider),
                uid,
                request: core::DecryptRequest {
                    ciphertext: ciphertext.0,
                    key_id,
                    annotations: annotations
                        .into_iter()
                        .map(|(name, value)| (name, value.0))
                        .collect(),
                },
            }
        }
        Action::ToStorageDone { op, outcome } => {
            core::Action::ToStorageDone { op: core::OpId(op), outcome: encrypted(outcome) }
        }
        Action::FromStorageDone { op, outcome } => {
            core::Action::FromStorageDone { op: core::OpId(op), outcome: decrypted(outcome) }
        }
        Action::HealthDone { op, checks } => core::Action::HealthDone {
            op: core::OpId(op),
            checks: checks.into_iter().map(check).collect(),
        },
        Action::ReloadDone { generation, error } => core::Action::ReloadDone {
            generation: core::Generation(generation),
            outcome: error.map_or(Ok(()), Err),
        },
        Action::CloseProvider { provider } => {
            core::Action::CloseProvider { provider: core::ProviderId(provider) }
        }
        Action::Log { level, provider, message } => core::Action::Log(core::LogLine {
            level: match &*level {
                "error" => core::LogLevel::Error,
                "warn" => core::LogLevel::Warn,
                "info" => core::LogLevel::Info,
                "debug" => core::LogLevel::Debug,
                other => panic!("level {other}"),
            },
            provider: provider.map(Into::into),
            message,
        }),
    }
}

/// Returns the name of the function that handles an event, and its arguments.
pub(super) fn event(event: core::Event) -> (&'static str, Value) {
    let failed = |call: core::CallId, method: &str, error: core::CallError| {
        let core::CallError { code, message } = error;
        let request = json!({ "call": call.0, "method": method, "code": code, "message": message });
        ("completeError", request)
    };
    match event {
        core::Event::Status { call, outcome } => match outcome {
            Ok(core::StatusResponse { version, healthz, key_id }) => (
                "completeStatus",
                json!({ "call": call.0, "version": version, "healthz": healthz, "keyId": key_id }),
            ),
            Err(error) => failed(call, "status", error),
        },
        core::Event::Encrypted { call, outcome } => match outcome {
            Ok(core::EncryptResponse { ciphertext, key_id, annotations }) => {
                let annotations = annotations.iter();
                let annotations: Vec<_> =
                    annotations.map(|(name, value)| (name, base64(value))).collect();
                (
                    "completeEncrypt",
                    json!({
                        "call": call.0,
                        "ciphertext": base64(&ciphertext),
                        "keyId": key_id,
                        "annotations": annotations,
                    }),
                )
            }
            Err(error) => failed(call, "encrypt", error),
        },
        core::Event::Decrypted { call, outcome } => match outcome {
            Ok(plaintext) => (
                "completeDecrypt",
                json!({ "call": call.0, "plaintext": base64(plaintext.expose()) }),
            ),
            Err(error) => failed(call, "decrypt", error),
        },
        core::Event::Restored => ("restored", json!({})),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct KmsProvider {
    id: u32,
    name: String,
    version: String,
    endpoint: String,
    socket_path: Option<String>,
    abstract_socket: Option<String>,
    timeout_ms: u64,
}

pub(super) fn kms_provider(info: KmsProvider) -> core::KmsProviderInfo {
    core::KmsProviderInfo {
        id: core::ProviderId(info.id),
        name: info.name.into(),
        version: match &*info.version {
            "v1" => KmsVersion::V1,
            "v2" => KmsVersion::V2,
            other => panic!("version {other}"),
        },
        endpoint: info.endpoint,
        address: match (info.socket_path, info.abstract_socket) {
            (Some(path), None) => SocketAddress::Path(path),
            (None, Some(name)) => SocketAddress::Abstract(name),
            both => panic!("one of path and name: {both:?}"),
        },
        timeout: Duration::from_millis(info.timeout_ms),
    }
}

#[derive(Deserialize)]
pub(super) struct Family {
    name: String,
    samples: Vec<Labelled>,
}

#[derive(Deserialize)]
struct Labelled {
    labels: Vec<(String, String)>,
    value: f64,
}

pub(super) fn family(family: Family) -> (String, Vec<Sample>) {
    let samples = family.samples.into_iter();
    let samples = samples.map(|sample| (sample.labels, sample.value));
    (family.name, samples.collect())
}
