//! The implementations that are measured.

mod batches;
mod boundary;
mod floor;
mod peer;
mod ring;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dekker_core::crypto::keys::KeyStore;
use dekker_core::crypto::rustcrypto::RustCrypto;
use dekker_host::instance::Instance;
use dekker_host::{Location, WriteDekSource};
use dekker_ring::{KernelEntropy, Ring};

pub use batches::Batches;
pub use boundary::Boundary;
pub use floor::Floor;
pub use peer::Peer;
pub(crate) use ring::Cipher;
pub use ring::{RandomBytes, RingAlone};

use crate::rounds::{Op, Source, Subject, Work};
use crate::vault::{CONFIG, KEY, Native, RESOURCE, Vault};

/// The subjects' names in tables, JSON and bars.
pub mod names {
    /// Core in this process, on ring.
    pub const NATIVE: &str = "native, ring";
    /// Core in this process, on ring, with an engine that all threads share.
    pub const THREADS: &str = "native over threads";
    /// A host in this process, with a worker for each thread.
    pub const HOST_THREADS: &str = "dekker-host over threads";
    /// ring's AES-256-GCM alone, with a key for each thread.
    pub const RING_THREADS: &str = "ring over threads (cipher only)";
    /// Core in this process, on RustCrypto.
    pub const PORTABLE: &str = "native, RustCrypto";
    /// The component that uses the host's keys and ciphers.
    pub const ACCELERATED: &str = "accelerated component";
    /// The same with 64 values in a call.
    pub const ACCELERATED_BATCH: &str = "accelerated component, batches of 64";
    /// The component that contains its own ciphers.
    pub const COMPONENT: &str = "self-contained component";
    /// A component that only calls its host's cipher.
    pub const BOUNDARY: &str = "minimal component";
    /// A component that only has its host seal or open a value that stays there.
    pub const HANDLES: &str = "floor: handles";
    /// A component that only plans how its host seals or opens a value that stays there.
    pub const PLANS: &str = "floor: plans";
    /// The component of [`HANDLES`] with 64 values in a call.
    pub const HANDLES_BATCH: &str = "floor: handles, batches of 64";
    /// The component of [`PLANS`] with 64 values in a call.
    pub const PLANS_BATCH: &str = "floor: plans, batches of 64";
    /// ring's AES-256-GCM alone.
    pub const RING: &str = "ring (cipher only)";
    /// The kernel's random bytes for one nonce.
    pub const RANDOM: &str = "4 random bytes";
    /// kube-apiserver's transformer.
    pub const GO: &str = "k8s.io/apiserver (Go)";
    /// The npm package.
    pub const NPM: &str = "npm package";
    /// The npm package with many values in each call.
    pub const NPM_MANY: &str = "npm package, many values";
    /// `@noble/ciphers`.
    pub const NOBLE: &str = "@noble/ciphers";
    /// `createCipheriv`.
    pub const NODE: &str = "node:crypto";
    /// `createCipheriv`, with the copies into and out of WebAssembly memory that a module needs at least.
    pub const COPIED: &str = "node:crypto, copied";
    /// `crypto.subtle`.
    pub const WEB_CRYPTO: &str = "WebCrypto";
}

/// The number of values of a batch.
pub const BATCH: usize = 64;
/// The size of the largest plaintext that is measured in batches, in bytes.
pub const BATCHED_MAX: usize = 8192;

/// Returns a plaintext of this size. Byte i is (7 * i + size) mod 251, as in the recorded vectors.
pub fn plaintext(size: usize) -> Vec<u8> {
    let byte = |i| ((7 * i + size) % 251) as u8;
    (0..size).map(byte).collect()
}

/// Returns how many values of a size are read in turn: as many as make 1 MiB, but at least 4 and at most 64.
pub fn values_of(size: usize) -> usize {
    (0x10_0000 / size.max(1)).clamp(4, 64)
}

/// Returns the location of every value.
pub(crate) fn location() -> Location {
    Location { resource: RESOURCE.to_owned(), key: KEY.to_vec() }
}

/// Returns the time of `n` values, of which `batches` full batches took this time.
fn share(took: Duration, n: u64, batches: u64) -> Duration {
    took.mul_f64(n as f64 / (batches * BATCH as u64) as f64)
}

/// Creates an instance of a component, or of the embedded one if it is `None`, with an engine and a plugin.
fn instance(component: Option<&[u8]>, source: Source) -> Result<Instance<Vault>> {
    let dek_source = match source {
        Source::Counter => WriteDekSource::Counter,
        Source::Seed => WriteDekSource::HkdfSeed,
    };
    let instance = Instance::new(component, CONFIG, dek_source, None, Vault::default());
    instance.map_err(anyhow::Error::msg)
}

/// An engine, native or in a component.
trait Transformer {
    fn tick(&mut self) -> Result<()>;
    fn write(&mut self, plaintext: &[u8]) -> Result<Vec<u8>>;
    /// Decrypts a value, and returns the plaintext's length.
    fn read(&mut self, stored: &[u8]) -> Result<usize>;
}

impl Transformer for Native {
    fn tick(&mut self) -> Result<()> {
        Self::tick(self)
    }

