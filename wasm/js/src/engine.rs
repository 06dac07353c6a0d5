//! The class `Engine`.

use std::cell::{RefCell, RefMut};
use std::num::NonZeroUsize;

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::event::{CallError, CallId, EncryptResponse, Event, OpId, StatusResponse};
use dekker_core::engine::{self, Options};
use dekker_core::provider::kms::v2::dek_cache::DekCache;
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::provider::transformer::Location;
use dekker_core::time::Timestamp;
use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, JsValue};

use crate::{Surroundings, convert, keys};

/// One configuration at work; see `dekker_core::engine::Engine` for what each function means.
#[wasm_bindgen]
pub struct Engine(RefCell<engine::Engine>, RefCell<convert::Texts>);

/// From JavaScript's number. What is no time, or before 1970, is the beginning of time: the engine's never goes back.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn time(millis: f64) -> Timestamp {
    Timestamp::from_millis(millis as u64)
}

/// From JavaScript's number, which counts up from 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn id(number: f64) -> u64 {
    number as u64
}

#[wasm_bindgen]
impl Engine {
    /// Parses, validates and builds. `dek_cache_capacity` 0 means the default.
    ///
    /// # Errors
    /// Every fault of the configuration, as an array.
    pub fn create(
        config: &[u8],
        reload: bool,
        hkdf_seed: bool,
        coast_as_upstream: bool,
        dek_cache_capacity: u32,
        apiserver_id: String,
        now: f64,
    ) -> Result<Engine, JsValue> {
        let options = Options {
            reload,
            dek_source: if hkdf_seed {
                DekSourceType::HkdfSha256XnonceAesGcmSeed
            } else {
                DekSourceType::AesGcmKey
            },
            coast: if coast_as_upstream {
                Coast::Upstream
            } else {
                Coast::Strict
            },
            dek_cache_capacity: NonZeroUsize::new(dek_cache_capacity as usize)
                .unwrap_or(DekCache::DEFAULT_CAPACITY),
            apiserver_id,
        };
        engine::Engine::new(
            config,
            options,
            keys::fastest(),
            Box::new(Surroundings),
            time(now),
        )
        .map(|engine| Self(RefCell::new(engine), RefCell::default()))
        .map_err(|faults| convert::thrown_faults(&faults))
    }

