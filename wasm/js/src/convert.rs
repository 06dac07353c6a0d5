//! Conversion of core's types to JavaScript objects.

use std::sync::Arc;

use dekker_core::config::{Faults, KmsVersion, SocketAddress};
use dekker_core::engine::event as core;
use dekker_core::engine::metrics::{MetricFamily, MetricKind};
use dekker_core::{Decrypted, Encrypted, ErrorKind, TransformError, ValueState};
use serde::{Serialize, Serializer};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, JsValue};

/// Converts lists to arrays, bytes to `Uint8Array` and `None` to `undefined`.
pub(crate) fn to_js<T: Serialize>(value: &T) -> Result<JsValue, JsError> {
    let serializer = serde_wasm_bindgen::Serializer::new();
    // Never fails: the values are plain data.
    value
        .serialize(&serializer)
        .map_err(|_| JsError::new("a value cannot be converted to JavaScript"))
}

/// Serializes as a `Uint8Array`.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Converts an ID, a revision or a position. They count up from 0 or 1; only a forged revision is above 2^53, and is rounded.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn number(id: u64) -> f64 {
    id as f64
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding<'a> {
    severity: &'static str,
    path: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<u32>,
}

pub(crate) fn finding(is_fault: bool, of: &dekker_core::config::Finding) -> Finding<'_> {
    Finding {
        severity: if is_fault { "fault" } else { "warning" },
        path: &of.path,
        message: &of.message,
        line: of.position.map(|position| position.line),
        column: of.position.map(|position| position.column),
    }
}

/// Returns the errors of a refused configuration as an array, to be thrown.
pub(crate) fn thrown_faults(faults: &Faults) -> JsValue {
    let findings: Vec<_> = faults.iter().map(|fault| finding(true, fault)).collect();
    to_js(&findings).unwrap_or_else(JsValue::from)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Fault<'a> {
    code: &'static str,
    message: &'a str,
    is_transient: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_code: Option<u32>,
}

fn fault(error: &TransformError) -> Fault<'_> {
    Fault {
        code: match error.kind {
            ErrorKind::NoMatchingPrefix => "NO_MATCHING_PREFIX",
            ErrorKind::EncryptedData => "ENCRYPTED_DATA",
            ErrorKind::DecryptFailed => "DECRYPT_FAILED",
            ErrorKind::Malformed => "MALFORMED",
            ErrorKind::Kms => "KMS",
            ErrorKind::NotReady => "NOT_READY",
            ErrorKind::NoncesExhausted => "NONCES_EXHAUSTED",
            ErrorKind::Overloaded => "OVERLOADED",
            ErrorKind::ReadOnly => "READ_ONLY",
            ErrorKind::Internal => "INTERNAL",
        },
        message: &error.message,
        is_transient: error.kind.is_transient(),
        grpc_code: error.grpc_code,
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Outcome<'a, T> {
    Done(T),
    Failed { error: Fault<'a> },
}

fn outcome<'a, T, U>(
    of: &'a Result<T, TransformError>,
    done: impl FnOnce(&'a T) -> U,
) -> Outcome<'a, U> {
    match of {
        Ok(value) => Outcome::Done(done(value)),
        Err(error) => Outcome::Failed { error: fault(error) },
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written<'a> {
    stored: Bytes<'a>,
    transformer_prefix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_prefix: Option<&'a str>,
    has_rule: bool,
}

fn written(encrypted: &Encrypted) -> Written<'_> {
    Written {
        stored: Bytes(&encrypted.stored),
        transformer_prefix: &encrypted.transformer_prefix,
        key_id_hash: encrypted.key_id_hash.as_deref(),
        key_prefix: encrypted.key_prefix.as_deref(),
        has_rule: encrypted.has_rule,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Read<'a> {
    plaintext: Bytes<'a>,
    stale: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    transformer_prefix: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_prefix: Option<&'a str>,
    has_rule: bool,
}

fn read(decrypted: &Decrypted) -> Read<'_> {
    Read {
        plaintext: Bytes(decrypted.plaintext.expose()),
        stale: decrypted.is_stale(),
        state: decrypted.state.map(ValueState::name),
        transformer_prefix: &decrypted.transformer_prefix,
        key_id_hash: decrypted.key_id_hash.as_deref(),
        key_prefix: decrypted.key_prefix.as_deref(),
        has_rule: decrypted.has_rule,
    }
}

