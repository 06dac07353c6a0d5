//! dekker-core's engine for all threads of a native program. Values are encrypted and decrypted through `&self`, without a lock except to catch up.
//!
//! An engine belongs to one thread. This crate gives each thread that encrypts or decrypts its own worker (`dekker_core::engine::lease`), with a
//! separate part of the write DEK's counter. One control engine, behind a lock, handles the plugins; drive it through [`SharedEngine::control`] like
//! any other engine. A worker takes that lock only to catch up: for its first value, and after the control engine has changed state that workers
//! depend on.
//!
//! ```
//! use std::sync::Arc;
//!
//! use dekker_core::crypto::entropy::{Entropy, EntropyError};
//! use dekker_core::crypto::rustcrypto::RustCrypto;
//! use dekker_core::engine::Options;
//! use dekker_core::Location;
//! use dekker_core::time::Timestamp;
//! use dekker_shared::{Parts, SharedEngine};
//!
//! struct System;
//! impl Entropy for System {
//!     fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
//!         // The kernel's, each time: `dekker_ring::KernelEntropy`. Nothing kept in memory, which a restored snapshot would give again.
//!         # bytes.fill(7);
//!         Ok(())
//!     }
//! }
//! let parts = Parts {
//!     keys: || Box::new(RustCrypto),
//!     entropy: || Box::new(System),
//! };
//! let config = b"
//! apiVersion: apiserver.config.k8s.io/v1
//! kind: EncryptionConfiguration
//! resources:
//! - resources: [secrets]
//!   providers: [{secretbox: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]";
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let engine = SharedEngine::new(config, Options::default(), parts, now)?;
//! std::thread::scope(|scope| {
//!     for _ in 0..4 {
//!         scope.spawn(|| {
//!             let at = Location { resource: "secrets", key: b"/registry/secrets/default/token" };
//!             // `None`: it needs the plugin, or has a fault; the control engine does it, and says so.
//!             let stored = engine.to_storage(at, b"hunter2", now).unwrap().stored;
//!             let read = engine.from_storage(at, &stored, now).unwrap();
//!             assert_eq!(read.plaintext.expose(), b"hunter2");
//!         });
//!     }
//! });
//! # Ok::<(), dekker_core::config::Faults>(())
//! ```
#![forbid(unsafe_code)]

use std::cell::{RefCell, RefMut};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dekker_core::config::Faults;
use dekker_core::crypto::entropy::Entropy;
use dekker_core::crypto::keys::KeyStore;
use dekker_core::crypto::secret::Secret;
use dekker_core::engine::event::Generation;
use dekker_core::engine::lease::WriteState;
use dekker_core::engine::metrics::MetricFamily;
use dekker_core::engine::{Engine, Options};
use dekker_core::provider::stored::Stored;
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, Location};
use thread_local::ThreadLocal;

/// What every engine is created with.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// Creates the cipher library of an engine; it is the same library for every engine.
    pub keys: fn() -> Box<dyn KeyStore>,
    /// Creates the source of randomness of an engine; see [`Entropy`] for its requirements.
    pub entropy: fn() -> Box<dyn Entropy>,
}

/// A control engine, and a worker for each thread that encrypts or decrypts.
pub struct SharedEngine {
    parts: Parts,
    options: Options,
    control: Mutex<ControlState>,
    /// Incremented when state that workers depend on changes.
    version: AtomicU64,
    workers: ThreadLocal<RefCell<Worker>>,
}

struct ControlState {
    /// The only source of truth for the file in use. Workers are created from its running configuration, not from the files offered to it.
    engine: Engine,
    /// The state that workers were last notified of.
    published: (Generation, Vec<WriteState>),
}

struct Worker {
    engine: Engine,
    version: u64,
    /// The generation of the control engine's file that this worker was created from.
    generation: Generation,
    states: Vec<WriteState>,
}

impl SharedEngine {
    /// Parses and validates `config` and creates the control engine. The first probes are due at once: drive [`Self::control`].
    ///
    /// # Errors
    /// Returns every error of the configuration.
    pub fn new(
        config: &[u8],
        options: Options,
        parts: Parts,
        now: Timestamp,
    ) -> Result<Self, Faults> {
        let Parts { keys, entropy } = parts;
        // Workers are created from the file in use.
        let options = Options { keep_file: true, ..options };
        let engine = Engine::new(config, options.clone(), keys(), entropy(), now)?;
        Ok(Self {
            parts,
            options,
            control: Mutex::new(ControlState {
                published: (engine.running_generation(), Vec::new()),
                engine,
            }),
            version: AtomicU64::new(1),
            workers: ThreadLocal::new(),
        })
    }

