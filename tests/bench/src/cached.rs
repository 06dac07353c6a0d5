//! Measures whether a cached read takes longer if more DEKs are cached.
//!
//! Every case has the same number of values, and reads each of them once before it reads one again. The values are encrypted with one DEK in the
//! first case, with more in the next ones, and each with its own in the last. So only the DEK cache differs between the cases, not how many
//! values the processor's cache holds.

use std::hint::black_box;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dekker_core::crypto::keys::KeyStore;
use dekker_core::crypto::nonce::CounterRange;
use dekker_core::provider::kms::annotations::Annotations;
use dekker_core::provider::kms::message::EncryptedDekSource;
use dekker_core::provider::kms::v2::write_dek::WriteDek;
use dekker_host::instance::{Instance, Plugin};
use dekker_host::{Location, WriteDekSource};
use dekker_ring::{KernelEntropy, Ring};

use crate::rounds::{Op, Plan, Series, Source, Subject, Work, take_turns};
use crate::subjects::{names, plaintext};
use crate::vault::{CONFIG, KEY, Native, PROVIDER, RESOURCE, Vault};

/// This benchmark's name.
pub const NAME: &str = "cached-deks";
/// The size of the plaintext in bytes, common for a Secret.
pub const SIZE: usize = 1024;

/// Returns the numbers of cached DEKs.
pub fn counts(plan: Plan) -> &'static [usize] {
    if plan.quick { &[1, 100] } else { &[1, 100, 10_000, 100_000] }
}

/// Measures core natively and the accelerated component.
///
/// # Errors
/// Returns an error if an engine refuses its configuration, a value cannot be read, or it has the wrong length.
pub fn measure(plan: Plan) -> Result<Vec<Series>> {
    let values = counts(plan).last().copied().unwrap_or(1);
    let mut all: Vec<Series> = Vec::new();
    for name in [names::NATIVE, names::ACCELERATED] {
        eprintln!("{NAME}: {name}");
        let mut subjects: Vec<Box<dyn Subject>> = Vec::new();
        for &count in counts(plan) {
            subjects.push(Box::new(Readers::new(name, count, values)?));
        }
        let work = Work { op: Op::Read, source: Source::Counter, size: SIZE, count: 1 };
        let series = take_turns(NAME, &mut subjects, work, plan)?;
        all.extend(series.into_iter().zip(counts(plan)).map(|(series, &count)| {
            let work = Work { count, ..work };
            Series { work, ..series }
        }));
    }
    Ok(all)
}

/// An engine with a number of cached DEKs, and values that were encrypted with them.
struct Readers {
    name: &'static str,
    engine: Engine,
    /// The values, concatenated.
    values: Vec<u8>,
    len: usize,
    next: usize,
}

enum Engine {
    Native(Box<Native>),
    Component(Box<Instance<Vault>>, Location),
}

impl Engine {
    fn read(&mut self, stored: &[u8]) -> Result<usize> {
        Ok(match self {
            Self::Native(native) => {
                black_box(native.from_storage(stored)?.plaintext.expose()).len()
            }
            Self::Component(instance, at) => {
                black_box(instance.from_storage(at, stored)?.plaintext).len()
            }
        })
    }

    fn tick(&mut self) -> Result<()> {
        match self {
            Self::Native(native) => native.tick(),
            Self::Component(instance, _) => Ok(instance.tick()?),
        }
    }
}

impl Readers {
    fn new(name: &'static str, deks: usize, count: usize) -> Result<Self> {
        let mut vault = Vault::default();
        let (values, len) = values(&mut vault, deks, count)?;
        let room = NonZeroUsize::new(2 * deks).context("the number of DEKs is 0")?;
        let mut engine = if name == names::NATIVE {
            let entropy = Box::new(KernelEntropy);
            let native = Native::new(Box::new(Ring), entropy, Source::Counter, Some(room), vault)?;
            Engine::Native(Box::new(native))
        } else {
            let room = room.try_into()?;
            let source = WriteDekSource::Counter;
            let instance = Instance::new(None, CONFIG, source, Some(room), vault);
            let at = Location { resource: RESOURCE.to_owned(), key: KEY.to_vec() };
            Engine::Component(Box::new(instance.map_err(anyhow::Error::msg)?), at)
        };
        // Fills the cache: the plugin decrypts each DEK once, here.
        for value in values.chunks_exact(len).take(deks) {
            engine.read(value)?;
        }
        Ok(Self { name, engine, values, len, next: 0 })
    }
}

impl Subject for Readers {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, _: &Work, n: u64) -> Result<Duration> {
        self.engine.tick()?;
        let start = Instant::now();
        for _ in 0..n {
            let value = self.values.get(self.next..).unwrap_or_default();
            let value = value.get(..self.len).context("no value")?;
            ensure!(self.engine.read(value)? == SIZE, "the plaintext has the wrong length");
            self.next += self.len;
            if self.next == self.values.len() {
                self.next = 0;
            }
        }
        Ok(start.elapsed())
    }
}

/// Creates `count` values, encrypted with `deks` DEKs in turn, as another API server would have written them. Returns them concatenated, with the
/// length of one.
fn values(vault: &mut Vault, deks: usize, count: usize) -> Result<(Vec<u8>, usize)> {
    let entropy = KernelEntropy;
    let source_type = Source::Counter.dek_source_type();
    let text = plaintext(SIZE);
    let prefix = format!("k8s:enc:kms:v2:{PROVIDER}:");
    let mut writers = Vec::with_capacity(deks);
    for _ in 0..deks {
        let key = Ring.generate(source_type, &entropy)?;
        let ciphertext = vault.encrypt(key.export()?.expose());
        let source = EncryptedDekSource::new(ciphertext, Vault::KEY_ID, Annotations::default());
        let source = source.ok().context("the DEK source is invalid")?;
        writers.push(WriteDek::new(&prefix, key, source_type, source, CounterRange::WHOLE)?);
    }
    let (mut values, mut len) = (Vec::new(), 0);
    for writer in writers.iter().cycle().take(count) {
        let sealed = writer.seal(KEY, &text, &entropy);
        let sealed = sealed.ok().context("cannot seal a value")?;
        len = sealed.len();
        values.extend(sealed);
    }
    ensure!(values.len() == len * count, "the values differ in length");
    Ok((values, len))
}
