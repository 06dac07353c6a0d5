//! Hand-written bindings to the interface `leases` of the accelerated component. `bindgen!` cannot generate them because it does not know the handle
//! types of `dekker-keys`.

use dekker_keys::{DekSourceType, OpeningKey, SealingKey};
use wasmtime::component::{
    ComponentNamedList, ComponentType, Func, Instance, Lift, Lower, Resource, ResourceAny,
};
use wasmtime::{Error, Result, Store};

use super::bindings::dekker::transformer::types as wit;
use super::plan_calls::{Call, Plans, Read, WritePlan};
use super::window::{Missing, Window};
use super::{Guest, Options, State, arm, export};
use crate::model::{Decrypted, Encrypted, Location};

const INTERFACE: &str = "dekker:transformer/leases@0.2.0";

/// The WIT record `lease`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Record {
    provider: String,
    key: Resource<SealingKey>,
    #[component(name = "source-type")]
    source_type: DekSourceType,
    #[component(name = "encrypted-dek-source")]
    encrypted_dek_source: Vec<u8>,
    #[component(name = "key-id")]
    key_id: String,
    annotations: Vec<(String, Vec<u8>)>,
    #[component(name = "counter-start")]
    counter_start: u64,
    #[component(name = "counter-end")]
    counter_end: u64,
    since: u64,
    expiry: u64,
}

/// The WIT record `write-state`.
#[derive(Clone, Debug, ComponentType, Lift)]
#[component(record)]
pub(crate) struct WriteState {
    /// The provider's name.
    pub(crate) provider: String,
    /// A number that is different for each DEK of this instance.
    pub(crate) serial: u64,
    /// When the DEK stops encrypting, in milliseconds since the Unix epoch.
    pub(crate) expiry: u64,
}

/// A lease that is moved from one instance to another. It cannot be used twice, because it is not `Clone` and `adopt` consumes it.
pub(crate) struct Lease {
    record: Record,
    /// The key that the record's handle refers to.
    key: SealingKey,
}

impl Lease {
    /// Returns when the DEK stops encrypting, in milliseconds since the Unix epoch.
    pub(crate) fn expiry(&self) -> u64 {
        self.record.expiry
    }
}

/// The interface's functions, looked up once per instance.
pub(super) struct Leases {
    write_states: Func,
    take_lease: Func,
    adopt: Func,
    extend: Func,
    learn: Func,
    try_to_storage: Func,
    try_from_storage: Func,
}

type Loaded = core::result::Result<ResourceAny, Vec<wit::ConfigFinding>>;
type TryWriteParams = (ResourceAny, u32, u64);
type TryReadParams<'a> = (ResourceAny, u32, Window<'a>, u64);

impl Leases {
    /// Looks up the functions. Returns `None` if the component is self-contained.
    pub(super) fn find(store: &mut Store<State>, instance: &Instance) -> Result<Option<Self>> {
        if instance.get_export_index(&mut *store, None, INTERFACE).is_none() {
            return Ok(None);
        }
        let mut func = |name| export(store, instance, INTERFACE, name);
        let leases = Self {
            write_states: func("write-states")?,
            take_lease: func("take-lease")?,
            adopt: func("adopt")?,
            extend: func("extend")?,
            learn: func("learn")?,
            try_to_storage: func("try-to-storage")?,
            try_from_storage: func("try-from-storage")?,
        };
        // Check the types of the functions that are later called without a check.
        let (to, from) = (leases.try_to_storage, leases.try_from_storage);
        to.typed::<TryWriteParams, (Option<WritePlan>,)>(&*store)?;
        from.typed::<TryReadParams<'static>, (Read,)>(&*store)?;
        Ok(Some(leases))
    }
}

/// Creates a worker's engine.
pub(super) fn worker(
    store: &mut Store<State>,
    instance: &Instance,
    config: &[u8],
    options: &Options,
    now: u64,
) -> Result<Loaded> {
    let func = export(store, instance, INTERFACE, "worker")?;
    let func = func.typed::<(&[u8], &Options, u64), (Loaded,)>(&*store)?;
    let (loaded,) = func.call(store, (config, options, now))?;
    Ok(loaded)
}

impl Guest {
    /// Returns whether the component supports workers.
    pub(crate) fn has_leases(&self) -> bool {
        self.leases.is_some()
    }

    /// Returns the write DEKs of a control engine.
    pub(crate) fn write_states(&mut self) -> Result<Vec<WriteState>> {
        self.lease_call(|leases| leases.write_states, |engine, _| Ok((engine,)))
            .map(|(states,)| states)
    }

