//! What the threads use.

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use dekker_core::engine::Options;
use dekker_ring::{KernelEntropy, Ring};
use dekker_shared::{Parts, SharedEngine};

use super::{Crowd, SIZE, Worker, names};
use crate::hosted::Hosted;
use crate::rounds::{Op, Source};
use crate::subjects::{Cipher, location, plaintext, values_of};
use crate::vault::{AT, CONFIG, Clock, Vault, settle};

/// Core in this process, on ring, with an engine that all threads share. Each thread has its own worker.
pub(super) struct NativeThreads {
    engine: SharedEngine,
    /// The engine's plugin.
    vault: Vault,
    clock: Clock,
    /// The values that are read in turn.
    values: Vec<Vec<u8>>,
}

impl NativeThreads {
    /// Creates the engine, and answers its first calls to the plugin, so that it has a write DEK.
    ///
    /// # Errors
    /// Returns an error if the engine refuses the configuration, or if it cannot write a value.
    pub(super) fn new() -> Result<Self> {
        let options =
            Options { dek_source: Source::Counter.dek_source_type(), ..Options::default() };
        let parts = Parts { keys: || Box::new(Ring), entropy: || Box::new(KernelEntropy) };
        let clock = Clock::new()?;
        let engine = SharedEngine::new(CONFIG.as_bytes(), options, parts, clock.now());
        let engine = engine.ok().context("the engine rejected the configuration")?;
        let mut threads = Self { engine, vault: Vault::default(), clock, values: Vec::new() };
        threads.refresh()?;
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
}

impl Crowd for NativeThreads {
    const NAME: &'static str = names::THREADS;

    fn refresh(&mut self) -> Result<()> {
        let mut control = self.engine.control();
        control.handle_timeout(self.clock.now());
        settle(&mut control, &mut self.vault, self.clock);
        Ok(())
    }

    fn worker(&self) -> Result<impl Worker> {
        let text = plaintext(SIZE);
        // With its first value, the thread gets its worker.
        self.read(&self.write(&text)?)?;
        Ok(NativeWorker { threads: self, text })
    }
}

struct NativeWorker<'o> {
    threads: &'o NativeThreads,
    text: Vec<u8>,
}

impl Worker for NativeWorker<'_> {
    fn work(&mut self, op: Op, n: u64) -> Result<()> {
        match op {
            Op::Write => {
                for _ in 0..n {
                    black_box(self.threads.write(black_box(&self.text))?);
                }
            }
            Op::Read => {
                for value in self.threads.values.iter().cycle().take(usize::try_from(n)?) {
                    let len = self.threads.read(black_box(value))?;
                    ensure!(len == SIZE, "the plaintext has the wrong length");
                }
            }
        }
        Ok(())
    }
}

/// A [`Host`](dekker_host::Host) in this process with as many workers as there are threads. A worker is an instance of the accelerated component.
pub(super) struct HostThreads {
    hosted: Hosted,
    /// The values that are read in turn.
    values: Vec<Vec<u8>>,
}

impl HostThreads {
    /// Starts a host with this number of workers.
    ///
    /// # Errors
    /// Returns an error if the host cannot be started, or if it cannot write a value.
    pub(super) fn new(workers: usize) -> Result<Self> {
        let hosted = Hosted::new(Some(workers))?;
        let mut values = Vec::new();
        for _ in 0..values_of(SIZE) {
            let written = hosted.host().to_storage(location(), plaintext(SIZE).into());
            values.push(hosted.block_on(written)?.stored);
        }
        Ok(Self { hosted, values })
    }
}

impl Crowd for HostThreads {
    const NAME: &'static str = names::HOST_THREADS;

    fn worker(&self) -> Result<impl Worker> {
        let mut worker = HostWorker { threads: self, text: plaintext(SIZE) };
        worker.work(Op::Write, 1)?;
        worker.work(Op::Read, 1)?;
        Ok(worker)
    }
}

struct HostWorker<'h> {
    threads: &'h HostThreads,
    text: Vec<u8>,
}

impl Worker for HostWorker<'_> {
    fn work(&mut self, op: Op, n: u64) -> Result<()> {
        let HostThreads { hosted, values } = self.threads;
        let host = hosted.host();
        hosted.block_on(async {
            match op {
                Op::Write => {
                    for _ in 0..n {
                        let text = black_box(&self.text).clone();
                        black_box(host.to_storage(location(), text.into()).await?);
                    }
                }
                Op::Read => {
                    for value in values.iter().cycle().take(usize::try_from(n)?) {
                        let read = host.from_storage(location(), black_box(value).clone()).await?;
                        let len = black_box(&*read.plaintext).len();
                        ensure!(len == SIZE, "the plaintext has the wrong length");
                    }
                }
            }
            Ok(())
        })
    }
}

/// ring's AES-256-GCM. The threads share nothing.
pub(super) struct RingThreads;

impl Crowd for RingThreads {
    const NAME: &'static str = names::RING_THREADS;

    fn worker(&self) -> Result<impl Worker> {
        let mut cipher = Cipher::new()?;
        let text = plaintext(SIZE);
        let count = values_of(SIZE) as u64;
        // Apart from the counters of what is written, which begin with 0.
        let values = (0..count).map(|i| cipher.value(u64::MAX - i, &text));
        let values = values.collect::<Result<_>>()?;
        Ok(RingWorker { cipher, text, values })
    }
}

/// A thread of [`RingThreads`].
pub(super) struct RingWorker {
    cipher: Cipher,
    text: Vec<u8>,
    values: Vec<Vec<u8>>,
}

impl Worker for RingWorker {
    fn work(&mut self, op: Op, n: u64) -> Result<()> {
        match op {
            Op::Write => {
                for counter in 0..n {
                    black_box(self.cipher.seal(counter, black_box(&self.text))?);
                }
            }
            Op::Read => {
                for value in self.values.iter().cycle().take(usize::try_from(n)?) {
                    let len = black_box(self.cipher.open(black_box(value))?).len();
                    ensure!(len == SIZE, "the plaintext has the wrong length");
                }
            }
        }
        Ok(())
    }
}
