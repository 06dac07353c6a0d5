//! Measures the accelerated component with many values in one call.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dekker_host::Location;
use dekker_host::instance::Instance;

use super::{BATCH, BATCHED_MAX, instance, location, names, plaintext, share};
use crate::rounds::{Op, Source, Subject, Work};
use crate::vault::Vault;

/// The component that is embedded in `dekker`, which plans [`BATCH`] values in one call. The host then seals or opens them one after the other.
pub struct Batches {
    engines: HashMap<Source, Instance<Vault>>,
    at: Location,
    values: HashMap<(Source, usize), Vec<Vec<u8>>>,
}

impl Batches {
    /// Creates the subject, with an engine for each DEK source.
    ///
    /// # Errors
    /// Returns an error if the component or an engine cannot be created.
    pub fn new() -> Result<Self> {
        let mut engines = HashMap::new();
        for source in [Source::Counter, Source::Seed] {
            engines.insert(source, instance(None, source)?);
        }
        Ok(Self { engines, at: location(), values: HashMap::new() })
    }
}

impl Subject for Batches {
    fn name(&self) -> &'static str {
        names::ACCELERATED_BATCH
    }

    fn can(&self, work: &Work) -> bool {
        work.size <= BATCHED_MAX
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        let engine = self.engines.get_mut(&work.source).context("no engine for the DEK source")?;
        engine.tick()?;
        let at = &self.at;
        let text = plaintext(work.size);
        let batches = n.div_ceil(BATCH as u64);
        match work.op {
            Op::Write => {
                let batch = [(at, &*text); BATCH];
                let start = Instant::now();
                for _ in 0..batches {
                    let written = engine.to_storage_many(black_box(&batch))?;
                    ensure!(written.iter().all(Option::is_some), "a value was not written");
                    black_box(written);
                }
                Ok(share(start.elapsed(), n, batches))
            }
            Op::Read => {
                let values = self.values.entry((work.source, work.size)).or_default();
                while values.len() < BATCH {
                    values.push(engine.to_storage(at, &text)?.stored);
                }
                let batch: Vec<_> = values.iter().map(|value| (at, &**value)).collect();
                let start = Instant::now();
                for _ in 0..batches {
                    let read = engine.from_storage_many(black_box(&batch))?;
                    let is_right = read.iter().all(|read| {
                        read.as_ref().is_some_and(|read| read.plaintext.len() == work.size)
                    });
                    ensure!(
                        is_right,
                        "a value was not read, or the plaintext has the wrong length"
                    );
                    black_box(read);
                }
                Ok(share(start.elapsed(), n, batches))
            }
        }
    }
}
