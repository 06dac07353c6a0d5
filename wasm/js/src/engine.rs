//! The class `Engine`.

use std::cell::{RefCell, RefMut};
use std::num::NonZeroUsize;

use dekker_core::Location;
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::event::{CallError, CallId, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::{self, Options};
use dekker_core::provider::kms::dek_cache::DekCache;
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::time::Timestamp;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, JsValue};

use crate::{JsEntropy, convert, keys};

#[wasm_bindgen]
extern "C" {
    /// A JavaScript object with the options of an engine, under the names of `LoadOptions` in `transformer.d.ts`.
    pub type EngineOptions;

    #[wasm_bindgen(method, getter, js_name = automaticReload)]
    fn automatic_reload(this: &EngineOptions) -> bool;
    #[wasm_bindgen(method, getter, js_name = dekSource)]
    fn dek_source(this: &EngineOptions) -> String;
    #[wasm_bindgen(method, getter)]
    fn coast(this: &EngineOptions) -> String;
    /// 0 selects the default.
    #[wasm_bindgen(method, getter, js_name = dekCacheCapacity)]
    fn dek_cache_capacity(this: &EngineOptions) -> u32;
    #[wasm_bindgen(method, getter, js_name = apiserverId)]
    fn apiserver_id(this: &EngineOptions) -> String;
    #[wasm_bindgen(method, getter, js_name = readOnly)]
    fn read_only(this: &EngineOptions) -> bool;
}

impl EngineOptions {
    /// Returns an error if the DEK source or the coast has another name. The driver has checked both.
    fn parse(&self) -> Result<Options, JsError> {
        Ok(Options {
            reload: self.automatic_reload(),
            dek_source: match &*self.dek_source() {
                "counter" => DekSourceType::AesGcmKey,
                "hkdf-seed" => DekSourceType::HkdfSha256XnonceAesGcmSeed,
                _ => return Err(JsError::new("unknown DEK source")),
            },
            coast: match &*self.coast() {
                "strict" => Coast::Strict,
                "upstream" => Coast::Upstream,
                _ => return Err(JsError::new("unknown coast")),
            },
            dek_cache_capacity: NonZeroUsize::new(self.dek_cache_capacity() as usize)
                .unwrap_or(DekCache::DEFAULT_CAPACITY),
            apiserver_id: self.apiserver_id(),
            read_only: self.read_only(),
            keep_file: false,
        })
    }
}

/// An engine that runs one configuration at a time. See `dekker_core::engine::Engine` for the meaning of each function.
#[wasm_bindgen]
pub struct Engine(RefCell<engine::Engine>, pub(crate) RefCell<convert::Texts>);

/// Converts JavaScript's milliseconds. A negative number or NaN becomes 0, which is safe because the engine's time never goes back.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn time(millis: f64) -> Timestamp {
    Timestamp::from_millis(millis as u64)
}

/// Converts JavaScript's number of an ID, which counts up from 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn id(number: f64) -> u64 {
    number as u64
}

#[wasm_bindgen]
impl Engine {
    /// Parses and validates a configuration, and creates an engine for it.
    ///
    /// # Errors
    /// Returns all errors of the configuration as an array, or an error if an option has an unknown value.
    pub fn create(config: &[u8], options: &EngineOptions, now: f64) -> Result<Engine, JsValue> {
        let options = options.parse()?;
        engine::Engine::new(config, options, keys::fastest(), Box::new(JsEntropy), time(now))
            .map(|engine| Self(RefCell::new(engine), RefCell::default()))
            .map_err(|faults| convert::thrown_faults(&faults))
    }

    /// Encrypts a value. Returns `undefined` if the operation is parked under `op`.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    #[wasm_bindgen(js_name = toStorage)]
    pub fn to_storage(
        &self,
        op: f64,
        resource: &str,
        key: &[u8],
        plaintext: &[u8],
        now: f64,
    ) -> Result<JsValue, JsError> {
        let at = Location { resource, key };
        let outcome = self.borrow()?.to_storage(OpId(id(op)), at, plaintext, time(now));
        convert::encrypted(&outcome, &mut self.1.borrow_mut())
    }

    /// Decrypts a stored value. Returns `undefined` if the operation is parked under `op`.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    #[wasm_bindgen(js_name = fromStorage)]
    pub fn from_storage(
        &self,
        op: f64,
        resource: &str,
        key: &[u8],
        stored: &[u8],
        now: f64,
    ) -> Result<JsValue, JsError> {
        let at = Location { resource, key };
        let outcome = self.borrow()?.from_storage(OpId(id(op)), at, stored, time(now));
        convert::decrypted(&outcome, &mut self.1.borrow_mut())
    }

