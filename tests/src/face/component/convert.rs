//! Conversions between the WIT types and core's types.

use std::time::Duration;

use dekker_core::config::{KmsVersion, SocketAddress};
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_core::engine::event as core;
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::{Decrypted, Encrypted, ErrorKind, TransformError, ValueState};

use super::bindings::dekker::transformer::types as wit;
use super::bindings::exports::dekker::transformer::engine as face;
use crate::face::Finding;

pub(super) fn options(options: &Options) -> face::Options {
    let Options { reload, dek_source, coast, dek_cache_capacity, apiserver_id, read_only, .. } =
        options.clone();
    face::Options {
        reload,
        dek_source: match dek_source {
            DekSourceType::AesGcmKey => face::DekSource::Counter,
            DekSourceType::HkdfSha256XnonceAesGcmSeed => face::DekSource::HkdfSeed,
        },
        coast: match coast {
            Coast::Strict => face::Coast::Strict,
            Coast::Upstream => face::Coast::Upstream,
        },
        dek_cache_capacity: u32::try_from(dek_cache_capacity.get()).expect("a small cache"),
        apiserver_id,
        read_only,
    }
}

pub(super) fn finding(finding: wit::ConfigFinding) -> Finding {
    Finding {
        is_fault: match finding.severity {
            wit::Severity::Fault => true,
            wit::Severity::Warning => false,
        },
        path: finding.path,
        message: finding.message,
        position: finding.line.zip(finding.column),
    }
}

pub(super) fn encrypted(
    outcome: Result<wit::Encrypted, wit::TransformError>,
) -> Result<Encrypted, TransformError> {
    outcome.map_err(error).map(|value| Encrypted {
        stored: value.stored,
        transformer_prefix: value.transformer_prefix.into(),
        key_prefix: value.key_prefix.map(Into::into),
        has_rule: value.has_rule,
        key_id_hash: value.key_id_hash.map(Into::into),
    })
}

pub(super) fn decrypted(
    outcome: Result<wit::Decrypted, wit::TransformError>,
) -> Result<Decrypted, TransformError> {
    outcome.map_err(error).map(|value| {
        let decrypted = Decrypted {
            plaintext: value.plaintext.into(),
            state: value.state.map(state),
            transformer_prefix: value.transformer_prefix.into(),
            key_prefix: value.key_prefix.map(Into::into),
            has_rule: value.has_rule,
            key_id_hash: value.key_id_hash.map(Into::into),
        };
        assert_eq!(value.stale, decrypted.is_stale(), "{:?}", decrypted.state);
        decrypted
    })
}

fn state(state: wit::ValueState) -> ValueState {
    match state {
        wit::ValueState::Fresh => ValueState::Fresh,
        wit::ValueState::OtherSource => ValueState::OtherSource,
        wit::ValueState::Stale => ValueState::Stale,
    }
}

fn error(error: wit::TransformError) -> TransformError {
    let kind = match error.kind {
        wit::ErrorKind::NoMatchingPrefix => ErrorKind::NoMatchingPrefix,
        wit::ErrorKind::EncryptedData => ErrorKind::EncryptedData,
        wit::ErrorKind::DecryptFailed => ErrorKind::DecryptFailed,
        wit::ErrorKind::Malformed => ErrorKind::Malformed,
        wit::ErrorKind::Kms => ErrorKind::Kms,
        wit::ErrorKind::NotReady => ErrorKind::NotReady,
        wit::ErrorKind::NoncesExhausted => ErrorKind::NoncesExhausted,
        wit::ErrorKind::Overloaded => ErrorKind::Overloaded,
        wit::ErrorKind::ReadOnly => ErrorKind::ReadOnly,
        wit::ErrorKind::Internal => ErrorKind::Internal,
    };
    let mut fault = TransformError::new(kind, error.message);
    fault.grpc_code = error.grpc_code;
    fault
}

pub(super) fn check(check: face::Check) -> core::Check {
    core::Check { name: check.name, fault: check.fault }
}

