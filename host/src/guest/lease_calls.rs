//! Hand-written bindings to the interface `leases` of the accelerated component. `bindgen!` cannot generate them because it does not know the handle
//! types of `dekker-keys`.

use dekker_keys::{DekSourceType, OpeningKey, SealingKey};
use wasmtime::component::{
    ComponentNamedList, ComponentType, Func, Instance, Lift, Lower, Resource, ResourceAny,
    TypedFunc,
};
use wasmtime::{Error, Result, Store};

use super::bindings::dekker::transformer::types as wit;
use super::value_calls::{At, borrowed};
use super::{Guest, Options, State, arm, export};
use crate::model::{Decrypted, Encrypted, Location};

const INTERFACE: &str = "dekker:transformer/leases@0.1.0";

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
    known_dek: Func,
    adopt: Func,
    extend: Func,
    learn: Func,
    try_to_storage: Func,
    try_from_storage: Func,
}

type Loaded = core::result::Result<ResourceAny, Vec<wit::ConfigFinding>>;
type TryParams<'a> = (ResourceAny, At<'a>, &'a [u8], u64);

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
            known_dek: func("known-dek")?,
            adopt: func("adopt")?,
            extend: func("extend")?,
            learn: func("learn")?,
            try_to_storage: func("try-to-storage")?,
            try_from_storage: func("try-from-storage")?,
        };
        // Check the types of the functions that are later called without a check.
        let (to, from) = (leases.try_to_storage, leases.try_from_storage);
        to.typed::<TryParams<'static>, (Option<wit::Encrypted>,)>(&*store)?;
        from.typed::<TryParams<'static>, (Option<wit::Decrypted>,)>(&*store)?;
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

    /// Returns the DEK of a stored value, if a control engine has it.
    pub(crate) fn known_dek(&mut self, at: &Location, stored: &[u8]) -> Result<Option<OpeningKey>> {
        let (key,): (Option<Resource<OpeningKey>>,) = self.lease_call(
            |leases| leases.known_dek,
            |engine, _| Ok((engine, &*at.resource, stored)),
        )?;
        let keys = &mut self.store.data_mut().keys;
        key.map(|key| keys.take_opening(key)).transpose()
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
    pub(crate) fn learn(&mut self, at: &Location, stored: &[u8], dek: OpeningKey) -> Result<()> {
        self.lease_call(
            |leases| leases.learn,
            |engine, state| {
                let dek = state.keys.put_opening(dek)?;
                Ok((engine, &*at.resource, stored, dek))
            },
        )
    }

    /// Tries to encrypt a value in a worker. Returns `None` if the control engine must do it.
    pub(crate) fn try_to_storage(
        &mut self,
        at: &Location,
        plaintext: &[u8],
        now: u64,
    ) -> Result<Option<Encrypted>> {
        let func = self.leases()?.try_to_storage;
        let written: Option<wit::Encrypted> = self.attempt(func, at, plaintext, now)?;
        Ok(written.map(Into::into))
    }

    /// Tries to decrypt a value in a worker. Returns `None` if the control engine must do it.
    pub(crate) fn try_from_storage(
        &mut self,
        at: &Location,
        stored: &[u8],
        now: u64,
    ) -> Result<Option<Decrypted>> {
        let func = self.leases()?.try_from_storage;
        let read: Option<wit::Decrypted> = self.attempt(func, at, stored, now)?;
        Ok(read.map(Into::into))
    }

    /// Calls `try-to-storage` or `try-from-storage`. `func` must be one of the two functions whose types `Leases::find` has checked.
    fn attempt<T>(&mut self, func: Func, at: &Location, value: &[u8], now: u64) -> Result<Option<T>>
    where
        (Option<T>,): ComponentNamedList + Lift,
        T: 'static,
    {
        arm(&mut self.store);
        // SAFETY: the caller names the type that `find` has checked.
        #[allow(unsafe_code)]
        let func = unsafe { TypedFunc::<TryParams<'_>, (Option<T>,)>::new_unchecked(func) };
        let outcome = func.call(&mut self.store, (self.engine, borrowed(at), value, now));
        self.store.data_mut().keys.erase();
        outcome.map(|(outcome,)| outcome)
    }

    fn leases(&self) -> Result<&Leases> {
        self.leases.as_ref().ok_or_else(|| Error::msg("a self-contained component has no leases"))
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
