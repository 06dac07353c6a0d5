//! Functions that need no engine, but ciphers or the reader of configurations.

use dekker_core::config::{self, Config, Provider};
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_core::inspect;
use dekker_core::provider::kms::with_dek;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, JsValue};

use crate::JsEntropy;
use crate::convert::{self, NamedProvider, Texts};

/// Decrypts a KMS value with its DEK or seed, without a plugin.
///
/// # Errors
/// Never. A failure is reported as an outcome.
#[wasm_bindgen(js_name = openWithDek)]
pub fn open_with_dek(stored: &[u8], key: &[u8], dek: Vec<u8>) -> Result<JsValue, JsError> {
    let opened = with_dek::open(stored, key, &dek.into(), &RustCrypto);
    convert::decrypted(&Some(opened), &mut Texts::default())
}

#[wasm_bindgen]
extern "C" {
    /// A JavaScript object with the arguments of [`seal_with_dek`], each a `Uint8Array`.
    pub type SealRequest;

    #[wasm_bindgen(method, getter)]
    fn plaintext(this: &SealRequest) -> Vec<u8>;
    /// The storage key of the new value.
    #[wasm_bindgen(method, getter)]
    fn key(this: &SealRequest) -> Vec<u8>;
    /// An existing KMS v2 value.
    #[wasm_bindgen(method, getter)]
    fn like(this: &SealRequest) -> Vec<u8>;
    /// The storage key of the existing value.
    #[wasm_bindgen(method, getter, js_name = likeKey)]
    fn like_key(this: &SealRequest) -> Vec<u8>;
    /// The DEK or seed of the existing value.
    #[wasm_bindgen(method, getter)]
    fn dek(this: &SealRequest) -> Vec<u8>;
}

/// Encrypts a value with the DEK or seed of an existing one.
///
/// # Errors
/// Never. A failure is reported as an outcome.
#[wasm_bindgen(js_name = sealWithDek)]
pub fn seal_with_dek(request: &SealRequest) -> Result<JsValue, JsError> {
    let (like, like_key) = (request.like(), request.like_key());
    let sealed = with_dek::seal(
        &request.plaintext(),
        &request.key(),
        with_dek::Like { stored: &like, key: &like_key },
        &request.dek().into(),
        &RustCrypto,
        &JsEntropy,
    );
    convert::encrypted(&Some(sealed), &mut Texts::default())
}

/// Returns all errors and warnings for a configuration file.
///
/// # Errors
/// Never.
#[wasm_bindgen(js_name = checkConfig)]
pub fn check_config(config: &[u8], reload: bool) -> Result<JsValue, JsError> {
    let report = config::check(config, reload);
    let faults = report.faults.iter().map(|one| convert::finding(true, one));
    let warnings = report.warnings.iter();
    let warnings = warnings.map(|one| convert::finding(false, one));
    convert::to_js(&faults.chain(warnings).collect::<Vec<_>>())
}

/// Returns a configuration file as YAML, with its defaults filled in and its secrets redacted.
///
/// # Errors
/// Returns all errors of the configuration, as an array.
#[wasm_bindgen(js_name = showConfig)]
pub fn show_config(config: &[u8]) -> Result<String, JsValue> {
    config::show(config).map_err(|faults| convert::thrown_faults(&faults))
}

/// Returns the prefixes of the values of all keys and KMS providers in a configuration file.
///
/// # Errors
/// Returns all errors of the configuration, as an array.
#[wasm_bindgen(js_name = valuePrefixes)]
pub fn value_prefixes(config: &[u8]) -> Result<Vec<String>, JsValue> {
    inspect::value_prefixes(config).map_err(|faults| convert::thrown_faults(&faults))
}

/// Returns the KMS providers in a configuration file, in the order of the file; none if the file is not valid.
///
/// # Errors
/// Never.
#[wasm_bindgen(js_name = kmsProvidersOf)]
pub fn kms_providers_of(config: &[u8], reload: bool) -> Result<JsValue, JsError> {
    let rules = Config::load(config, reload).map_or(Vec::new(), |config| config.rules);
    let providers = rules.iter().flat_map(|rule| &rule.providers);
    let named = providers.filter_map(|provider| match provider {
        Provider::Kms(kms) => Some(NamedProvider::new(&kms.name, kms.version)),
        Provider::AesGcm(_) | Provider::AesCbc(_) | Provider::Secretbox(_) | Provider::Identity => {
            None
        }
    });
    convert::to_js(&named.collect::<Vec<_>>())
}
