//! Conversions between core's types and those of the WIT interfaces.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use dekker_core::config::{Faults, Finding, KmsVersion, SocketAddress};
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::event as core;
use dekker_core::engine::metrics::{MetricFamily, MetricKind};
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::{Decrypted, Encrypted, ErrorKind, TransformError, ValueState};

use crate::bindings::dekker::transformer::types as wit;
use crate::bindings::exports::dekker::transformer::engine as face;

pub(crate) fn faults(faults: &Faults) -> Vec<wit::ConfigFinding> {
    faults.iter().map(|fault| finding(wit::Severity::Fault, fault)).collect()
}

pub(crate) fn finding(severity: wit::Severity, finding: &Finding) -> wit::ConfigFinding {
    wit::ConfigFinding {
        severity,
        path: finding.path.clone(),
        message: finding.message.clone(),
        line: finding.position.map(|position| position.line),
        column: finding.position.map(|position| position.column),
    }
}

pub(crate) fn encrypted(
    outcome: Result<Encrypted, TransformError>,
) -> Result<wit::Encrypted, wit::TransformError> {
    outcome.map_err(error).map(written)
}

pub(crate) fn written(written: Encrypted) -> wit::Encrypted {
    let Encrypted { stored, transformer_prefix, key_prefix, has_rule, key_id_hash } = written;
    wit::Encrypted {
        stored,
        transformer_prefix: owned(&transformer_prefix),
        key_prefix: key_prefix.as_deref().map(owned),
        has_rule,
        key_id_hash: key_id_hash.as_deref().map(owned),
    }
}

pub(crate) fn decrypted(
    outcome: Result<Decrypted, TransformError>,
) -> Result<wit::Decrypted, wit::TransformError> {
    outcome.map_err(error).map(read)
}

pub(crate) fn read(read: Decrypted) -> wit::Decrypted {
    let stale = read.is_stale();
    let Decrypted { plaintext, state, transformer_prefix, key_prefix, has_rule, key_id_hash } =
        read;
    wit::Decrypted {
        // Freed, and so wiped, after the host has read it.
        plaintext: plaintext.into_exposed(),
        stale,
        state: state.map(value_state),
        transformer_prefix: owned(&transformer_prefix),
        key_prefix: key_prefix.as_deref().map(owned),
        has_rule,
        key_id_hash: key_id_hash.as_deref().map(owned),
    }
}

pub(crate) fn value_state(state: ValueState) -> wit::ValueState {
    match state {
        ValueState::Fresh => wit::ValueState::Fresh,
        ValueState::OtherSource => wit::ValueState::OtherSource,
        ValueState::Stale => wit::ValueState::Stale,
    }
}

#[cfg(feature = "accelerated")]
pub(crate) fn missing(
    missing: dekker_core::provider::stored::Missing,
) -> crate::bindings::exports::dekker::transformer::plans::Missing {
    let dekker_core::provider::stored::Missing { head, tail } = missing;
    crate::bindings::exports::dekker::transformer::plans::Missing {
        head: head as u32,
        tail: tail as u32,
    }
}

/// Copies a text. Calling `to_string` on an `Arc` would go through the formatter.
fn owned(text: &str) -> String {
    text.into()
}

pub(crate) fn error(error: TransformError) -> wit::TransformError {
    wit::TransformError {
        kind: match error.kind {
            ErrorKind::NoMatchingPrefix => wit::ErrorKind::NoMatchingPrefix,
            ErrorKind::EncryptedData => wit::ErrorKind::EncryptedData,
            ErrorKind::DecryptFailed => wit::ErrorKind::DecryptFailed,
            ErrorKind::Malformed => wit::ErrorKind::Malformed,
            ErrorKind::Kms => wit::ErrorKind::Kms,
            ErrorKind::NotReady => wit::ErrorKind::NotReady,
            ErrorKind::NoncesExhausted => wit::ErrorKind::NoncesExhausted,
            ErrorKind::Overloaded => wit::ErrorKind::Overloaded,
            ErrorKind::ReadOnly => wit::ErrorKind::ReadOnly,
            ErrorKind::Internal => wit::ErrorKind::Internal,
        },
        message: error.message,
        grpc_code: error.grpc_code,
    }
}

pub(crate) fn dek_source(source: face::DekSource) -> DekSourceType {
    match source {
        face::DekSource::Counter => DekSourceType::AesGcmKey,
        face::DekSource::HkdfSeed => DekSourceType::HkdfSha256XnonceAesGcmSeed,
    }
}

pub(crate) fn coast(coast: face::Coast) -> Coast {
    match coast {
        face::Coast::Strict => Coast::Strict,
        face::Coast::Upstream => Coast::Upstream,
    }
}

