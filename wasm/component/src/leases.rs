//! The interface `leases`. Only the accelerated component has it, because only a host that keeps the keys can move them between instances.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::cell::RefCell;

use dekker_core::crypto::nonce::CounterRange;
use dekker_core::engine::{Engine, lease as engines};
use dekker_core::provider::kms::message::EncryptedDekSource;
use dekker_core::time::Timestamp;

use crate::bindings::dekker::crypto::keys as host;
use crate::bindings::dekker::transformer::types::{ConfigFinding, Decrypted, Encrypted, Location};
use crate::bindings::exports::dekker::transformer::engine::{self as face, EngineBorrow, Options};
use crate::bindings::exports::dekker::transformer::leases;
use crate::engine::{EngineResource, location, options};
use crate::imported_keys::{Opening, Sealing, dek_source_type, of_host};
use crate::{Component, Keys, WasiRandom, convert};

fn engine<'a>(of: &'a EngineBorrow<'_>) -> &'a RefCell<Engine> {
    &of.get::<EngineResource>().0
}

impl leases::Guest for Component {
    fn write_states(control: EngineBorrow<'_>) -> Vec<leases::WriteState> {
        let state = |engines::WriteState { provider, serial, expiry }| leases::WriteState {
            provider: String::from(&*provider),
            serial,
            expiry: expiry.as_millis(),
        };
        engine(&control).borrow().write_states().map(state).collect()
    }

    fn take_lease(control: EngineBorrow<'_>, provider: String) -> Option<leases::Lease> {
        let engines::Lease { provider, key, source_type, source, range, since, expiry } =
            engine(&control).borrow_mut().lease(&provider)?;
        let key: &dyn Any = &*key;
        Some(leases::Lease {
            provider: String::from(&*provider),
            key: key.downcast_ref::<Sealing>()?.0.share(),
            source_type: dek_source_type(source_type),
            encrypted_dek_source: source.ciphertext().to_vec(),
            key_id: source.key_id().as_str().into(),
            annotations: source
                .annotations()
                .iter()
                .map(|(name, value)| (name.into(), value.to_vec()))
                .collect(),
            counter_start: range.start,
            counter_end: range.end,
            since: since.as_millis(),
            expiry: expiry.as_millis(),
        })
    }

    fn known_dek(
        control: EngineBorrow<'_>,
        resource: String,
        stored: Vec<u8>,
    ) -> Option<host::OpeningKey> {
        let dek = engine(&control).borrow_mut().known_dek(&resource, &stored)?;
        let dek: &dyn Any = &*dek;
        Some(dek.downcast_ref::<Opening>()?.0.share())
    }

    fn worker(
        config: Vec<u8>,
        given: Options,
        now: u64,
    ) -> Result<face::Engine, Vec<ConfigFinding>> {
        Engine::worker(
            &config,
            options(given),
            Box::new(Keys),
            Box::new(WasiRandom),
            Timestamp::from_millis(now),
        )
        .map(|engine| face::Engine::new(EngineResource(RefCell::new(engine))))
        .map_err(|faults| convert::faults(&faults))
    }

    fn adopt(worker: EngineBorrow<'_>, lease: leases::Lease) -> bool {
        let leases::Lease {
            provider,
            key,
            source_type,
            encrypted_dek_source,
            key_id,
            annotations,
            counter_start,
            counter_end,
            since,
            expiry,
        } = lease;
        // A lease comes from another instance of this component, so its DEK source is valid.
        let annotations = annotations.into_iter().collect();
        let source = EncryptedDekSource::new(encrypted_dek_source, &key_id, annotations);
        source.is_ok_and(|source| {
            engine(&worker).borrow_mut().adopt(engines::Lease {
                provider: provider.into(),
                key: Box::new(Sealing(key)),
                source_type: of_host(source_type),
                source,
                range: CounterRange { start: counter_start, end: counter_end },
                since: Timestamp::from_millis(since),
                expiry: Timestamp::from_millis(expiry),
            })
        })
    }

    fn extend(worker: EngineBorrow<'_>, provider: String, expiry: u64) {
        let expiry = Timestamp::from_millis(expiry);
        engine(&worker).borrow_mut().extend(&provider, expiry);
    }

    fn learn(worker: EngineBorrow<'_>, resource: String, stored: Vec<u8>, dek: host::OpeningKey) {
        let dek = Arc::new(Opening(dek));
        engine(&worker).borrow_mut().learn(&resource, &stored, dek);
    }

    fn try_to_storage(
        worker: EngineBorrow<'_>,
        at: Location,
        plaintext: Vec<u8>,
        now: u64,
    ) -> Option<Encrypted> {
        let now = Timestamp::from_millis(now);
        let written = engine(&worker).borrow_mut().try_to_storage(location(&at), &plaintext, now);
        written.map(convert::written)
    }

    fn try_from_storage(
        worker: EngineBorrow<'_>,
        at: Location,
        stored: Vec<u8>,
        now: u64,
    ) -> Option<Decrypted> {
        let now = Timestamp::from_millis(now);
        let read = engine(&worker).borrow_mut().try_from_storage(location(&at), &stored, now);
        read.map(convert::read)
    }
}
