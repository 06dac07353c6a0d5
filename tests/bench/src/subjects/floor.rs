//! Measures the least that a component can do for values which stay in its host: the floor below every row of the accelerated component.
//!
//! The host seals and opens exactly as [`RingAlone`](super::RingAlone) does, with ring, in place in one buffer. What is added is only the component,
//! in the two ways in which a component that never sees a value can have it sealed and opened (`floor.wat`). A bar that both ways miss cannot be
//! reached with a call into a component for each value, or for each batch.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use wasmtime::component::{Component, Instance, Linker, TypedFunc, WasmList};
use wasmtime::{Engine, Store, StoreContextMut};

use super::ring::Cipher;
use super::{BATCH, BATCHED_MAX, names, plaintext, values_of};
use crate::rounds::{Op, Source, Subject, Work};

/// The component's text.
const COMPONENT: &str = include_str!("floor.wat");

/// How the component has a value sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It calls the host.
    Handles,
    /// It returns a plan, which the host carries out.
    Plans,
}

/// The component, called for each value or for each batch, in one of the two ways.
pub struct Floor {
    name: &'static str,
    way: Way,
    is_batched: bool,
    store: Store<Host>,
    calls: Calls,
    /// The plans of the last batch.
    plans: Vec<u64>,
}

/// The component's functions.
struct Calls {
    to_storage: TypedFunc<(u32,), (bool,)>,
    from_storage: TypedFunc<(u32,), (bool,)>,
    to_storage_many: TypedFunc<(u32,), (bool,)>,
    from_storage_many: TypedFunc<(u32,), (bool,)>,
    plan_write: TypedFunc<(u32,), (u64,)>,
    plan_read: TypedFunc<(u32,), (u32,)>,
    plan_writes: TypedFunc<(u32,), (WasmList<u64>,)>,
    plan_reads: TypedFunc<(u32,), (WasmList<u32>,)>,
}

/// The host's half: the values, and the cipher.
struct Host {
    cipher: Cipher,
    /// What is written.
    text: Vec<u8>,
    /// What is read: the values of the current size.
    values: Vec<Vec<u8>>,
    /// The values of other sizes.
    others: HashMap<usize, Vec<Vec<u8>>>,
}

impl Host {
    fn seal(&mut self, counter: u64) -> bool {
        let sealed = self.cipher.seal(counter, black_box(&self.text));
        black_box(sealed).is_ok()
    }

    fn open(&mut self, value: u32) -> bool {
        let Some(value) = self.values.get(value as usize) else {
            return false;
        };
        let opened = self.cipher.open(black_box(value));
        black_box(opened).is_ok_and(|text| text.len() == self.text.len())
    }

    /// Gets the values of a size ready.
    fn prepare(&mut self, size: usize) -> Result<()> {
        if self.text.len() != size || self.values.is_empty() {
            let values = std::mem::take(&mut self.values);
            self.others.insert(self.text.len(), values);
            self.text = plaintext(size);
            self.values = self.others.remove(&size).unwrap_or_default();
        }
        while self.values.len() < values_of(size) {
            // Apart from the counters of the component, which begin with 1.
            let counter = u64::MAX - self.values.len() as u64;
            self.values.push(self.cipher.value(counter, &self.text)?);
        }
        Ok(())
    }
}

impl Floor {
    /// Creates the subjects: both ways, each for single values and for batches.
    ///
    /// # Errors
    /// Returns an error if wasmtime cannot compile or instantiate the component.
    pub fn all() -> Result<Vec<Box<dyn Subject>>> {
        let engine = dekker_compiled::engine().map_err(to_anyhow)?;
        let component = Component::new(&engine, wat::parse_str(COMPONENT)?).map_err(to_anyhow)?;
        let mut all: Vec<Box<dyn Subject>> = Vec::new();
        for (name, way, is_batched) in [
            (names::HANDLES, Way::Handles, false),
            (names::PLANS, Way::Plans, false),
            (names::HANDLES_BATCH, Way::Handles, true),
            (names::PLANS_BATCH, Way::Plans, true),
        ] {
            let host = Host {
                cipher: Cipher::new()?,
                text: Vec::new(),
                values: Vec::new(),
                others: HashMap::new(),
            };
            let made = Self::instantiate(&engine, &component, host).map_err(to_anyhow);
            let (store, calls) = made.context(name)?;
            all.push(Box::new(Self { name, way, is_batched, store, calls, plans: Vec::new() }));
        }
        Ok(all)
    }