/// Returns the outcome for an error.
pub(crate) fn failed(error: &TransformError) -> Result<JsValue, JsError> {
    to_js(&Outcome::Failed::<()> { error: fault(error) })
}

#[wasm_bindgen(raw_module = "./outcome.js")]
extern "C" {
    #[wasm_bindgen(js_name = written)]
    fn make_written(
        stored: &[u8],
        transformer_prefix: &JsValue,
        key_id_hash: &JsValue,
        key_prefix: &JsValue,
        has_rule: bool,
    ) -> JsValue;
    #[wasm_bindgen(js_name = read)]
    fn make_read(
        plaintext: &[u8],
        state: u32,
        transformer_prefix: &JsValue,
        key_id_hash: &JsValue,
        key_prefix: &JsValue,
        has_rule: bool,
    ) -> JsValue;
}

/// JavaScript's copies of texts that occur in many values: prefixes and key ID hashes.
#[derive(Default)]
pub(crate) struct Texts(Vec<(Arc<str>, JsValue)>);

impl Texts {
    /// 16: enough for the prefixes and key IDs of a few providers.
    const MAX: usize = 16;

    /// Returns JavaScript's copy of a text, or `undefined` for `None`.
    pub(crate) fn get(&mut self, text: Option<&Arc<str>>) -> JsValue {
        let Some(text) = text else {
            return JsValue::UNDEFINED;
        };
        if let Some((_, copy)) = self.0.iter().find(|(of, _)| Arc::ptr_eq(of, text)) {
            return copy.clone();
        }
        if self.0.len() >= Self::MAX {
            self.0.clear();
        }
        let copy = JsValue::from_str(text);
        self.0.push((text.clone(), copy.clone()));
        copy
    }
}

/// Returns `undefined` if the operation is parked.
pub(crate) fn encrypted(
    of: &Option<Result<Encrypted, TransformError>>,
    texts: &mut Texts,
) -> Result<JsValue, JsError> {
    let Encrypted { stored, transformer_prefix, key_prefix, has_rule, key_id_hash } = match of {
        None => return Ok(JsValue::UNDEFINED),
        Some(Err(error)) => return failed(error),
        Some(Ok(encrypted)) => encrypted,
    };
    Ok(make_written(
        stored,
        &texts.get(Some(transformer_prefix)),
        &texts.get(key_id_hash.as_ref()),
        &texts.get(key_prefix.as_ref()),
        *has_rule,
    ))
}

/// Returns the index of a state in `STATES` of `outcome.js`. A number crosses the boundary faster than a text.
pub(crate) fn state_number(state: Option<ValueState>) -> u32 {
    match state {
        Some(ValueState::Fresh) => 0,
        Some(ValueState::OtherSource) => 1,
        Some(ValueState::Stale) => 2,
        None => 3,
    }
}

/// Returns `undefined` if the operation is parked.
pub(crate) fn decrypted(
    of: &Option<Result<Decrypted, TransformError>>,
    texts: &mut Texts,
) -> Result<JsValue, JsError> {
    let Decrypted { plaintext, state, transformer_prefix, key_prefix, has_rule, key_id_hash } =
        match of {
            None => return Ok(JsValue::UNDEFINED),
            Some(Err(error)) => return failed(error),
            Some(Ok(decrypted)) => decrypted,
        };
    Ok(make_read(
        plaintext.expose(),
        state_number(*state),
        &texts.get(Some(transformer_prefix)),
        &texts.get(key_id_hash.as_ref()),
        &texts.get(key_prefix.as_ref()),
        *has_rule,
    ))
}

#[derive(Serialize)]
pub(crate) struct Check<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<&'a str>,
}

pub(crate) fn checks(of: &[core::Check]) -> Vec<Check<'_>> {
    of.iter().map(|core::Check { name, fault }| Check { name, fault: fault.as_deref() }).collect()
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
enum Action<'a> {
    CallStatus {
        call: f64,
        provider: u32,
    },
    CallEncrypt {
        call: f64,
        provider: u32,
        uid: &'a str,
        plaintext: Bytes<'a>,
        is_new_dek: bool,
    },
    CallDecrypt {
        call: f64,
        provider: u32,
        uid: &'a str,
        ciphertext: Bytes<'a>,
        key_id: &'a str,
        annotations: Vec<(&'a str, Bytes<'a>)>,
    },
    ToStorageDone {
        op: f64,
        outcome: Outcome<'a, Written<'a>>,
    },
    FromStorageDone {
        op: f64,
        outcome: Outcome<'a, Read<'a>>,
    },
    HealthDone {
        op: f64,
        checks: Vec<Check<'a>>,
    },
    ReloadDone {
        generation: f64,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<&'a str>,
    },
    /// Never emitted: this interface holds the values of parked operations.
    Ready {
        op: f64,
    },
    CloseProvider {
        provider: u32,
    },
    Log {
        level: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        provider: Option<&'a str>,
        message: &'a str,
    },
}

