//! The interface `leases`. Only the accelerated component has it, because only a host that keeps the keys can move them between instances.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::cell::RefMut;

use dekker_core::crypto::nonce::CounterRange;
use dekker_core::engine::plans::Read;
use dekker_core::engine::{Engine, RouteId, lease as engines};
use dekker_core::provider::kms::message::EncryptedDekSource;
use dekker_core::time::Timestamp;

use crate::bindings::dekker::crypto::keys as host;
use crate::bindings::dekker::transformer::types::ConfigFinding;
use crate::bindings::exports::dekker::transformer::engine::{self as face, EngineBorrow, Options};
use crate::bindings::exports::dekker::transformer::{leases, plans as wit};
use crate::engine::{EngineResource, options};
use crate::imported_keys::{Opening, Sealing, dek_source_type, of_host};
use crate::plans::{Planner, stored};
use crate::{Component, Keys, WasiRandom, convert};

fn engine<'a>(of: &'a EngineBorrow<'_>) -> RefMut<'a, Engine> {
    of.get::<EngineResource>().engine()
}

impl leases::Guest for Component {
    fn write_states(control: EngineBorrow<'_>) -> Vec<leases::WriteState> {
        let state = |engines::WriteState { provider, serial, expiry }| leases::WriteState {
            provider: String::from(&*provider),
            serial,
            expiry: expiry.as_millis(),
        };
        engine(&control).write_states().map(state).collect()
    }

    fn take_lease(control: EngineBorrow<'_>, provider: String) -> Option<leases::Lease> {
        let engines::Lease { provider, key, source_type, source, range, since, expiry } =
            engine(&control).lease(&provider)?;
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
        .map(|engine| face::Engine::new(EngineResource::new(engine)))
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
            engine(&worker).adopt(engines::Lease {
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
        engine(&worker).extend(&provider, expiry);
    }

    fn learn(
        worker: EngineBorrow<'_>,
        resource: String,
        window: wit::Window,
        dek: host::OpeningKey,
    ) -> Option<wit::Missing> {
        let stored = stored(&window)?;
        let dek = Arc::new(Opening::new(dek));
        engine(&worker).learn(&resource, stored, dek).err().map(convert::missing)
    }

    fn try_to_storage(worker: EngineBorrow<'_>, route: u32, now: u64) -> Option<wit::WritePlan> {
        let mut planner = Planner::new(&worker);
        let job = planner.engine.try_plan_write(RouteId(route), Timestamp::from_millis(now))?;
        planner.write_plan(0, job)
    }

    fn try_from_storage(
        worker: EngineBorrow<'_>,
        route: u32,
        window: wit::Window,
        now: u64,
    ) -> wit::Read {
        let mut planner = Planner::new(&worker);
        let Some(stored) = stored(&window) else {
            return wit::Read::Declined;
        };
        let now = Timestamp::from_millis(now);
        match planner.engine.try_plan_read(RouteId(route), stored, now) {
            // The control engine reports it.
            Read::Failed(_) => wit::Read::Declined,
            planned => planner.read(planned),
        }
    }
}