    fn instantiate(
        engine: &Engine,
        component: &Component,
        host: Host,
    ) -> wasmtime::Result<(Store<Host>, Calls)> {
        let mut linker = Linker::new(engine);
        let mut imports = linker.instance("host")?;
        imports.func_wrap(
            "seal",
            |mut store: StoreContextMut<'_, Host>, (counter, _value): (u64, u32)| {
                Ok((store.data_mut().seal(counter),))
            },
        )?;
        imports.func_wrap("open", |mut store: StoreContextMut<'_, Host>, (value,): (u32,)| {
            Ok((store.data_mut().open(value),))
        })?;
        let mut store = Store::new(engine, host);
        // The epoch is never incremented here, so calls have no time limit.
        store.set_epoch_deadline(1);
        let instance = linker.instantiate(&mut store, component)?;
        let calls = Calls::find(&mut store, &instance)?;
        Ok((store, calls))
    }

    /// Writes the same text, or reads the next value, `n` times.
    fn singly(&mut self, op: Op, n: u64) -> wasmtime::Result<bool> {
        let Self { store, calls, .. } = self;
        let count = u32::try_from(store.data().values.len())?;
        for value in (0..count).cycle().take(usize::try_from(n)?) {
            let is_done = match (self.way, op) {
                (Way::Handles, Op::Write) => calls.to_storage.call(&mut *store, (value,))?.0,
                (Way::Handles, Op::Read) => calls.from_storage.call(&mut *store, (value,))?.0,
                (Way::Plans, Op::Write) => {
                    let (counter,) = calls.plan_write.call(&mut *store, (value,))?;
                    store.data_mut().seal(counter)
                }
                (Way::Plans, Op::Read) => {
                    let (value,) = calls.plan_read.call(&mut *store, (value,))?;
                    store.data_mut().open(value)
                }
            };
            if !is_done {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes or reads `batches` batches.
    fn in_batches(&mut self, op: Op, batches: u64) -> wasmtime::Result<bool> {
        let Self { store, calls, plans, .. } = self;
        let count = u32::try_from(BATCH)?;
        for _ in 0..batches {
            let is_done = match (self.way, op) {
                (Way::Handles, Op::Write) => calls.to_storage_many.call(&mut *store, (count,))?.0,
                (Way::Handles, Op::Read) => calls.from_storage_many.call(&mut *store, (count,))?.0,
                (Way::Plans, Op::Write) => {
                    let (counters,) = calls.plan_writes.call(&mut *store, (count,))?;
                    // Little-endian in the component's memory, and on the machines that run Dekker.
                    plans.clear();
                    plans.extend_from_slice(counters.as_le_slice(&*store));
                    plans.iter().all(|counter| store.data_mut().seal(u64::from_le(*counter)))
                }
                (Way::Plans, Op::Read) => {
                    let (values,) = calls.plan_reads.call(&mut *store, (count,))?;
                    plans.clear();
                    let values = values.as_le_slice(&*store);
                    plans.extend(values.iter().map(|value| u64::from(u32::from_le(*value))));
                    let host = store.data_mut();
                    plans.iter().all(|value| u32::try_from(*value).is_ok_and(|v| host.open(v)))
                }
            };
            if !is_done {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Calls {
    fn find(store: &mut Store<Host>, instance: &Instance) -> wasmtime::Result<Self> {
        Ok(Self {
            to_storage: instance.get_typed_func(&mut *store, "to-storage")?,
            from_storage: instance.get_typed_func(&mut *store, "from-storage")?,
            to_storage_many: instance.get_typed_func(&mut *store, "to-storage-many")?,
            from_storage_many: instance.get_typed_func(&mut *store, "from-storage-many")?,
            plan_write: instance.get_typed_func(&mut *store, "plan-write")?,
            plan_read: instance.get_typed_func(&mut *store, "plan-read")?,
            plan_writes: instance.get_typed_func(&mut *store, "plan-writes")?,
            plan_reads: instance.get_typed_func(&mut *store, "plan-reads")?,
        })
    }
}

impl Subject for Floor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn can(&self, work: &Work) -> bool {
        work.source == Source::Counter && (!self.is_batched || work.size <= BATCHED_MAX)
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        self.store.data_mut().prepare(work.size)?;
        let batches = n.div_ceil(BATCH as u64);
        let start = Instant::now();
        let done = if self.is_batched {
            self.in_batches(work.op, batches)
        } else {
            self.singly(work.op, n)
        };
        let took = start.elapsed();
        ensure!(done.map_err(to_anyhow)?, "the host could not seal or open a value");
        Ok(if self.is_batched { super::share(took, n, batches) } else { took })
    }
}

fn to_anyhow(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_seals_and_opens_each_value() {
        for mut floor in Floor::all().unwrap() {
            for size in [0, 100, 8192, 100] {
                for op in [Op::Write, Op::Read] {
                    let work = Work { op, source: Source::Counter, size, count: 1 };
                    floor.run(&work, 130).unwrap();
                }
            }
        }
    }

    #[test]
    fn a_value_that_does_not_open_is_an_error() {
        let engine = dekker_compiled::engine().unwrap();
        let component = Component::new(&engine, wat::parse_str(COMPONENT).unwrap()).unwrap();
        for way in [Way::Handles, Way::Plans] {
            for is_batched in [false, true] {
                let mut cipher = Cipher::new().unwrap();
                let mut values: Vec<_> =
                    (0..64).map(|i| cipher.value(i, &plaintext(100)).unwrap()).collect();
                values[63][50] ^= 1;
                let others = HashMap::new();
                let host = Host { cipher, text: plaintext(100), values, others };
                let (store, calls) = Floor::instantiate(&engine, &component, host).unwrap();
                let plans = Vec::new();
                let mut floor = Floor { name: "", way, is_batched, store, calls, plans };
                let work = |op| Work { op, source: Source::Counter, size: 100, count: 1 };
                floor.run(&work(Op::Write), 64).unwrap();
                floor.run(&work(Op::Read), 64).unwrap_err();
            }
        }
    }
}
