//! The names of the keys and KMS providers of a configuration.

use alloc::vec::Vec;

pub use dekker_forms::KeyName;
use dekker_forms::Provider as Named;

use crate::config::{Config, KmsVersion, NamedKey, Provider};

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