    fn write(&mut self, plaintext: &[u8]) -> Result<Vec<u8>> {
        Ok(self.to_storage(plaintext)?.stored)
    }

    fn read(&mut self, stored: &[u8]) -> Result<usize> {
        let read = self.from_storage(stored)?;
        Ok(black_box(read.plaintext.expose()).len())
    }
}

struct Component {
    instance: Instance<Vault>,
    at: Location,
}

impl Transformer for Component {
    fn tick(&mut self) -> Result<()> {
        Ok(self.instance.tick()?)
    }

    fn write(&mut self, plaintext: &[u8]) -> Result<Vec<u8>> {
        Ok(self.instance.to_storage(&self.at, plaintext)?.stored)
    }

    fn read(&mut self, stored: &[u8]) -> Result<usize> {
        let read = self.instance.from_storage(&self.at, stored)?;
        Ok(black_box(&*read.plaintext).len())
    }
}

/// One of Dekker's implementations, with an engine for each DEK source.
pub struct Ours {
    name: &'static str,
    engines: HashMap<Source, Box<dyn Transformer>>,
    values: HashMap<(Source, usize), Vec<Vec<u8>>>,
}

impl Ours {
    /// Creates the subject for core in this process, on ring.
    ///
    /// # Errors
    /// Returns an error if an engine cannot be created.
    pub fn native() -> Result<Self> {
        Self::of_core(names::NATIVE, || Box::new(Ring))
    }

    /// Creates the subject for core in this process, with RustCrypto's ciphers.
    ///
    /// # Errors
    /// Returns an error if an engine cannot be created.
    pub fn portable() -> Result<Self> {
        Self::of_core(names::PORTABLE, || Box::new(RustCrypto))
    }

    fn of_core(name: &'static str, keys: impl Fn() -> Box<dyn KeyStore>) -> Result<Self> {
        Self::new(name, |source| {
            let entropy = Box::new(KernelEntropy);
            let native = Native::new(keys(), entropy, source, None, Vault::default())?;
            Ok(Box::new(native))
        })
    }

    /// Creates the subject for the component that is embedded in `dekker`.
    ///
    /// # Errors
    /// Returns an error if the component or an engine cannot be created.
    pub fn accelerated() -> Result<Self> {
        Self::of_component(names::ACCELERATED, None)
    }

    /// Creates the subject for the self-contained component, from its bytes.
    ///
    /// # Errors
    /// Returns an error if the component does not compile or an engine cannot be created.
    pub fn self_contained(component: &[u8]) -> Result<Self> {
        Self::of_component(names::COMPONENT, Some(component))
    }

    fn of_component(name: &'static str, component: Option<&[u8]>) -> Result<Self> {
        Self::new(name, |source| {
            Ok(Box::new(Component { instance: instance(component, source)?, at: location() }))
        })
    }

    fn new(
        name: &'static str,
        engine: impl Fn(Source) -> Result<Box<dyn Transformer>>,
    ) -> Result<Self> {
        let mut engines = HashMap::new();
        for source in [Source::Counter, Source::Seed] {
            engines.insert(source, engine(source)?);
        }
        Ok(Self { name, engines, values: HashMap::new() })
    }
}

impl Subject for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn run(&mut self, work: &Work, n: u64) -> Result<Duration> {
        let engine = self.engines.get_mut(&work.source).context("no engine for the DEK source")?;
        engine.tick()?;
        let text = plaintext(work.size);
        match work.op {
            Op::Write => {
                let start = Instant::now();
                for _ in 0..n {
                    black_box(engine.write(black_box(&text))?);
                }
                Ok(start.elapsed())
            }
            Op::Read => {
                let values = self.values.entry((work.source, work.size)).or_default();
                while values.len() < values_of(work.size) {
                    values.push(engine.write(&text)?);
                }
                let start = Instant::now();
                for value in values.iter().cycle().take(usize::try_from(n)?) {
                    ensure!(
                        engine.read(black_box(value))? == work.size,
                        "the plaintext has the wrong length"
                    );
                }
                Ok(start.elapsed())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_takes_its_share_of_the_batches() {
        let took = Duration::from_micros(640);
        for (desc, n, batches, expected) in [
            ("one full batch", 64, 1, 640),
            ("less than one", 1, 1, 10),
            ("more than one", 96, 2, 480),
        ] {
            assert_eq!(share(took, n, batches), Duration::from_micros(expected), "{desc}");
        }
    }

    #[test]
    fn subjects_without_prerequisites_run() {
        let subjects: Vec<Box<dyn Subject>> = vec![
            Box::new(Ours::native().unwrap()),
            Box::new(Ours::portable().unwrap()),
            Box::new(Ours::accelerated().unwrap()),
            Box::new(Batches::new().unwrap()),
            Box::new(RandomBytes),
            Box::new(Boundary::new().unwrap()),
            Box::new(RingAlone::new().unwrap()),
        ];
        for mut subject in subjects {
            for op in [Op::Write, Op::Read] {
                for source in [Source::Counter, Source::Seed] {
                    let work = Work { op, source, size: 100, count: 1 };
                    if subject.can(&work) {
                        subject.run(&work, 70).unwrap();
                    }
                }
            }
        }
    }
}
