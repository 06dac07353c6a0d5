//! The component, run by wasmtime with one store for each engine.

mod convert;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{env, fmt, fs};

use dekker_core::engine::Options;
use dekker_core::engine::event::{Action, Check, Event, Generation, KmsProviderInfo};
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location, TransformError};
use dekker_keys::{Keys, Secret, View};
use wasmtime::component::{HasSelf, Instance, Linker, Resource, ResourceAny, TypedFunc};
use wasmtime::{Config, Engine, Store};

use self::bindings::dekker::transformer::types as wit;
use self::bindings::exports::dekker::transformer::engine as face;
use super::{Face, Finding, Maker, Sample};
use crate::entropy::Seeded;

#[allow(missing_docs, clippy::all)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../wasm/wit",
        world: "transformer",
    });
}

/// The error for a component that was not found.
#[derive(Debug)]
pub struct Missing {
    /// The paths that were tried.
    pub looked_at: Vec<PathBuf>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "no component at {:?}; build it: cargo xtask build --component-only",
            self.looked_at
        )
    }
}

/// Creates engines in a component, which is compiled once.
pub struct ComponentMaker {
    engine: Engine,
    pre: bindings::TransformerPre<State>,
    /// The number of instructions that the guest ran in the last read or write, if they are counted.
    instructions: Option<Arc<AtomicU64>>,
}

/// The state behind an instance's imports. The accelerated component gets the same key implementation as in `dekker`.
struct State {
    entropy: Seeded,
    keys: Keys,
}

impl View for State {
    fn keys(&mut self) -> &mut Keys {
        &mut self.keys
    }

    fn random(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        self.entropy.bytes(bytes);
        Ok(())
    }
}

/// 64 MiB: enough for the keys of any test.
const KEYS_MEMORY: usize = 64 * 1024 * 1024;

impl ComponentMaker {
    /// Loads the self-contained component: the file that `DEKKER_COMPONENT` names, otherwise the first `dekker/transformer.wasm` in a target
    /// directory of this crate or its parents.
    ///
    /// # Errors
    /// Returns [`Missing`] if no file was found.
    ///
    /// # Panics
    /// Panics if the file was found but does not load.
    pub fn find() -> Result<Self, Missing> {
        Self::load("DEKKER_COMPONENT", "dekker/transformer.wasm", None)
    }

    /// Loads the accelerated component: the file that `DEKKER_COMPONENT_ACCELERATED` names, otherwise `dekker/transformer-accelerated.wasm`.
    ///
    /// # Errors
    /// Returns [`Missing`] if no file was found.
    ///
    /// # Panics
    /// Panics if the file was found but does not load.
    pub fn find_accelerated() -> Result<Self, Missing> {
        Self::load("DEKKER_COMPONENT_ACCELERATED", "dekker/transformer-accelerated.wasm", None)
    }

    /// Loads the accelerated component and counts the WebAssembly instructions of its last read or write. The number is the same on every machine.
    ///
    /// # Errors
    /// Returns [`Missing`] if no file was found.
    ///
    /// # Panics
    /// Panics as [`Self::find`] does.
    pub fn find_accelerated_and_count() -> Result<(Self, Arc<AtomicU64>), Missing> {
        let instructions = Arc::new(AtomicU64::new(0));
        let maker = Self::load(
            "DEKKER_COMPONENT_ACCELERATED",
            "dekker/transformer-accelerated.wasm",
            Some(instructions.clone()),
        )?;
        Ok((maker, instructions))
    }

    fn load(
        variable: &str,
        file: &str,
        instructions: Option<Arc<AtomicU64>>,
    ) -> Result<Self, Missing> {
        let candidates: Vec<PathBuf> = match env::var_os(variable) {
            Some(path) => vec![path.into()],
            None => {
                let above = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
                let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
                let targets = target.into_iter().chain(above.map(|folder| folder.join("target")));
                targets.map(|target| target.join(file)).collect()
            }
        };
        let Some(bytes) = candidates.iter().find_map(|path| fs::read(path).ok()) else {
            return Err(Missing { looked_at: candidates });
        };
        let mut config = Config::new();
        config.consume_fuel(instructions.is_some());
        let engine = Engine::new(&config).expect("an engine");
        let component =
            wasmtime::component::Component::from_binary(&engine, &bytes).expect("a component");
        let mut linker = Linker::new(&engine);
        bindings::Transformer::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)
            .expect("no import twice");
        dekker_keys::add_to_linker(&mut linker).expect("no import twice");
        let pre = linker.instantiate_pre(&component).expect("no more imports");
        let pre = bindings::TransformerPre::new(pre).expect("the world's exports");
        Ok(Self { engine, pre, instructions })
    }

    fn instance(&self, seed: u64) -> (Store<State>, bindings::Transformer) {
        let (store, bindings, _) = self.whole_instance(seed);
        (store, bindings)
    }

    fn whole_instance(
        &self,
        seed: u64,
    ) -> (Store<State>, bindings::Transformer, Option<DekToEncrypt>) {
        let state = State { entropy: Seeded::new(seed), keys: Keys::new(KEYS_MEMORY) };
        let mut store = Store::new(&self.engine, state);
        if self.instructions.is_some() {
            store.set_fuel(FUEL).expect("it is counted");
        }
        let instance = self.pre.instance_pre().instantiate(&mut store).expect("an instance");
        let bindings = bindings::Transformer::new(&mut store, &instance);
        let dek_to_encrypt = dek_to_encrypt(&mut store, &instance);
        (store, bindings.expect("the world's exports"), dek_to_encrypt)
    }
}

