//! The format of each provider's values.

use dekker_forms::Provider;

use super::error::InspectError;
use super::found::{Format, Found};
use super::inspection::Inspection;
use super::{kms_v1, kms_v2, local};
use crate::config::KmsVersion;
use crate::crypto::keys::LocalCipher;
use crate::provider::prefix;

/// Reads what follows the name.
pub(super) type Read = fn(&Found<'_>) -> Result<Inspection, InspectError>;

pub(super) const FORMATS: [(Format, Read); 5] = [
    (
        Format {
            prefix: prefix::local(LocalCipher::AesGcm),
            title: "aesgcm",
            provider: "aesgcm",
            api_version: None,
            least: local::AESGCM_MIN,
        },
        local::aesgcm,
    ),
    (
        Format {
            prefix: prefix::local(LocalCipher::AesCbc),
            title: "aescbc",
            provider: "aescbc",
            api_version: None,
            least: local::AESCBC_MIN,
        },
        local::aescbc,
    ),
    (
        Format {
            prefix: prefix::local(LocalCipher::Secretbox),
            title: "secretbox",
            provider: "secretbox",
            api_version: None,
            least: local::SECRETBOX_MIN,
        },
        local::secretbox,
    ),
    (
        Format {
            prefix: prefix::kms(KmsVersion::V1),
            title: "kms v1",
            provider: "kms",
            api_version: Some("v1"),
            least: kms_v1::MIN,
        },
        kms_v1::kms_v1,
    ),
    (
        Format {
            prefix: prefix::kms(KmsVersion::V2),
            title: "kms v2",
            provider: "kms",
            api_version: Some("v2"),
            least: kms_v2::MIN,
        },
        kms_v2::kms_v2,
    ),
];

/// Returns the format of a provider's values.
pub(super) fn format_of(provider: Provider) -> Option<(Format, Read)> {
    FORMATS.into_iter().find(|(format, _)| format.prefix == provider.prefix())
}
