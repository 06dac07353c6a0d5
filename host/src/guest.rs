//! Instances of the component as the host sees them, with their limits and imports.
//!
//! A [`Component`] is compiled once. Each [`Guest`] is one instance in its own store, with one engine. Calls are short and synchronous. After a trap
//! the instance is unusable; the caller drops it and creates another. Dropping an instance unmaps its memory, which the kernel zeroes before it is
//! reused.

/// The bindings that wasmtime generates from `wasm/wit`.
#[allow(missing_docs)]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../wasm/wit",
        world: "transformer",
        imports: { default: trappable },
    });
}

mod from_wit;
mod lease_calls;
mod plan_calls;
mod tool_calls;
mod value_calls;
mod wasi_random;
mod window;

use std::sync::Arc;
use std::time::Duration;

use dekker_keys::{Keys, OpeningKey, View};
use wasmtime::component::{Func, HasSelf, Instance, Linker, ResourceAny};
use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder};

use self::bindings::exports::dekker::transformer::engine as face;
use self::bindings::{Transformer, TransformerPre};
use self::lease_calls::Leases;
use self::plan_calls::{Call, Done, Plans};
use self::value_calls::Values;
use crate::model::{Check, Decrypted, Encrypted, Location, MetricFamily, TransformError};

pub(crate) use self::lease_calls::Lease;
pub(crate) use self::tool_calls::ValueInspector;

pub(crate) use self::bindings::dekker::transformer::types::{ConfigFinding, Severity};
pub(crate) use self::bindings::exports::dekker::transformer::engine::{
    Action, CallError, Coast, DecryptedEvent, DekSource, EncryptResponse, EncryptedEvent, Event,
    KmsProvider, KmsVersion, LogLevel, LogLine, Options, SocketAddress, StatusEvent,
    StatusResponse,
};

/// The embedded accelerated component.
pub(crate) const EMBEDDED: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/transformer-accelerated.wasm"));
/// The embedded component, precompiled. Empty if it was not precompiled.
const EMBEDDED_COMPILED: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/transformer-accelerated.cwasm"));

/// The longest that one call into the guest may run, 10 seconds. This is far more than the longest call takes, which is sealing 2 MiB in software.
const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// The resolution of [`CALL_DEADLINE`], 100 milliseconds.
const EPOCH: Duration = Duration::from_millis(100);
/// The default memory limit of an instance, 512 MiB. 100 000 cached DEKs and all requests that may wait fit in half of it.
pub(crate) const MEMORY_MAX: usize = 512 * 1024 * 1024;

/// A compiled component. Clones share its code.
#[derive(Clone)]
pub(crate) struct Component {
    engine: Engine,
    pre: TransformerPre<State>,
    memory_max: usize,
    /// Stops when the last clone is dropped.
    _clock: Arc<EpochClock>,
}

/// The state on the host's side of an instance.
struct State {
    limits: StoreLimits,
    keys: Keys,
}

/// Provides the imports of the accelerated component. A self-contained component does not use them.
impl View for State {
    fn keys(&mut self) -> &mut Keys {
        &mut self.keys
    }

    fn random(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        wasi_random::fill(bytes)
    }
}

/// An instance with one engine.
pub(crate) struct Guest {
    store: Store<State>,
    bindings: Transformer,
    values: Values,
    /// Only for accelerated components, which `values` is not used for.
    plans: Option<Plans>,
    leases: Option<Leases>,
    engine: ResourceAny,
}

/// What the engine wants done, or has done.
pub(crate) enum Polled {
    /// A parked write has ended.
    Encrypted { op: u64, outcome: Result<Encrypted, TransformError> },
    /// A parked read has ended.
    Decrypted {
        op: u64,
        outcome: Result<Decrypted, TransformError>,
        /// The DEK that opened the value.
        dek: Option<OpeningKey>,
    },
    /// Any other action. Never `ToStorageDone`, `FromStorageDone` or `Ready`.
    Action(Action),
}

/// The component trapped, exceeded its deadline or violated the canonical ABI. The instance is no longer usable.
pub(crate) type Trap = wasmtime::Error;

impl Component {
    /// Loads the embedded component. Each instance may use at most `memory_max` bytes of memory.
    pub(crate) fn embedded(memory_max: usize) -> wasmtime::Result<Self> {
        let engine = dekker_compiled::engine()?;
        // SAFETY: the build script copied the code that `cargo xtask build` compiled from the same component, and it has not been modified since.
        #[allow(unsafe_code)]
        let compiled = unsafe { dekker_compiled::load(&engine, EMBEDDED_COMPILED) };
        let component = match compiled {
            Some(component) => component,
            None => wasmtime::component::Component::from_binary(&engine, EMBEDDED)?,
        };
        Self::new(engine, &component, memory_max)
    }