/// The function of the accelerated component that gives out a DEK.
type DekToEncrypt = TypedFunc<(ResourceAny, u64), (Option<Resource<Secret>>,)>;

/// Looks up `plans.dek-to-encrypt`. Returns `None` if the component is self-contained.
fn dek_to_encrypt(store: &mut Store<State>, instance: &Instance) -> Option<DekToEncrypt> {
    let plans = instance.get_export_index(&mut *store, None, "dekker:transformer/plans@0.2.0")?;
    let index = instance.get_export_index(&mut *store, Some(&plans), "dek-to-encrypt");
    Some(instance.get_typed_func(&mut *store, index.expect("in the interface")).expect("its type"))
}

impl bindings::wasi::random::random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).expect("what the guest asks for fits")];
        self.entropy.bytes(&mut bytes);
        bytes
    }

    fn get_random_u64(&mut self) -> u64 {
        self.entropy.number()
    }
}

/// The interface only has types, so there are no functions to implement.
impl wit::Host for State {}

/// More fuel than any call uses.
const FUEL: u64 = u64::MAX / 2;

const TRAP: &str = "the guest does not trap";

impl Maker for ComponentMaker {
    fn create(
        &self,
        config: &[u8],
        options: &Options,
        seed: u64,
        now: Timestamp,
    ) -> Result<Box<dyn Face>, Vec<Finding>> {
        let options = convert::options(options);
        let (mut store, instance, dek_to_encrypt) = self.whole_instance(seed);
        let created = instance
            .dekker_transformer_engine()
            .engine()
            .call_create(&mut store, config, &options, now.as_millis())
            .expect(TRAP);
        match created {
            Ok(engine) => Ok(Box::new(Component {
                store,
                instance,
                engine,
                dek_to_encrypt,
                instructions: self.instructions.clone(),
            })),
            Err(findings) => Err(findings.into_iter().map(convert::finding).collect()),
        }
    }

    fn inspect(&self, stored: &[u8]) -> Result<String, String> {
        let (mut store, instance) = self.instance(0);
        let tools = instance.dekker_transformer_tools();
        tools.call_inspect(&mut store, stored).expect(TRAP)
    }

    fn open_with_dek(
        &self,
        stored: &[u8],
        key: &[u8],
        dek: &[u8],
    ) -> Result<Decrypted, TransformError> {
        let (mut store, instance) = self.instance(0);
        let tools = instance.dekker_transformer_tools();
        let opened = tools.call_open_with_dek(&mut store, stored, key, dek);
        convert::decrypted(opened.expect(TRAP))
    }

    fn seal_with_dek(
        &self,
        plaintext: &[u8],
        key: &[u8],
        like: (&[u8], &[u8]),
        dek: &[u8],
    ) -> Result<Encrypted, TransformError> {
        let (mut store, instance) = self.instance(0);
        let tools = instance.dekker_transformer_tools();
        let sealed = tools.call_seal_with_dek(&mut store, plaintext, key, like.0, like.1, dek);
        convert::encrypted(sealed.expect(TRAP))
    }

    fn check_config(&self, config: &[u8], reload: bool) -> Vec<Finding> {
        let (mut store, instance) = self.instance(0);
        let tools = instance.dekker_transformer_tools();
        let findings = tools.call_check_config(&mut store, config, reload);
        let findings = findings.expect(TRAP).into_iter();
        findings.map(convert::finding).collect()
    }
}