    /// Encrypts a value. Returns `None` if this thread's worker cannot encrypt it, for example because there is no DEK or an error occurred. Then
    /// call `Engine::to_storage` on [`Self::control`].
    #[must_use]
    pub fn to_storage(
        &self,
        at: Location<'_>,
        plaintext: &[u8],
        now: Timestamp,
    ) -> Option<Encrypted> {
        self.with_worker(now, |worker| worker.try_to_storage(at, plaintext, now))
    }

    /// Decrypts a stored value. Returns `None` if this thread's worker cannot decrypt it, for example because it does not have the DEK. Then call
    /// `Engine::from_storage` on [`Self::control`], and [`Self::learn`] when it has decrypted the value, so that this thread decrypts the next value
    /// with this DEK itself.
    #[must_use]
    pub fn from_storage(
        &self,
        at: Location<'_>,
        stored: &[u8],
        now: Timestamp,
    ) -> Option<Decrypted> {
        self.with_worker(now, |worker| worker.try_from_storage(at, stored, now))
    }

    /// Encrypts values. The results have the order of the values, and each is what [`Self::to_storage`] would return. It costs a little less than one
    /// call for each value.
    #[must_use]
    pub fn to_storage_many<'v>(
        &self,
        values: impl IntoIterator<Item = (Location<'v>, &'v [u8])>,
        now: Timestamp,
    ) -> Vec<Option<Encrypted>> {
        self.many(values, now, |worker, at, plaintext| worker.try_to_storage(at, plaintext, now))
    }

    /// Decrypts stored values. The results have the order of the values, and each is what [`Self::from_storage`] would return. It costs a little less
    /// than one call for each value.
    #[must_use]
    pub fn from_storage_many<'v>(
        &self,
        values: impl IntoIterator<Item = (Location<'v>, &'v [u8])>,
        now: Timestamp,
    ) -> Vec<Option<Decrypted>> {
        self.many(values, now, |worker, at, stored| worker.try_from_storage(at, stored, now))
    }

    /// Gives the DEK of a stored value to this thread's worker, if the control engine has it cached.
    pub fn learn(&self, at: Location<'_>, stored: &[u8], now: Timestamp) {
        let dek = self.lock().engine.known_dek(at.resource, stored);
        if let Some(dek) = dek {
            self.with_worker(now, |worker| {
                // All bytes are here.
                worker.learn(at.resource, Stored::whole(stored), dek).ok()
            });
        }
    }

    /// Locks the control engine: for its actions, events, timeouts and reloads, and for values that a worker could not process. After the returned
    /// guard is dropped, every worker takes over the changes before its next value.
    pub fn control(&self) -> Control<'_> {
        Control { state: self.lock(), version: &self.version }
    }

    /// Returns the metrics of each engine, the control engine's first. `&mut self` ensures that no value is in progress, so every value is counted.
    pub fn metrics(&mut self) -> Vec<Vec<MetricFamily>> {
        let control = self.lock().engine.metrics();
        let workers = self.workers.iter_mut();
        let workers = workers.map(|worker| worker.get_mut().engine.metrics());
        std::iter::once(control).chain(workers).collect()
    }

    fn lock(&self) -> MutexGuard<'_, ControlState> {
        // A panic while the lock is held does not leave the engine inconsistent: its state is consistent between calls.
        self.control.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` on this thread's worker, after it has caught up. Returns `None` if `work` does, if the worker cannot be created (for example
    /// because the backend refuses the configuration's keys), or if it does not have the file in use.
    fn with_worker<T>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&mut Engine) -> Option<T>,
    ) -> Option<T> {
        self.step(&mut *self.worker(now)?, now, work)
    }

    /// Runs `work` for each value on this thread's worker, which catches up before each value if it is behind.
    fn many<'v, T>(
        &self,
        values: impl IntoIterator<Item = (Location<'v>, &'v [u8])>,
        now: Timestamp,
        mut work: impl FnMut(&mut Engine, Location<'v>, &'v [u8]) -> Option<T>,
    ) -> Vec<Option<T>> {
        // The iterator is the caller's, and may use this engine itself: it must not run while the worker is in use.
        let values: Vec<_> = values.into_iter().collect();
        let Some(mut worker) = self.worker(now) else {
            return values.iter().map(|_| None).collect();
        };
        let handle = |(at, value)| self.step(&mut worker, now, |engine| work(engine, at, value));
        values.into_iter().map(handle).collect()
    }

    /// Returns this thread's worker, and creates it first if there is none. It is not in use: no caller's code runs while it is borrowed.
    fn worker(&self, now: Timestamp) -> Option<RefMut<'_, Worker>> {
        let worker = match self.workers.get() {
            Some(worker) => worker,
            None => {
                let worker = self.new_worker(now)?;
                self.workers.get_or(|| RefCell::new(worker))
            }
        };
        worker.try_borrow_mut().ok()
    }

    fn step<T>(
        &self,
        worker: &mut Worker,
        now: Timestamp,
        work: impl FnOnce(&mut Engine) -> Option<T>,
    ) -> Option<T> {
        if worker.version != self.version.load(Ordering::Acquire) && !self.catch_up(worker, now) {
            return None;
        }
        let done = work(&mut worker.engine);
        if done.is_none() {
            // If a lease is used up, make the worker catch up before the next value, which gets it a new one.
            let Worker { engine, states, .. } = worker;
            let leases = states.len();
            states.retain(|state| !engine.has_used_up(&state.provider));
            if states.len() < leases {
                worker.version = 0;
            }
        }
        done
    }

    fn new_worker(&self, now: Timestamp) -> Option<Worker> {
        let (config, generation) = {
            let control = self.lock();
            let config = control.engine.running_config()?.expose().to_vec();
            (Secret::new(config), control.engine.running_generation())
        };
        let Parts { keys, entropy } = self.parts;
        let options = self.options.clone();
        let engine = Engine::worker(config.expose(), options, keys(), entropy(), now);
        Some(Worker { engine: engine.ok()?, version: 0, generation, states: Vec::new() })
    }

    /// Takes over the control engine's state. Returns `false` if the worker does not have the file in use; the control engine must then process the
    /// value.
    fn catch_up(&self, worker: &mut Worker, now: Timestamp) -> bool {
        let version = self.version.load(Ordering::Acquire);
        let is_old = self.lock().engine.running_generation() != worker.generation;
        if is_old && let Some(new) = self.new_worker(now) {
            *worker = new;
        }
        let mut control = self.lock();
        if control.engine.running_generation() != worker.generation {
            // Another file came into use in the meantime, or no worker can be created for this one. The next value tries again.
            return false;
        }
        let mut has_all = true;
        for state in control.engine.write_states().collect::<Vec<_>>() {
            let known = worker.states.iter_mut().find(|known| known.provider == state.provider);
            match known {
                Some(known) if known.serial == state.serial => {
                    if known.expiry != state.expiry {
                        worker.engine.extend(&state.provider, state.expiry);
                        known.expiry = state.expiry;
                    }
                }
                _ => {
                    worker.states.retain(|known| known.provider != state.provider);
                    // The worker's old DEK is no longer in use. An expiry of zero stops it, so the worker encrypts nothing for this provider without
                    // a lease.
                    worker.engine.extend(&state.provider, Timestamp::from_millis(0));
                    if let Some(lease) = control.engine.lease(&state.provider)
                        && worker.engine.adopt(lease)
                    {
                        worker.states.push(state);
                    } else {
                        has_all = false;
                    }
                }
            }
        }
        if has_all {
            worker.version = version;
        }
        true
    }
}

impl fmt::Debug for SharedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedEngine(..)")
    }
}

/// Exclusive access to the control engine.
pub struct Control<'e> {
    state: MutexGuard<'e, ControlState>,
    version: &'e AtomicU64,
}

impl Deref for Control<'_> {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.state.engine
    }
}

impl DerefMut for Control<'_> {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.state.engine
    }
}

impl Drop for Control<'_> {
    fn drop(&mut self) {
        let ControlState { engine, published } = &mut *self.state;
        let now = (engine.running_generation(), engine.write_states().collect());
        if now != *published {
            *published = now;
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}

impl fmt::Debug for Control<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control(..)")
    }
}
