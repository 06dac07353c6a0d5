//! The interface `tools`.

use alloc::string::String;
use alloc::vec::Vec;

use dekker_core::config;
use dekker_core::crypto::secret::Secret;
use dekker_core::inspect::{self, KeyName};
use dekker_core::provider::kms::with_dek;

use crate::bindings::dekker::transformer::types::{
    ConfigFinding, Decrypted, Encrypted, Severity, TransformError,
};
use crate::bindings::exports::dekker::transformer::tools::Guest;
use crate::convert::{decrypted, encrypted, faults, finding};
use crate::{Component, Keys, WasiRandom};

impl Guest for Component {
    fn inspect(stored: Vec<u8>) -> Result<String, String> {
        inspect::inspect_json(&stored)
    }

    fn inspect_with(stored: Vec<u8>, prefixes: Vec<String>) -> Result<String, String> {
        let names: Vec<_> =
            prefixes.iter().filter_map(|prefix| KeyName::of_value_prefix(prefix)).collect();
        inspect::inspect_json_with(&stored, &names)
    }

    fn value_prefixes(config: Vec<u8>) -> Result<Vec<String>, Vec<ConfigFinding>> {
        inspect::value_prefixes(&config).map_err(|error| faults(&error))
    }

    fn check_config(config: Vec<u8>, reload: bool) -> Vec<ConfigFinding> {
        let report = config::check(&config, reload);
        let faults = report.faults.iter().map(|fault| finding(Severity::Fault, fault));
        faults
            .chain(report.warnings.iter().map(|warning| finding(Severity::Warning, warning)))
            .collect()
    }

    fn open_with_dek(
        stored: Vec<u8>,
        key: Vec<u8>,
        dek: Vec<u8>,
    ) -> Result<Decrypted, TransformError> {
        decrypted(with_dek::open(&stored, &key, &Secret::new(dek), &Keys))
    }

    fn seal_with_dek(
        plaintext: Vec<u8>,
        key: Vec<u8>,
        like: Vec<u8>,
        like_key: Vec<u8>,
        dek: Vec<u8>,
    ) -> Result<Encrypted, TransformError> {
        encrypted(with_dek::seal(
            &plaintext,
            &key,
            with_dek::Like { stored: &like, key: &like_key },
            &Secret::new(dek),
            &Keys,
            &WasiRandom,
        ))
    }

    fn show_config(config: Vec<u8>) -> Result<String, Vec<ConfigFinding>> {
        config::show(&config).map_err(|error| faults(&error))
    }
}
