//! Measures threads that write or read with one [`SharedEngine`]. Each thread begins its next value as soon as its last one has ended.

use std::hint::black_box;
use std::panic::resume_unwind;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dekker_core::engine::Options;
use dekker_ring::{KernelEntropy, Ring};
use dekker_shared::{Parts, SharedEngine};

use crate::rounds::{Op, Plan, Series, Source, Subject, Work, take_turns};
use crate::subjects::{names, plaintext, values_of};
use crate::vault::{AT, CONFIG, Clock, Vault, settle};

/// This benchmark's name.
pub const NAME: &str = "threads";
/// The size of the plaintext in bytes, common for a Secret.
pub const SIZE: usize = 1024;
/// The numbers of threads.
pub const COUNTS: [usize; 2] = [1, 2];

/// Measures writes and reads with every number of threads. The figures are the time of a whole round divided by the number of its values.
///
/// # Errors
/// Returns an error if the engine refuses its configuration, or if a thread cannot write or read a value.
pub fn measure(plan: Plan) -> Result<Vec<Series>> {
    let mut subjects: Vec<Box<dyn Subject>> = vec![Box::new(Threads::new()?)];
    let mut all = Vec::new();
    for op in [Op::Write, Op::Read] {
        for count in COUNTS {
            eprintln!("{NAME}: {op}, {count}");
            let work = Work { op, source: Source::Counter, size: SIZE, count };
            all.extend(take_turns(NAME, &mut subjects, work, plan)?);
        }
    }
    Ok(all)
}

/// Core in this process, on ring, with an engine that all threads share.
pub struct Threads {
    engine: SharedEngine,
    /// The engine's plugin.
    vault: Vault,
    clock: Clock,
    /// The values that are read in turn.
    values: Vec<Vec<u8>>,
}

impl Threads {
    /// Creates the engine, and answers its first calls to the plugin, so that it has a write DEK.
    ///
    /// # Errors
    /// Returns an error if the engine refuses the configuration, or if it cannot write a value.
    pub fn new() -> Result<Self> {
        let options =
            Options { dek_source: Source::Counter.dek_source_type(), ..Options::default() };
        let parts = Parts { keys: || Box::new(Ring), entropy: || Box::new(KernelEntropy) };
        let clock = Clock::new()?;
        let engine = SharedEngine::new(CONFIG.as_bytes(), options, parts, clock.now());
        let engine = engine.ok().context("the engine rejected the configuration")?;
        let mut threads = Self { engine, vault: Vault::default(), clock, values: Vec::new() };
        settle(&mut threads.engine.control(), &mut threads.vault, clock);
        let text = plaintext(SIZE);
        for _ in 0..values_of(SIZE) {
            threads.values.push(threads.write(&text)?);
        }
        Ok(threads)
    }

    /// Writes a value with this thread's worker.
    fn write(&self, text: &[u8]) -> Result<Vec<u8>> {
        let written = self.engine.to_storage(AT, text, self.clock.now());
        Ok(written.context("the thread's worker cannot write")?.stored)
    }

    /// Reads a value with this thread's worker. Returns the plaintext's length.
    fn read(&self, stored: &[u8]) -> Result<usize> {
        let read = self.engine.from_storage(AT, stored, self.clock.now());
        let read = read.context("the thread's worker cannot read")?;
        Ok(black_box(read.plaintext.expose()).len())
    }

    /// The work of one thread, which begins when all threads are ready. Before that, the thread gets its worker.
    fn work(&self, op: Op, n: u64, ready: &Barrier) -> Result<()> {
        let text = plaintext(SIZE);
        let first = self.write(&text).and_then(|stored| self.read(&stored));
        ready.wait();
        first?;
        match op {
            Op::Write => {
                for _ in 0..n {
                    black_box(self.write(black_box(&text))?);
                }
            }
            Op::Read => {
                for value in self.values.iter().cycle().take(usize::try_from(n)?) {
                    let len = self.read(black_box(value))?;
                    ensure!(len == SIZE, "the plaintext has the wrong length");
                }
            }
        }
        Ok(())
    }
}

impl Subject for Threads {
    fn name(&self) -> &'static str {
        names::THREADS
    }

    fn can(&self, work: &Work) -> bool {
        work.source == Source::Counter && work.size == SIZE
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        {
            let mut control = self.engine.control();
            control.handle_timeout(self.clock.now());
            settle(&mut control, &mut self.vault, self.clock);
        }
        let count = u64::try_from(work.count)?;
        let each = n.div_ceil(count);
        let ready = Barrier::new(work.count + 1);
        let this = &*self;
        let took = thread::scope(|scope| {
            let work_alone = || this.work(work.op, each, &ready);
            let threads: Vec<_> = (0..work.count).map(|_| scope.spawn(work_alone)).collect();
            ready.wait();
            let start = Instant::now();
            for thread in threads {
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            }
            anyhow::Ok(start.elapsed())
        })?;
        // Every thread does the same number of values, which can be more than `n` together.
        Ok(took.mul_f64(n as f64 / (each * count) as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_write_and_read_with_one_engine() {
        let mut threads = Threads::new().unwrap();
        for op in [Op::Write, Op::Read] {
            for count in COUNTS {
                let work = Work { op, source: Source::Counter, size: SIZE, count };
                assert!(threads.can(&work));
                threads.run(&work, 71).unwrap();
            }
        }
    }
}