    /// Runs the KMS health checks. Returns `undefined` if the operation is parked under `op`.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    pub fn health(&self, op: f64, now: f64) -> Result<JsValue, JsError> {
        let checks = self.borrow()?.health(OpId(id(op)), time(now));
        convert::to_js(&checks.as_deref().map(convert::checks))
    }

    /// Returns the names of the health checks without running them.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    #[wasm_bindgen(js_name = checkNames)]
    pub fn check_names(&self) -> Result<Vec<String>, JsError> {
        Ok(self.borrow()?.check_names())
    }

    /// Forgets a parked operation.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    pub fn cancel(&self, op: f64) -> Result<(), JsError> {
        self.borrow()?.cancel(OpId(id(op)));
        Ok(())
    }

    /// Offers the bytes of a changed file, and returns the file's number.
    ///
    /// # Errors
    /// Returns all errors of the configuration as an array, or an error if the engine is in use.
    #[allow(clippy::cast_precision_loss)]
    pub fn reload(&self, config: &[u8], now: f64) -> Result<f64, JsValue> {
        self.borrow()?
            .reload(config, time(now))
            .map(|generation| generation.0 as f64)
            .map_err(|faults| convert::thrown_faults(&faults))
    }

    /// Returns an array with a phrase for each kind of value that the running configuration can decrypt and this one could not.
    ///
    /// # Errors
    /// Returns all errors of the configuration as an array, or an error if the engine is in use.
    #[wasm_bindgen(js_name = unreadableAfter)]
    pub fn unreadable_after(&self, config: &[u8]) -> Result<JsValue, JsValue> {
        let unreadable = self
            .borrow()?
            .unreadable_after(config)
            .map_err(|faults| convert::thrown_faults(&faults))?;
        Ok(convert::to_js(&unreadable)?)
    }

    /// Passes a plugin's response to Status to the engine.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    #[wasm_bindgen(js_name = completeStatus)]
    pub fn complete_status(
        &self,
        call: f64,
        version: String,
        healthz: String,
        key_id: String,
        now: f64,
    ) -> Result<(), JsError> {
        let outcome = Ok(StatusResponse { version, healthz, key_id });
        let call = CallId(id(call));
        self.complete(Event::Status { call, outcome }, now)
    }

    /// Passes a plugin's response to Encrypt to the engine. `annotations` alternates names and values.
    ///
    /// # Errors
    /// Returns an error if the engine is in use, or if the name of an annotation is not a string.
    #[wasm_bindgen(js_name = completeEncrypt)]
    pub fn complete_encrypt(
        &self,
        call: f64,
        ciphertext: Vec<u8>,
        key_id: String,
        annotations: &Array,
        now: f64,
    ) -> Result<(), JsError> {
        let pairs = (0..annotations.length() / 2).map(|pair| {
            let name = annotations.get(2 * pair).as_string()?;
            let value = annotations.get(2 * pair + 1);
            Some((name, Uint8Array::new(&value).to_vec()))
        });
        let annotations = pairs
            .collect::<Option<_>>()
            .ok_or_else(|| JsError::new("the name of an annotation is not a string"))?;
        let outcome = Ok(EncryptResponse { ciphertext, key_id, annotations });
        let call = CallId(id(call));
        self.complete(Event::Encrypted { call, outcome }, now)
    }

    /// Passes a plugin's response to Decrypt, a DEK or seed, to the engine.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    #[wasm_bindgen(js_name = completeDecrypt)]
    pub fn complete_decrypt(&self, call: f64, plaintext: Vec<u8>, now: f64) -> Result<(), JsError> {
        let call = CallId(id(call));
        let outcome = Ok(plaintext.into());
        self.complete(Event::Decrypted { call, outcome }, now)
    }

    /// Reports a failed call to the engine, with its gRPC code and message. `method` is `status`, `encrypt` or `decrypt`.
    ///
    /// # Errors
    /// Returns an error if the engine is in use, or if there is no such method.
    #[wasm_bindgen(js_name = completeError)]
    pub fn complete_error(
        &self,
        call: f64,
        method: &str,
        code: u32,
        message: String,
        now: f64,
    ) -> Result<(), JsError> {
        let call = CallId(id(call));
        let error = CallError { code, message };
        let event = match method {
            "status" => Event::Status { call, outcome: Err(error) },
            "encrypt" => Event::Encrypted { call, outcome: Err(error) },
            "decrypt" => Event::Decrypted { call, outcome: Err(error) },
            _ => return Err(JsError::new("unknown KMS method")),
        };
        self.complete(event, now)
    }

    /// Reports to the engine that the process or its machine was restored from a snapshot, or may have been.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    pub fn restored(&self, now: f64) -> Result<(), JsError> {
        self.complete(Event::Restored, now)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    pub fn advance(&self, now: f64) -> Result<(), JsError> {
        self.borrow()?.handle_timeout(time(now));
        Ok(())
    }

    /// Returns everything that must be done now.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    pub fn actions(&self) -> Result<Vec<JsValue>, JsError> {
        let mut engine = self.borrow()?;
        std::iter::from_fn(|| engine.poll_action()).map(|action| convert::action(&action)).collect()
    }

    /// Returns when to call `advance`, or `undefined` if nothing is waiting for time to pass.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    #[allow(clippy::cast_precision_loss)]
    pub fn poll(&self) -> Result<Option<f64>, JsError> {
        let due = self.borrow()?.poll_timeout();
        Ok(due.map(|due| due.as_millis() as f64))
    }

    /// Returns the KMS providers in use.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    #[wasm_bindgen(js_name = kmsProviders)]
    pub fn kms_providers(&self) -> Result<JsValue, JsError> {
        let engine = self.borrow()?;
        let providers: Vec<_> = engine.kms_providers().map(convert::kms_provider).collect();
        convert::to_js(&providers)
    }

    /// Returns the state of the engine as JSON, for `/statusz`.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    pub fn status(&self, now: f64) -> Result<String, JsError> {
        Ok(self.borrow()?.status(time(now)))
    }

    /// Returns the metrics that the engine keeps.
    ///
    /// # Errors
    /// Returns an error if the engine is in use.
    pub fn metrics(&self) -> Result<JsValue, JsError> {
        let families = self.borrow()?.metrics();
        let families: Vec<_> = families.iter().map(convert::metric_family).collect();
        convert::to_js(&families)
    }
}

impl Engine {
    /// Borrows the engine for one call. It can only be in use already if a `crypto` function of JavaScript calls back into it.
    pub(crate) fn borrow(&self) -> Result<RefMut<'_, engine::Engine>, JsError> {
        self.0.try_borrow_mut().map_err(|_| JsError::new("the engine is in use by another call"))
    }

    fn complete(&self, event: Event, now: f64) -> Result<(), JsError> {
        self.borrow()?.handle_event(event, time(now));
        Ok(())
    }
}
