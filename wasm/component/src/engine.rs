//! The interface `engine`.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::cell::{RefCell, RefMut};
use core::num::NonZeroUsize;

#[cfg(feature = "accelerated")]
use dekker_core::crypto::secret::DekBytes;
use dekker_core::engine::event::{Action, OpId};
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::kms::dek_cache::DekCache;
use dekker_core::time::Timestamp;

use crate::bindings::dekker::transformer::types::{
    ConfigFinding, Decrypted, Encrypted, Location, TransformError,
};
use crate::bindings::exports::dekker::transformer::engine as face;
use crate::{Component, Keys, WasiRandom, convert};

impl face::Guest for Component {
    type Engine = EngineResource;
}

/// The resource `engine`. Borrows never conflict: the component has one thread, and no call reenters it.
pub(crate) struct EngineResource {
    engine: RefCell<Engine>,
    #[cfg(feature = "accelerated")]
    pub(crate) plans: RefCell<crate::plans::Plans>,
}

impl EngineResource {
    pub(crate) fn new(engine: Engine) -> Self {
        Self {
            engine: RefCell::new(engine),
            #[cfg(feature = "accelerated")]
            plans: RefCell::default(),
        }
    }

    /// Returns the engine. Counts the plans of the last call as carried out.
    pub(crate) fn engine(&self) -> RefMut<'_, Engine> {
        #[cfg_attr(not(feature = "accelerated"), expect(unused_mut))]
        let mut engine = self.engine.borrow_mut();
        #[cfg(feature = "accelerated")]
        crate::plans::Plans::settle(&self.plans, &mut engine);
        engine
    }

    /// Returns the engine, and leaves the plans of the last call open.
    #[cfg(feature = "accelerated")]
    pub(crate) fn unsettled_engine(&self) -> RefMut<'_, Engine> {
        self.engine.borrow_mut()
    }

    /// Converts an action. A DEK that is in the host stays there, until it is asked for.
    #[cfg(feature = "accelerated")]
    fn action(&self, action: Action) -> face::Action {
        match action {
            Action::CallEncrypt {
                call,
                provider,
                uid,
                plaintext: DekBytes::Held(held),
                is_new_dek,
            } => {
                if let Ok(dek) = held.downcast() {
                    self.plans.borrow_mut().keep_dek(call, *dek);
                }
                let plaintext = Vec::new().into();
                convert::action(Action::CallEncrypt { call, provider, uid, plaintext, is_new_dek })
            }
            action => convert::action(action),
        }
    }

    #[cfg(not(feature = "accelerated"))]
    fn action(&self, action: Action) -> face::Action {
        convert::action(action)
    }
}

pub(crate) fn location(at: &Location) -> dekker_core::Location<'_> {
    dekker_core::Location { resource: &at.resource, key: &at.key }
}

pub(crate) fn options(options: face::Options) -> Options {
    let face::Options { reload, dek_source, coast, dek_cache_capacity, apiserver_id, read_only } =
        options;
    Options {
        reload,
        dek_source: convert::dek_source(dek_source),
        coast: convert::coast(coast),
        dek_cache_capacity: NonZeroUsize::new(dek_cache_capacity as usize)
            .unwrap_or(DekCache::DEFAULT_CAPACITY),
        apiserver_id,
        read_only,
        keep_file: false,
    }
}

impl face::GuestEngine for EngineResource {
    fn create(
        config: Vec<u8>,
        options: face::Options,
        now: u64,
    ) -> Result<face::Engine, Vec<ConfigFinding>> {
        Engine::new(
            &config,
            self::options(options),
            Box::new(Keys),
            Box::new(WasiRandom),
            Timestamp::from_millis(now),
        )
        .map(|engine| face::Engine::new(Self::new(engine)))
        .map_err(|faults| convert::faults(&faults))
    }

    fn to_storage(
        &self,
        op: u64,
        at: Location,
        plaintext: Vec<u8>,
        now: u64,
    ) -> Option<Result<Encrypted, TransformError>> {
        let outcome = self.engine().to_storage(
            OpId(op),
            location(&at),
            &plaintext,
            Timestamp::from_millis(now),
        );
        outcome.map(convert::encrypted)
    }

    fn from_storage(
        &self,
        op: u64,
        at: Location,
        stored: Vec<u8>,
        now: u64,
    ) -> Option<Result<Decrypted, TransformError>> {
        let outcome = self.engine().from_storage(
            OpId(op),
            location(&at),
            &stored,
            Timestamp::from_millis(now),
        );
        outcome.map(convert::decrypted)
    }

    fn health(&self, op: u64, now: u64) -> Option<Vec<face::Check>> {
        let checks = self.engine().health(OpId(op), Timestamp::from_millis(now))?;
        Some(checks.into_iter().map(convert::check).collect())
    }

    fn check_names(&self) -> Vec<String> {
        self.engine().check_names()
    }

    fn cancel(&self, op: u64) {
        self.engine().cancel(OpId(op));
    }

    fn reload(&self, config: Vec<u8>, now: u64) -> Result<u64, Vec<ConfigFinding>> {
        self.engine()
            .reload(&config, Timestamp::from_millis(now))
            .map(|generation| generation.0)
            .map_err(|faults| convert::faults(&faults))
    }

    fn running_generation(&self) -> u64 {
        self.engine().running_generation().0
    }

    fn unreadable_after(&self, config: Vec<u8>) -> Result<Vec<String>, Vec<ConfigFinding>> {
        self.engine().unreadable_after(&config).map_err(|faults| convert::faults(&faults))
    }

    fn handle_event(&self, event: face::Event, now: u64) {
        self.engine().handle_event(convert::event(event), Timestamp::from_millis(now));
    }

    fn handle_timeout(&self, now: u64) {
        self.engine().handle_timeout(Timestamp::from_millis(now));
    }

    fn poll_actions(&self) -> Vec<face::Action> {
        let mut engine = self.engine();
        core::iter::from_fn(|| engine.poll_action()).map(|action| self.action(action)).collect()
    }

    fn poll_timeout(&self) -> Option<u64> {
        self.engine().poll_timeout().map(Timestamp::as_millis)
    }

    fn kms_providers(&self) -> Vec<face::KmsProvider> {
        self.engine().kms_providers().map(convert::kms_provider).collect()
    }

    fn status(&self, now: u64) -> String {
        self.engine().status(Timestamp::from_millis(now))
    }

    fn metrics(&self) -> Vec<face::MetricFamily> {
        self.engine().metrics().into_iter().map(convert::metric_family).collect()
    }
}