    /// Returns the same component with another memory limit.
    #[cfg(test)]
    pub(crate) fn limited(&self, memory_max: usize) -> Self {
        Self { memory_max, ..self.clone() }
    }

    /// Compiles a component, self-contained or accelerated. Each instance may use at most `memory_max` bytes of memory.
    pub(crate) fn compile(bytes: &[u8], memory_max: usize) -> wasmtime::Result<Self> {
        let engine = dekker_compiled::engine()?;
        let component = wasmtime::component::Component::new(&engine, bytes)?;
        Self::new(engine, &component, memory_max)
    }

    fn new(
        engine: Engine,
        component: &wasmtime::component::Component,
        memory_max: usize,
    ) -> wasmtime::Result<Self> {
        let mut linker = Linker::new(&engine);
        bindings::wasi::random::random::add_to_linker::<State, HasSelf<State>>(
            &mut linker,
            |state| state,
        )?;
        dekker_keys::add_to_linker(&mut linker)?;
        let pre = TransformerPre::new(linker.instantiate_pre(component)?)?;
        let clock = Arc::new(EpochClock::start(engine.clone()));
        Ok(Self { engine, pre, memory_max, _clock: clock })
    }

    fn instantiate(&self) -> wasmtime::Result<(Store<State>, Instance, Transformer)> {
        self.instantiate_with(None)
    }

    /// Creates an instance. `fuel` is for an engine that counts instructions.
    fn instantiate_with(
        &self,
        fuel: Option<u64>,
    ) -> wasmtime::Result<(Store<State>, Instance, Transformer)> {
        let limits = StoreLimitsBuilder::new()
            .memory_size(self.memory_max)
            .instances(16)
            .memories(1)
            .tables(4)
            .trap_on_grow_failure(true)
            .build();
        let mut store =
            Store::new(&self.engine, State { limits, keys: Keys::new(self.memory_max) });
        store.limiter(|state| &mut state.limits);
        // Each cached DEK is a handle. A full cache has more handles than wasmtime allows in a store by default.
        store.set_max_component_handles(Keys::handles_max(self.memory_max));
        arm(&mut store);
        if let Some(fuel) = fuel {
            store.set_fuel(fuel)?;
        }
        let instance = self.pre.instance_pre().instantiate(&mut store)?;
        let bindings = Transformer::new(&mut store, &instance)?;
        Ok((store, instance, bindings))
    }

    /// Creates an instance with an engine for `config`. The inner error contains all errors in the configuration.
    pub(crate) fn load(
        &self,
        config: &[u8],
        options: &Options,
        now: u64,
    ) -> Result<Result<Guest, Vec<ConfigFinding>>, Trap> {
        self.make(|store, _, bindings| {
            let engine = bindings.dekker_transformer_engine().engine();
            engine.call_create(store, config, options, now)
        })
    }

    /// As [`Self::load`], in an engine that counts instructions.
    #[cfg(test)]
    fn load_with_fuel(&self, config: &[u8], options: &Options, now: u64, fuel: u64) -> Guest {
        let (mut store, instance, bindings) = self.instantiate_with(Some(fuel)).unwrap();
        let values = Values::new(&mut store, &instance).unwrap();
        let plans = Plans::find(&mut store, &instance).unwrap();
        let leases = Leases::find(&mut store, &instance).unwrap();
        let engine = bindings.dekker_transformer_engine().engine();
        let engine = engine.call_create(&mut store, config, options, now).unwrap().unwrap();
        Guest { store, bindings, values, plans, leases, engine }
    }

    /// Creates an instance with a worker's engine. Only for accelerated components.
    pub(crate) fn load_worker(
        &self,
        config: &[u8],
        options: &Options,
        now: u64,
    ) -> Result<Result<Guest, Vec<ConfigFinding>>, Trap> {
        self.make(|store, instance, _| lease_calls::worker(store, instance, config, options, now))
    }