    /// Encrypts a value. `undefined`: parked under `op`.
    ///
    /// # Errors
    /// The engine is in use.
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
        let outcome = self
            .borrow()?
            .to_storage(OpId(id(op)), at, plaintext, time(now));
        convert::encrypted(&outcome, &mut self.1.borrow_mut())
    }

    /// Decrypts a stored value. `undefined`: parked under `op`.
    ///
    /// # Errors
    /// The engine is in use.
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
        let outcome = self
            .borrow()?
            .from_storage(OpId(id(op)), at, stored, time(now));
        convert::decrypted(&outcome, &mut self.1.borrow_mut())
    }

    /// The KMS checks. `undefined`: parked under `op`.
    ///
    /// # Errors
    /// The engine is in use.
    pub fn health(&self, op: f64, now: f64) -> Result<JsValue, JsError> {
        let checks = self.borrow()?.health(OpId(id(op)), time(now));
        convert::to_js(&checks.as_deref().map(convert::checks))
    }

    /// The names of the checks, without running them.
    ///
    /// # Errors
    /// The engine is in use.
    #[wasm_bindgen(js_name = checkNames)]
    pub fn check_names(&self) -> Result<Vec<String>, JsError> {
        Ok(self.borrow()?.check_names())
    }

    /// Forgets a parked operation.
    ///
    /// # Errors
    /// The engine is in use.
    pub fn cancel(&self, op: f64) -> Result<(), JsError> {
        self.borrow()?.cancel(OpId(id(op)));
        Ok(())
    }

    /// Offers the bytes of a changed file; its number.
    ///
    /// # Errors
    /// Every fault of the configuration, as an array; or the engine is in use.
    #[allow(clippy::cast_precision_loss)]
    pub fn reload(&self, config: &[u8], now: f64) -> Result<f64, JsValue> {
        self.borrow()?
            .reload(config, time(now))
            .map(|generation| generation.0 as f64)
            .map_err(|faults| convert::thrown_faults(&faults))
    }

    /// What the running configuration reads and this one would not: an array of phrases.
    ///
    /// # Errors
    /// Every fault of the configuration, as an array; or the engine is in use.
    #[wasm_bindgen(js_name = unreadableAfter)]
    pub fn unreadable_after(&self, config: &[u8]) -> Result<JsValue, JsValue> {
        let unreadable = self
            .borrow()?
            .unreadable_after(config)
            .map_err(|faults| convert::thrown_faults(&faults))?;
        Ok(convert::to_js(&unreadable)?)
    }

    /// What a plugin answered to Status.
    ///
    /// # Errors
    /// The engine is in use.
    #[wasm_bindgen(js_name = completeStatus)]
    pub fn complete_status(
        &self,
        call: f64,
        version: String,
        healthz: String,
        key_id: String,
        now: f64,
    ) -> Result<(), JsError> {
        let outcome = Ok(StatusResponse {
            version,
            healthz,
            key_id,
        });
        let call = CallId(id(call));
        self.complete(Event::Status { call, outcome }, now)
    }

    /// What a plugin answered to Encrypt. `annotations` are names and values in turn.
    ///
    /// # Errors
    /// The engine is in use, or an annotation is not a name and bytes.
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
            .ok_or_else(|| JsError::new("an annotation has no name"))?;
        let outcome = Ok(EncryptResponse {
            ciphertext,
            key_id,
            annotations,
        });
        let call = CallId(id(call));
        self.complete(Event::Encrypted { call, outcome }, now)
    }

    /// What a plugin answered to Decrypt: a DEK or seed.
    ///
    /// # Errors
    /// The engine is in use.
    #[wasm_bindgen(js_name = completeDecrypt)]
    pub fn complete_decrypt(&self, call: f64, plaintext: Vec<u8>, now: f64) -> Result<(), JsError> {
        let call = CallId(id(call));
        let outcome = Ok(plaintext.into());
        self.complete(Event::Decrypted { call, outcome }, now)
    }

    /// A call failed, as gRPC says it. `method` is `status`, `encrypt` or `decrypt`.
    ///
    /// # Errors
    /// The engine is in use, or there is no such method.
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
            "status" => Event::Status {
                call,
                outcome: Err(error),
            },
            "encrypt" => Event::Encrypted {
                call,
                outcome: Err(error),
            },
            "decrypt" => Event::Decrypted {
                call,
                outcome: Err(error),
            },
            _ => return Err(JsError::new("there is no such method")),
        };
        self.complete(event, now)
    }

    /// The process or its machine was restored from a snapshot, or may have been.
    ///
    /// # Errors
    /// The engine is in use.
    pub fn restored(&self, now: f64) -> Result<(), JsError> {
        self.complete(Event::Restored, now)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The engine is in use.
    pub fn advance(&self, now: f64) -> Result<(), JsError> {
        self.borrow()?.handle_timeout(time(now));
        Ok(())
    }

    /// Everything to be done now.
    ///
    /// # Errors
    /// The engine is in use.
    pub fn actions(&self) -> Result<Vec<JsValue>, JsError> {
        let mut engine = self.borrow()?;
        std::iter::from_fn(|| engine.poll_action())
            .map(|action| convert::action(&action))
            .collect()
    }

    /// When to call `advance`; `undefined`: nothing waits for time to pass.
    ///
    /// # Errors
    /// The engine is in use.
    #[allow(clippy::cast_precision_loss)]
    pub fn poll(&self) -> Result<Option<f64>, JsError> {
        let due = self.borrow()?.poll_timeout();
        Ok(due.map(|due| due.as_millis() as f64))
    }

    /// The providers in use.
    ///
    /// # Errors
    /// The engine is in use.
    #[wasm_bindgen(js_name = kmsProviders)]
    pub fn kms_providers(&self) -> Result<JsValue, JsError> {
        let engine = self.borrow()?;
        let providers: Vec<_> = engine.kms_providers().map(convert::kms_provider).collect();
        convert::to_js(&providers)
    }

    /// JSON for `/statusz`.
    ///
    /// # Errors
    /// The engine is in use.
    pub fn status(&self, now: f64) -> Result<String, JsError> {
        Ok(self.borrow()?.status(time(now)))
    }

    /// The counts that the engine keeps.
    ///
    /// # Errors
    /// The engine is in use.
    pub fn metrics(&self) -> Result<JsValue, JsError> {
        let families = self.borrow()?.metrics();
        let families: Vec<_> = families.iter().map(convert::metric_family).collect();
        convert::to_js(&families)
    }
}

impl Engine {
    /// One call at a time: only a `crypto` that calls back into the engine could find it in use.
    fn borrow(&self) -> Result<RefMut<'_, engine::Engine>, JsError> {
        self.0
            .try_borrow_mut()
            .map_err(|_| JsError::new("the engine is in use by another call into it"))
    }

    fn complete(&self, event: Event, now: f64) -> Result<(), JsError> {
        self.borrow()?.handle_event(event, time(now));
        Ok(())
    }
}
