//! Measures a component that only calls its host's cipher: the cost of the boundary.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use dekker_keys::{Keys, View};
use wasmtime::Store;
use wasmtime::component::{Component, Func, Linker, TypedFunc};

use super::{names, plaintext, values_of};
use crate::rounds::{Op, Source, Subject, Work};
use crate::vault::KEY;

/// The component's text.
const COMPONENT: &str = include_str!("boundary.wat");

/// 64 MiB. The memory that the component's keys may use, far more than its two keys need.
const MEMORY: usize = 64 << 20;

type Call<'v> = TypedFunc<(&'v [u8], &'v [u8]), (Vec<u8>,)>;

/// A component with a function to seal and one to open, which uses the host's keys.
pub struct Boundary {
    store: Store<State>,
    to_storage: Func,
    from_storage: Func,
    values: HashMap<usize, Vec<Vec<u8>>>,
}

struct State(Keys);

impl Boundary {
    /// Creates the component, and has it generate a key.
    ///
    /// # Errors
    /// Returns an error if wasmtime cannot compile or instantiate the component.
    pub fn new() -> Result<Self> {
        Self::make().map_err(to_anyhow)
    }

    fn make() -> wasmtime::Result<Self> {
        let engine = dekker_compiled::engine()?;
        let component = Component::new(&engine, wat::parse_str(COMPONENT)?)?;
        let mut linker = Linker::new(&engine);
        dekker_keys::add_to_linker(&mut linker)?;
        let mut store = Store::new(&engine, State(Keys::new(MEMORY)));
        // The epoch is never incremented here, so calls have no time limit.
        store.set_epoch_deadline(1);
        let instance = linker.instantiate(&mut store, &component)?;
        let begin = instance.get_typed_func::<(), ()>(&mut store, "begin")?;
        begin.call(&mut store, ())?;
        let mut func = |name| {
            let func = instance.get_func(&mut store, name);
            func.ok_or_else(|| {
                wasmtime::Error::msg(format!("the component exports no function {name}"))
            })
        };
        Ok(Self {
            to_storage: func("to-storage")?,
            from_storage: func("from-storage")?,
            store,
            values: HashMap::new(),
        })
    }

    fn call(store: &mut Store<State>, call: &Call<'_>, value: &[u8]) -> Result<Vec<u8>> {
        let (out,) = call.call(&mut *store, (KEY, value)).map_err(to_anyhow)?;
        store.data_mut().0.erase();
        Ok(out)
    }
}

fn to_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

impl Subject for Boundary {
    fn name(&self) -> &'static str {
        names::BOUNDARY
    }

    fn can(&self, work: &Work) -> bool {
        work.source == Source::Counter
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        let text = plaintext(work.size);
        let to_storage = self.to_storage.typed(&self.store).map_err(to_anyhow)?;
        match work.op {
            Op::Write => {
                let start = Instant::now();
                for _ in 0..n {
                    black_box(Self::call(&mut self.store, &to_storage, black_box(&text))?);
                }
                Ok(start.elapsed())
            }
            Op::Read => {
                let values = self.values.entry(work.size).or_default();
                while values.len() < values_of(work.size) {
                    let sealed = Self::call(&mut self.store, &to_storage, &text)?;
                    values.push(sealed);
                }
                let from_storage = self.from_storage.typed(&self.store).map_err(to_anyhow)?;
                let start = Instant::now();
                for value in values.iter().cycle().take(usize::try_from(n)?) {
                    let read = Self::call(&mut self.store, &from_storage, black_box(value))?;
                    ensure!(
                        black_box(read).len() == work.size,
                        "the plaintext has the wrong length"
                    );
                }
                Ok(start.elapsed())
            }
        }
    }
}

impl View for State {
    fn keys(&mut self) -> &mut Keys {
        &mut self.0
    }

    fn random(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        // Fixed bytes: the component seals no secrets.
        bytes.fill(7);
        Ok(())
    }
}