    fn make(
        &self,
        engine: impl FnOnce(
            &mut Store<State>,
            &Instance,
            &Transformer,
        ) -> Result<Result<ResourceAny, Vec<ConfigFinding>>, Trap>,
    ) -> Result<Result<Guest, Vec<ConfigFinding>>, Trap> {
        let (mut store, instance, bindings) = self.instantiate()?;
        let values = Values::new(&mut store, &instance)?;
        let plans = Plans::find(&mut store, &instance)?;
        let leases = Leases::find(&mut store, &instance)?;
        Ok(engine(&mut store, &instance, &bindings)?.map(|engine| Guest {
            store,
            bindings,
            values,
            plans,
            leases,
            engine,
        }))
    }
}

impl Guest {
    pub(crate) fn to_storage(
        &mut self,
        op: u64,
        at: &Location,
        plaintext: &[u8],
        now: u64,
    ) -> Result<Option<Result<Encrypted, TransformError>>, Trap> {
        arm(&mut self.store);
        if let Some(plans) = &mut self.plans {
            let mut call = Call { store: &mut self.store, engine: self.engine };
            return plans.to_storage(&mut call, op, at, plaintext, now);
        }
        let outcome = self.values.to_storage(&mut self.store, self.engine, op, at, plaintext, now);
        self.store.data_mut().keys.erase();
        Ok(outcome?.map(|outcome| outcome.map(Into::into).map_err(Into::into)))
    }

    pub(crate) fn from_storage(
        &mut self,
        op: u64,
        at: &Location,
        stored: &[u8],
        now: u64,
    ) -> Result<Option<Result<Decrypted, TransformError>>, Trap> {
        arm(&mut self.store);
        if let Some(plans) = &mut self.plans {
            let mut call = Call { store: &mut self.store, engine: self.engine };
            return plans.from_storage(&mut call, op, at, stored, now);
        }
        let outcome = self.values.from_storage(&mut self.store, self.engine, op, at, stored, now);
        self.store.data_mut().keys.erase();
        Ok(outcome?.map(|outcome| outcome.map(Into::into).map_err(Into::into)))
    }

    /// Returns the DEK that opened the value of the last read. Only for accelerated components.
    pub(crate) fn take_dek(&mut self) -> Option<OpeningKey> {
        self.plans.as_mut().and_then(Plans::take_dek)
    }

    pub(crate) fn health(&mut self, op: u64, now: u64) -> Result<Option<Vec<Check>>, Trap> {
        let checks = self.call(|engine, store, id| engine.call_health(store, id, op, now))?;
        Ok(checks.map(|checks| checks.into_iter().map(Into::into).collect()))
    }

    pub(crate) fn check_names(&mut self) -> Result<Vec<String>, Trap> {
        self.call(|engine, store, id| engine.call_check_names(store, id))
    }

    pub(crate) fn cancel(&mut self, op: u64) -> Result<(), Trap> {
        if let Some(plans) = &mut self.plans {
            plans.cancel(op);
        }
        self.call(|engine, store, id| engine.call_cancel(store, id, op))
    }

    pub(crate) fn reload(
        &mut self,
        config: &[u8],
        now: u64,
    ) -> Result<Result<u64, Vec<ConfigFinding>>, Trap> {
        self.call(|engine, store, id| engine.call_reload(store, id, config, now))
    }

    pub(crate) fn running_generation(&mut self) -> Result<u64, Trap> {
        self.call(|engine, store, id| engine.call_running_generation(store, id))
    }

    pub(crate) fn unreadable_after(
        &mut self,
        config: &[u8],
    ) -> Result<Result<Vec<String>, Vec<ConfigFinding>>, Trap> {
        self.call(|engine, store, id| engine.call_unreadable_after(store, id, config))
    }

    pub(crate) fn handle_event(&mut self, event: &Event, now: u64) -> Result<(), Trap> {
        if let (Some(plans), Event::Decrypted(DecryptedEvent { call: of, outcome: Ok(dek) })) =
            (&mut self.plans, event)
        {
            arm(&mut self.store);
            let mut call = Call { store: &mut self.store, engine: self.engine };
            return plans.decrypted(&mut call, *of, dek, now);
        }
        self.call(|engine, store, id| engine.call_handle_event(store, id, event, now))
    }

    pub(crate) fn handle_timeout(&mut self, now: u64) -> Result<(), Trap> {
        self.call(|engine, store, id| engine.call_handle_timeout(store, id, now))
    }

    /// Returns what the engine wants done. Operations that wait for their value are continued here.
    pub(crate) fn poll_actions(&mut self) -> Result<Vec<Polled>, Trap> {
        let mut all = Vec::new();
        loop {
            let actions = self.call(|engine, store, id| engine.call_poll_actions(store, id))?;
            if actions.is_empty() {
                return Ok(all);
            }
            for action in actions {
                all.extend(self.polled(action)?);
            }
            if self.plans.is_none() {
                return Ok(all);
            }
        }
    }

