//! The prefixes of stored values.

use alloc::format;
use alloc::string::String;

use crate::config::KmsVersion;
use crate::crypto::keys::LocalCipher;

/// The prefix of every encrypted value.
pub const ENCRYPTED: &str = "k8s:enc:";

/// Returns the prefix of a local provider's values, which is followed by the key's name and `:`.
pub const fn local(cipher: LocalCipher) -> &'static str {
    match cipher {
        LocalCipher::AesGcm => "k8s:enc:aesgcm:v1:",
        LocalCipher::AesCbc => "k8s:enc:aescbc:v1:",
        LocalCipher::Secretbox => "k8s:enc:secretbox:v1:",
    }
}

/// Returns the prefix of the values of a KMS version, which is followed by the provider's name and `:`.
pub const fn kms(version: KmsVersion) -> &'static str {
    match version {
        KmsVersion::V1 => "k8s:enc:kms:v1:",
        KmsVersion::V2 => "k8s:enc:kms:v2:",
    }
}

/// Returns the prefix of the values of a KMS provider, with its name: `k8s:enc:kms:v2:my-kms:`.
pub fn kms_provider(version: KmsVersion, name: &str) -> String {
    format!("{}{name}:", kms(version))
}
