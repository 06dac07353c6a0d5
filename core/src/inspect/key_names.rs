//! The names of the keys and KMS providers of a configuration.

use alloc::string::String;
use alloc::vec::Vec;

pub use dekker_forms::KeyName;
use dekker_forms::Provider as Named;

use crate::config::{Config, Faults, KmsVersion, NamedKey, Provider};

/// Returns the names of all keys and KMS providers in a configuration, in the order of the file. They decide where the name in a value ends:
/// [`inspect_with`](super::inspect_with).
pub fn key_names(config: &Config) -> Vec<KeyName<'_>> {
    let mut names = Vec::new();
    for provider in config.rules.iter().flat_map(|rule| &rule.providers) {
        let (provider, keys): (_, &[NamedKey]) = match provider {
            Provider::Identity => continue,
            Provider::Kms(kms) => {
                let provider = match kms.version {
                    KmsVersion::V1 => Named::KmsV1,
                    KmsVersion::V2 => Named::KmsV2,
                };
                names.push(KeyName { provider, name: &kms.name });
                continue;
            }
            Provider::AesGcm(keys) => (Named::AesGcm, keys),
            Provider::AesCbc(keys) => (Named::AesCbc, keys),
            Provider::Secretbox(keys) => (Named::Secretbox, keys),
        };
        names.extend(keys.iter().map(|key| KeyName { provider, name: &key.name }));
    }
    names
}

/// Returns the prefixes of the values of all keys and KMS providers in a configuration file, such as `k8s:enc:aescbc:v1:key1:`, for a caller that keeps
/// no [`Config`]. [`KeyName::of_value_prefix`] returns the name in a prefix.
///
/// ```
/// let file = b"
/// apiVersion: apiserver.config.k8s.io/v1
/// kind: EncryptionConfiguration
/// resources:
/// - resources: [secrets]
///   providers:
///   - aesgcm: {keys: [{name: 'a:b', secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}
/// ";
/// assert_eq!(dekker_core::inspect::value_prefixes(file).unwrap(), ["k8s:enc:aesgcm:v1:a:b:"]);
/// ```
///
/// # Errors
/// Returns the errors of the file, as [`Config::load`] without reload.
pub fn value_prefixes(config: &[u8]) -> Result<Vec<String>, Faults> {
    let config = Config::load(config, false)?;
    Ok(key_names(&config).iter().map(KeyName::value_prefix).collect())
}