    fn polled(&mut self, action: Action) -> Result<Option<Polled>, Trap> {
        Ok(Some(match (action, &mut self.plans) {
            (Action::Ready(op), Some(plans)) => {
                arm(&mut self.store);
                let mut call = Call { store: &mut self.store, engine: self.engine };
                match plans.resume(&mut call, op)? {
                    Some(Done::Write(outcome)) => Polled::Encrypted { op, outcome },
                    Some(Done::Read(outcome)) => {
                        Polled::Decrypted { op, outcome, dek: plans.take_dek() }
                    }
                    None => return Ok(None),
                }
            }
            (Action::CallEncrypt(mut encrypt), Some(plans)) if encrypt.plaintext.is_empty() => {
                arm(&mut self.store);
                let mut call = Call { store: &mut self.store, engine: self.engine };
                if let Some(mut dek) = plans.dek_to_encrypt(&mut call, encrypt.call)? {
                    // The KMS client erases it.
                    encrypt.plaintext = std::mem::take(&mut *dek);
                }
                Polled::Action(Action::CallEncrypt(encrypt))
            }
            (Action::ToStorageDone(done), _) => {
                let outcome = done.outcome.map(Into::into).map_err(Into::into);
                Polled::Encrypted { op: done.op, outcome }
            }
            (Action::FromStorageDone(done), _) => {
                let outcome = done.outcome.map(Into::into).map_err(Into::into);
                Polled::Decrypted { op: done.op, outcome, dek: None }
            }
            (action, _) => Polled::Action(action),
        }))
    }

    pub(crate) fn poll_timeout(&mut self) -> Result<Option<u64>, Trap> {
        self.call(|engine, store, id| engine.call_poll_timeout(store, id))
    }

    pub(crate) fn kms_providers(&mut self) -> Result<Vec<KmsProvider>, Trap> {
        self.call(|engine, store, id| engine.call_kms_providers(store, id))
    }

    pub(crate) fn status(&mut self, now: u64) -> Result<String, Trap> {
        self.call(|engine, store, id| engine.call_status(store, id, now))
    }

    pub(crate) fn metrics(&mut self) -> Result<Vec<MetricFamily>, Trap> {
        let families = self.call(|engine, store, id| engine.call_metrics(store, id))?;
        Ok(families.into_iter().map(Into::into).collect())
    }

    /// Calls the engine. Each call gets the whole deadline. Afterwards, erases plaintext that the call left in the host's memory.
    fn call<T>(
        &mut self,
        call: impl FnOnce(face::GuestEngine<'_>, &mut Store<State>, ResourceAny) -> Result<T, Trap>,
    ) -> Result<T, Trap> {
        arm(&mut self.store);
        let engine = self.bindings.dekker_transformer_engine().engine();
        let outcome = call(engine, &mut self.store, self.engine);
        self.store.data_mut().keys.erase();
        outcome
    }
}

/// Returns a function that an instance exports.
fn export(
    store: &mut Store<State>,
    instance: &Instance,
    interface: &str,
    name: &str,
) -> wasmtime::Result<Func> {
    let missing =
        || wasmtime::Error::msg(format!("the component does not export {interface} {name}"));
    let interface = instance.get_export_index(&mut *store, None, interface).ok_or_else(missing)?;
    let index =
        instance.get_export_index(&mut *store, Some(&interface), name).ok_or_else(missing)?;
    instance.get_func(&mut *store, index).ok_or_else(missing)
}

fn arm(store: &mut Store<State>) {
    let ticks = CALL_DEADLINE.as_millis() / EPOCH.as_millis();
    #[cfg(test)]
    let ticks = match crate::simulation::seams::traps() {
        // With a deadline that has already passed, the call traps at its beginning.
        true => 0,
        false => ticks,
    };
    store.set_epoch_deadline(u64::try_from(ticks).unwrap_or(u64::MAX));
}

/// Increments the engine's epoch while any instance may run.
struct EpochClock {
    stop: std::sync::mpsc::Sender<()>,
}

impl EpochClock {
    fn start(engine: Engine) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            while stopped.recv_timeout(EPOCH) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        });
        Self { stop }
    }
}

impl Drop for EpochClock {
    fn drop(&mut self) {
        // The thread may already be gone.
        let _ = self.stop.send(());
    }
}

#[cfg(test)]
mod tests;