pub(crate) fn action(of: &core::Action) -> Result<JsValue, JsError> {
    to_js(&match of {
        core::Action::CallStatus { call, provider } => {
            Action::CallStatus { call: number(call.0), provider: provider.0 }
        }
        core::Action::CallEncrypt { call, provider, uid, plaintext, is_new_dek } => {
            Action::CallEncrypt {
                call: number(call.0),
                provider: provider.0,
                uid,
                plaintext: Bytes(plaintext.expose()),
                is_new_dek: *is_new_dek,
            }
        }
        core::Action::CallDecrypt { call, provider, uid, request } => Action::CallDecrypt {
            call: number(call.0),
            provider: provider.0,
            uid,
            ciphertext: Bytes(&request.ciphertext),
            key_id: &request.key_id,
            annotations: request
                .annotations
                .iter()
                .map(|(name, value)| (name, Bytes(value)))
                .collect(),
        },
        core::Action::ToStorageDone { op, outcome: of } => {
            Action::ToStorageDone { op: number(op.0), outcome: outcome(of, written) }
        }
        core::Action::FromStorageDone { op, outcome: of } => {
            Action::FromStorageDone { op: number(op.0), outcome: outcome(of, read) }
        }
        core::Action::HealthDone { op, checks: of } => {
            Action::HealthDone { op: number(op.0), checks: checks(of) }
        }
        core::Action::ReloadDone { generation, outcome } => Action::ReloadDone {
            generation: number(generation.0),
            error: outcome.as_ref().err().map(|error| &**error),
        },
        core::Action::Ready { op } => Action::Ready { op: number(op.0) },
        core::Action::CloseProvider { provider } => Action::CloseProvider { provider: provider.0 },
        core::Action::Log(line) => Action::Log {
            level: match line.level {
                core::LogLevel::Error => "error",
                core::LogLevel::Warn => "warn",
                core::LogLevel::Info => "info",
                core::LogLevel::Debug => "debug",
            },
            provider: line.provider.as_deref(),
            message: &line.message,
        },
    })
}

/// A KMS provider in a configuration file.
#[derive(Serialize)]
pub(crate) struct NamedProvider<'a> {
    name: &'a str,
    version: &'static str,
}

impl<'a> NamedProvider<'a> {
    pub(crate) fn new(name: &'a str, version: KmsVersion) -> Self {
        Self { name, version: version.name() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct KmsProvider<'a> {
    id: u32,
    name: &'a str,
    version: &'static str,
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    abstract_socket: Option<&'a str>,
    timeout_ms: f64,
}

pub(crate) fn kms_provider(info: &core::KmsProviderInfo) -> KmsProvider<'_> {
    let core::KmsProviderInfo { id, name, version, endpoint, address, timeout } = info;
    let (socket_path, abstract_socket) = match address {
        SocketAddress::Path(path) => (Some(&**path), None),
        SocketAddress::Abstract(name) => (None, Some(&**name)),
    };
    KmsProvider {
        id: id.0,
        name,
        version: version.name(),
        endpoint,
        socket_path,
        abstract_socket,
        timeout_ms: number(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
    }
}

#[derive(Serialize)]
struct Sample<'a> {
    labels: Vec<(&'a str, &'a str)>,
    value: f64,
}

#[derive(Serialize)]
pub(crate) struct Family<'a> {
    name: &'a str,
    help: &'a str,
    kind: &'static str,
    samples: Vec<Sample<'a>>,
}

pub(crate) fn metric_family(family: &MetricFamily) -> Family<'_> {
    Family {
        name: family.name,
        help: family.help,
        kind: match family.kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        },
        samples: family
            .samples
            .iter()
            .map(|sample| Sample {
                labels: sample.labels.iter().map(|(name, value)| (&**name, &**value)).collect(),
                value: sample.value,
            })
            .collect(),
    }
}