struct Component {
    store: Store<State>,
    instance: bindings::Transformer,
    engine: ResourceAny,
    /// Only for the accelerated component.
    dek_to_encrypt: Option<DekToEncrypt>,
    instructions: Option<Arc<AtomicU64>>,
}

impl Component {
    /// Stores how many instructions have run since the last [`Self::fill_up`].
    fn count(&mut self) {
        if let Some(instructions) = &self.instructions {
            let left = self.store.get_fuel().expect("it is counted");
            instructions.store(FUEL - left, Ordering::Relaxed);
        }
    }

    fn fill_up(&mut self) {
        if self.instructions.is_some() {
            self.store.set_fuel(FUEL).expect("it is counted");
        }
    }
}

/// Calls a method of the guest's engine. Panics if the guest traps.
macro_rules! call {
    ($self:ident . $method:ident ( $($argument:expr),* )) => {
        $self
            .instance
            .dekker_transformer_engine()
            .engine()
            .$method(&mut $self.store, $self.engine $(, $argument)*)
            .expect(TRAP)
    };
}

fn location(at: Location<'_>) -> wit::Location {
    wit::Location { resource: at.resource.to_string(), key: at.key.to_vec() }
}

impl Face for Component {
    fn to_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Result<Encrypted, TransformError>> {
        self.fill_up();
        let outcome = call!(self.call_to_storage(op, &location(at), plaintext, now.as_millis()));
        self.count();
        outcome.map(convert::encrypted)
    }

    fn from_storage(
        &mut self,
        op: u64,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Result<Decrypted, TransformError>> {
        self.fill_up();
        let outcome = call!(self.call_from_storage(op, &location(at), stored, now.as_millis()));
        self.count();
        outcome.map(convert::decrypted)
    }

    fn health(&mut self, op: u64, now: Timestamp) -> Option<Vec<Check>> {
        let checks = call!(self.call_health(op, now.as_millis()))?;
        Some(checks.into_iter().map(convert::check).collect())
    }

    fn cancel(&mut self, op: u64) {
        call!(self.call_cancel(op));
    }

    fn reload(&mut self, config: &[u8], now: Timestamp) -> Result<Generation, Vec<Finding>> {
        let outcome = call!(self.call_reload(config, now.as_millis())).map(Generation);
        // The running generation is never later than the one just offered.
        if let Ok(offered) = outcome {
            assert!(Generation(call!(self.call_running_generation())) <= offered);
        }
        outcome.map_err(|findings| findings.into_iter().map(convert::finding).collect())
    }

    fn unreadable_after(&mut self, config: &[u8]) -> Result<Vec<String>, Vec<Finding>> {
        call!(self.call_unreadable_after(config))
            .map_err(|findings| findings.into_iter().map(convert::finding).collect())
    }

    fn handle_event(&mut self, event: Event, now: Timestamp) {
        call!(self.call_handle_event(&convert::event(event), now.as_millis()));
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        call!(self.call_handle_timeout(now.as_millis()));
    }

    fn poll_actions(&mut self) -> Vec<Action> {
        let mut actions = call!(self.call_poll_actions());
        for action in &mut actions {
            // The DEK is in the host's memory.
            if let (face::Action::CallEncrypt(call), Some(func)) = (action, &self.dek_to_encrypt)
                && call.plaintext.is_empty()
            {
                let (dek,) = func.call(&mut self.store, (self.engine, call.call)).expect(TRAP);
                let dek = dek.map(|dek| self.store.data_mut().keys.take_secret(dek));
                let dek = dek.expect("a DEK that no one has taken").expect("it is in the table");
                call.plaintext = dek.to_vec();
            }
        }
        actions.into_iter().map(convert::action).collect()
    }

    fn poll_timeout(&mut self) -> Option<Timestamp> {
        call!(self.call_poll_timeout()).map(Timestamp::from_millis)
    }

    fn kms_providers(&mut self) -> Vec<KmsProviderInfo> {
        let providers = call!(self.call_kms_providers());
        providers.into_iter().map(convert::kms_provider).collect()
    }

    fn status(&mut self, now: Timestamp) -> String {
        call!(self.call_status(now.as_millis()))
    }

    fn choose_random(&mut self, bytes: &[u8]) {
        self.store.data().entropy.choose(bytes);
    }

    fn metrics(&mut self) -> BTreeMap<String, Vec<Sample>> {
        let families = call!(self.call_metrics());
        families
            .into_iter()
            .map(|family| {
                let samples = family.samples.into_iter();
                let samples = samples.map(|sample| (sample.labels, sample.value));
                (family.name, samples.collect())
            })
            .collect()
    }
}
