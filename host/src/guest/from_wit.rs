//! Converts the generated types to those in `model`.

use super::bindings::dekker::transformer::types as wit;
use super::bindings::exports::dekker::transformer::engine as face;
use crate::model;

impl From<wit::Encrypted> for model::Encrypted {
    fn from(value: wit::Encrypted) -> Self {
        let wit::Encrypted { stored, transformer_prefix, key_prefix, has_rule, key_id_hash } =
            value;
        Self {
            stored,
            transformer_prefix: transformer_prefix.into(),
            key_prefix: key_prefix.map(Into::into),
            has_rule,
            key_id_hash: key_id_hash.map(Into::into),
        }
    }
}

impl From<wit::Decrypted> for model::Decrypted {
    fn from(value: wit::Decrypted) -> Self {
        let wit::Decrypted {
            plaintext,
            stale,
            state,
            transformer_prefix,
            key_prefix,
            has_rule,
            key_id_hash,
        } = value;
        Self {
            plaintext: plaintext.into(),
            stale,
            state: state.map(Into::into),
            transformer_prefix: transformer_prefix.into(),
            key_prefix: key_prefix.map(Into::into),
            has_rule,
            key_id_hash: key_id_hash.map(Into::into),
        }
    }
}

impl From<wit::ValueState> for model::ValueState {
    fn from(state: wit::ValueState) -> Self {
        match state {
            wit::ValueState::Fresh => Self::Fresh,
            wit::ValueState::OtherSource => Self::OtherSource,
            wit::ValueState::Stale => Self::Stale,
        }
    }
}

impl From<wit::TransformError> for model::TransformError {
    fn from(error: wit::TransformError) -> Self {
        let kind = match error.kind {
            wit::ErrorKind::NoMatchingPrefix => model::ErrorKind::NoMatchingPrefix,
            wit::ErrorKind::EncryptedData => model::ErrorKind::EncryptedData,
            wit::ErrorKind::DecryptFailed => model::ErrorKind::DecryptFailed,
            wit::ErrorKind::Malformed => model::ErrorKind::Malformed,
            wit::ErrorKind::Kms => model::ErrorKind::Kms,
            wit::ErrorKind::NotReady => model::ErrorKind::NotReady,
            wit::ErrorKind::NoncesExhausted => model::ErrorKind::NoncesExhausted,
            wit::ErrorKind::Overloaded => model::ErrorKind::Overloaded,
            wit::ErrorKind::ReadOnly => model::ErrorKind::ReadOnly,
            wit::ErrorKind::Internal => model::ErrorKind::Internal,
        };
        Self { kind, message: error.message, grpc_code: error.grpc_code }
    }
}

impl From<face::Check> for model::Check {
    fn from(face::Check { name, fault }: face::Check) -> Self {
        Self { name, fault }
    }
}

impl From<face::MetricFamily> for model::MetricFamily {
    fn from(family: face::MetricFamily) -> Self {
        let face::MetricFamily { name, help, kind, samples } = family;
        Self {
            name,
            help,
            kind: match kind {
                face::MetricKind::Counter => model::MetricKind::Counter,
                face::MetricKind::Gauge => model::MetricKind::Gauge,
                face::MetricKind::Histogram => model::MetricKind::Histogram,
            },
            samples: samples
                .into_iter()
                .map(|face::Sample { labels, value }| model::Sample { labels, value })
                .collect(),
        }
    }
}