pub(super) fn kms_provider(info: face::KmsProvider) -> core::KmsProviderInfo {
    core::KmsProviderInfo {
        id: core::ProviderId(info.id),
        name: info.name.into(),
        version: match info.version {
            face::KmsVersion::V1 => KmsVersion::V1,
            face::KmsVersion::V2 => KmsVersion::V2,
        },
        endpoint: info.endpoint,
        address: match info.address {
            face::SocketAddress::Path(path) => SocketAddress::Path(path),
            face::SocketAddress::AbstractName(name) => SocketAddress::Abstract(name),
        },
        timeout: Duration::from_millis(info.timeout_ms),
    }
}

pub(super) fn action(action: face::Action) -> core::Action {
    match action {
        face::Action::CallStatus(call) => core::Action::CallStatus {
            call: core::CallId(call.call),
            provider: core::ProviderId(call.provider),
        },
        face::Action::CallEncrypt(call) => core::Action::CallEncrypt {
            call: core::CallId(call.call),
            provider: core::ProviderId(call.provider),
            uid: call.uid,
            plaintext: call.plaintext.into(),
            is_new_dek: call.is_new_dek,
        },
        face::Action::CallDecrypt(call) => core::Action::CallDecrypt {
            call: core::CallId(call.call),
            provider: core::ProviderId(call.provider),
            uid: call.uid,
            request: core::DecryptRequest {
                ciphertext: call.ciphertext,
                key_id: call.key_id,
                annotations: call.annotations.into_iter().collect(),
            },
        },
        face::Action::ToStorageDone(done) => core::Action::ToStorageDone {
            op: core::OpId(done.op),
            outcome: encrypted(done.outcome),
        },
        face::Action::FromStorageDone(done) => core::Action::FromStorageDone {
            op: core::OpId(done.op),
            outcome: decrypted(done.outcome),
        },
        face::Action::HealthDone(done) => core::Action::HealthDone {
            op: core::OpId(done.op),
            checks: done.checks.into_iter().map(check).collect(),
        },
        face::Action::ReloadDone(done) => core::Action::ReloadDone {
            generation: core::Generation(done.generation),
            outcome: done.outcome,
        },
        face::Action::Ready(op) => core::Action::Ready { op: core::OpId(op) },
        face::Action::CloseProvider(id) => {
            core::Action::CloseProvider { provider: core::ProviderId(id) }
        }
        face::Action::Log(line) => core::Action::Log(core::LogLine {
            level: match line.level {
                face::LogLevel::Error => core::LogLevel::Error,
                face::LogLevel::Warn => core::LogLevel::Warn,
                face::LogLevel::Info => core::LogLevel::Info,
                face::LogLevel::Debug => core::LogLevel::Debug,
            },
            provider: line.provider.map(Into::into),
            message: line.message,
        }),
    }
}

pub(super) fn event(event: core::Event) -> face::Event {
    let error =
        |error: core::CallError| face::CallError { code: error.code, message: error.message };
    match event {
        core::Event::Status { call, outcome } => face::Event::Status(face::StatusEvent {
            call: call.0,
            outcome: outcome.map_err(error).map(|status| face::StatusResponse {
                version: status.version,
                healthz: status.healthz,
                key_id: status.key_id,
            }),
        }),
        core::Event::Encrypted { call, outcome } => face::Event::Encrypted(face::EncryptedEvent {
            call: call.0,
            outcome: outcome.map_err(error).map(|answer| face::EncryptResponse {
                ciphertext: answer.ciphertext,
                key_id: answer.key_id,
                annotations: answer.annotations.into_iter().collect(),
            }),
        }),
        core::Event::Decrypted { call, outcome } => face::Event::Decrypted(face::DecryptedEvent {
            call: call.0,
            outcome: outcome.map_err(error).map(|dek| dek.into_exposed()),
        }),
        core::Event::Restored => face::Event::Restored,
    }
}