    /// Takes a lease of a provider's write DEK from a control engine. Returns `None` if there is no DEK, or if too little of its counter is left.
    pub(crate) fn take_lease(&mut self, provider: &str) -> Result<Option<Lease>> {
        let (record,): (Option<Record>,) =
            self.lease_call(|leases| leases.take_lease, |engine, _| Ok((engine, provider)))?;
        let Some(record) = record else {
            return Ok(None);
        };
        let handle = Resource::new_own(record.key.rep());
        let key = self.store.data_mut().keys.take_sealing(handle)?;
        Ok(Some(Lease { record, key }))
    }

    /// Gives a worker a leased DEK to encrypt with. Returns `false` if the worker has no such provider.
    pub(crate) fn adopt(&mut self, lease: Lease) -> Result<bool> {
        let Lease { mut record, key } = lease;
        self.lease_call(
            |leases| leases.adopt,
            |engine, state| {
                record.key = state.keys.put_sealing(key)?;
                Ok((engine, record))
            },
        )
        .map(|(adopted,)| adopted)
    }

    /// Sets the expiry of a worker's DEK.
    pub(crate) fn extend(&mut self, provider: &str, expiry: u64) -> Result<()> {
        self.lease_call(|leases| leases.extend, |engine, _| Ok((engine, provider, expiry)))
    }

    /// Adds the DEK of a stored value to a worker's cache.
    pub(crate) fn learn(&mut self, at: &Location, stored: &[u8], dek: &OpeningKey) -> Result<()> {
        let mut more = None;
        // If the worker needs more of the value the second time, it does not learn the DEK, and the next such value is read by the control engine.
        for _ in 0..2 {
            let mut plans = self.plans.take();
            let window = plans.as_mut().ok_or_else(no_leases)?.shown(stored, more);
            let learned: Result<(Option<Missing>,)> = window.and_then(|window| {
                self.lease_call(
                    |leases| leases.learn,
                    |engine, state| {
                        let dek = state.keys.put_opening(dek.share())?;
                        Ok((engine, &*at.resource, window, dek))
                    },
                )
            });
            self.plans = plans;
            match learned? {
                (None,) => return Ok(()),
                missing => (more,) = missing,
            }
        }
        Ok(())
    }

    /// Tries to encrypt a value in a worker. Returns `None` if the control engine must do it.
    pub(crate) fn try_to_storage(
        &mut self,
        at: &Location,
        plaintext: &[u8],
        now: u64,
    ) -> Result<Option<Encrypted>> {
        let func = self.leases()?.try_to_storage;
        let (plans, mut call) = self.plans()?;
        plans.try_to_storage(&mut call, func, at, plaintext, now)
    }

    /// Tries to decrypt a value in a worker. Returns `None` if the control engine must do it.
    pub(crate) fn try_from_storage(
        &mut self,
        at: &Location,
        stored: &[u8],
        now: u64,
    ) -> Result<Option<Decrypted>> {
        let func = self.leases()?.try_from_storage;
        let (plans, mut call) = self.plans()?;
        plans.try_from_storage(&mut call, func, at, stored, now)
    }

    /// Encrypts values without parking. A value for which the result is `None` must be encrypted alone, in the control engine.
    pub(crate) fn to_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Result<Vec<Option<Encrypted>>> {
        let (plans, mut call) = self.plans()?;
        plans.to_storage_many(&mut call, values, now)
    }

    /// Decrypts values without parking. A value for which the result is `None` must be decrypted alone, in the control engine.
    pub(crate) fn from_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Result<Vec<Option<Decrypted>>> {
        let (plans, mut call) = self.plans()?;
        plans.from_storage_many(&mut call, values, now)
    }

    fn plans(&mut self) -> Result<(&mut Plans, Call<'_>)> {
        arm(&mut self.store);
        let plans = self.plans.as_mut().ok_or_else(no_leases)?;
        Ok((plans, Call { store: &mut self.store, engine: self.engine }))
    }

    fn leases(&self) -> Result<&Leases> {
        self.leases.as_ref().ok_or_else(no_leases)
    }

    /// Calls one of the less frequent functions, with a check of its type.
    fn lease_call<P, R>(
        &mut self,
        pick: impl FnOnce(&Leases) -> Func,
        params: impl FnOnce(ResourceAny, &mut State) -> Result<P>,
    ) -> Result<R>
    where
        P: ComponentNamedList + Lower,
        R: ComponentNamedList + Lift + 'static,
    {
        let func = pick(self.leases()?).typed::<P, R>(&self.store)?;
        arm(&mut self.store);
        let params = params(self.engine, self.store.data_mut())?;
        let outcome = func.call(&mut self.store, params);
        self.store.data_mut().keys.erase();
        outcome
    }
}

fn no_leases() -> Error {
    Error::msg("a self-contained component has no leases")
}