pub(crate) fn kms_provider(info: &core::KmsProviderInfo) -> face::KmsProvider {
    face::KmsProvider {
        id: info.id.0,
        name: info.name.to_string(),
        version: match info.version {
            KmsVersion::V1 => face::KmsVersion::V1,
            KmsVersion::V2 => face::KmsVersion::V2,
        },
        endpoint: info.endpoint.clone(),
        address: match &info.address {
            SocketAddress::Path(path) => face::SocketAddress::Path(path.clone()),
            SocketAddress::Abstract(name) => face::SocketAddress::AbstractName(name.clone()),
        },
        timeout_ms: u64::try_from(info.timeout.as_millis()).unwrap_or(u64::MAX),
    }
}

pub(crate) fn check(check: core::Check) -> face::Check {
    face::Check { name: check.name, fault: check.fault }
}

pub(crate) fn action(action: core::Action) -> face::Action {
    match action {
        core::Action::CallStatus { call, provider } => {
            face::Action::CallStatus(face::StatusCall { call: call.0, provider: provider.0 })
        }
        core::Action::CallEncrypt { call, provider, uid, plaintext, is_new_dek } => {
            face::Action::CallEncrypt(face::EncryptCall {
                call: call.0,
                provider: provider.0,
                uid,
                plaintext: plaintext.into_exposed(),
                is_new_dek,
            })
        }
        core::Action::CallDecrypt { call, provider, uid, request } => {
            face::Action::CallDecrypt(face::DecryptCall {
                call: call.0,
                provider: provider.0,
                uid,
                ciphertext: request.ciphertext,
                key_id: request.key_id,
                annotations: request.annotations.into_iter().collect(),
            })
        }
        core::Action::ToStorageDone { op, outcome } => {
            face::Action::ToStorageDone(face::ToStorageResult {
                op: op.0,
                outcome: encrypted(outcome),
            })
        }
        core::Action::FromStorageDone { op, outcome } => {
            face::Action::FromStorageDone(face::FromStorageResult {
                op: op.0,
                outcome: decrypted(outcome),
            })
        }
        core::Action::HealthDone { op, checks } => face::Action::HealthDone(face::HealthResult {
            op: op.0,
            checks: checks.into_iter().map(check).collect(),
        }),
        core::Action::ReloadDone { generation, outcome } => {
            face::Action::ReloadDone(face::ReloadResult { generation: generation.0, outcome })
        }
        core::Action::Ready { op } => face::Action::Ready(op.0),
        core::Action::CloseProvider { provider } => face::Action::CloseProvider(provider.0),
        core::Action::Log(line) => face::Action::Log(face::LogLine {
            level: match line.level {
                core::LogLevel::Error => face::LogLevel::Error,
                core::LogLevel::Warn => face::LogLevel::Warn,
                core::LogLevel::Info => face::LogLevel::Info,
                core::LogLevel::Debug => face::LogLevel::Debug,
            },
            provider: line.provider.map(|name| name.to_string()),
            message: line.message,
        }),
    }
}

pub(crate) fn event(event: face::Event) -> core::Event {
    let error =
        |error: face::CallError| core::CallError { code: error.code, message: error.message };
    match event {
        face::Event::Status(face::StatusEvent { call, outcome }) => core::Event::Status {
            call: core::CallId(call),
            outcome: outcome.map_err(error).map(
                |face::StatusResponse { version, healthz, key_id }| core::StatusResponse {
                    version,
                    healthz,
                    key_id,
                },
            ),
        },
        face::Event::Encrypted(face::EncryptedEvent { call, outcome }) => core::Event::Encrypted {
            call: core::CallId(call),
            outcome: outcome.map_err(error).map(|answer| core::EncryptResponse {
                ciphertext: answer.ciphertext,
                key_id: answer.key_id,
                annotations: answer.annotations.into(),
            }),
        },
        face::Event::Decrypted(face::DecryptedEvent { call, outcome }) => core::Event::Decrypted {
            call: core::CallId(call),
            outcome: outcome.map_err(error).map(Into::into),
        },
        face::Event::Restored => core::Event::Restored,
    }
}

pub(crate) fn metric_family(family: MetricFamily) -> face::MetricFamily {
    face::MetricFamily {
        name: family.name.to_string(),
        help: family.help.to_string(),
        kind: match family.kind {
            MetricKind::Counter => face::MetricKind::Counter,
            MetricKind::Gauge => face::MetricKind::Gauge,
            MetricKind::Histogram => face::MetricKind::Histogram,
        },
        samples: family
            .samples
            .into_iter()
            .map(|sample| face::Sample {
                labels: sample
                    .labels
                    .into_iter()
                    .map(|(name, value)| (name.to_string(), value))
                    .collect(),
                value: sample.value,
            })
            .collect(),
    }
}
