//! A pool of instances that work in parallel with the control instance.
//!
//! ```text
//!                 ┌─ idle workers ─┐   one call, on the caller's own thread
//!  to_storage ───▶│ ▢ ▢ ▢ ▢        │──────────────────────────────────────────▶ done
//!  from_storage   └────────────────┘   "not mine" ──▶ Driver ──▶ control instance ──▶ done, with whatever calls and waiting it takes
//!                        ▲  leases, decrypted DEKs, the configuration
//!                        └──────────────────────────── Driver
//! ```
//!
//! The driver's instance is the control instance. Only it polls the plugins, generates DEKs, parks operations and writes error messages. A worker
//! encrypts and decrypts values that need nothing from the control instance. The driver publishes the configuration and the DEKs in use before it
//! acts on anything later; a worker that is behind catches up before its next value. A lease is a range of a DEK's counter values, and each range is
//! leased only once. If a worker traps, the unused rest of its lease is discarded with it.
//!
//! Each worker has a slot, and each thread tries the slots from its own on. Threads that have slots of their own write to no memory in common on the
//! way of a value.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dekker_keys::OpeningKey;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::fault::describe;
use crate::guest::{Component, Guest, Lease, Options, Trap};
use crate::metrics::{Metrics, add_up};
use crate::model::{Decrypted, Encrypted, HostError, Location, MetricFamily};
use crate::thread_number::thread_number;

/// Identifies a DEK among those of all control instances of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DekId {
    /// The number of the control instance.
    pub(crate) incarnation: u64,
    /// The DEK's serial number in that instance.
    pub(crate) serial: u64,
}

/// What workers must know before they handle a value.
#[derive(Default)]
pub(crate) struct Published {
    /// Increases with each new configuration.
    pub(crate) epoch: u64,
    pub(crate) config: Arc<Zeroizing<Vec<u8>>>,
    pub(crate) deks: Vec<WriteDek>,
}

/// A provider's write DEK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WriteDek {
    pub(crate) provider: String,
    pub(crate) id: DekId,
    pub(crate) expiry: u64,
}

/// A lease, and the DEK that it is for.
pub(crate) struct LeasedDek {
    pub(crate) id: DekId,
    pub(crate) lease: Lease,
}

/// Access to the control instance.
pub(crate) trait Control {
    /// Takes a lease of a provider's write DEK.
    async fn lease(&self, provider: &str) -> Result<Option<LeasedDek>, HostError>;
}

/// The pool of workers.
pub(crate) struct Workers {
    component: Component,
    options: Options,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// The slot of each worker.
    slots: Box<[Slot]>,
    /// The number of callers that found no idle worker.
    waiting: AtomicUsize,
    /// Notified for each worker that is returned while a caller waits.
    returned: Notify,
    /// For each worker: whether its lease is used up.
    used_up: Vec<AtomicBool>,
    /// For each worker: whether its metrics were requested while it was busy.
    asked: Vec<AtomicBool>,
    published: RwLock<Arc<Published>>,
    /// Counts publications, so that a worker can check for news without a lock.
    version: AtomicU64,
    /// For each worker: its engine's metrics when they were last collected.
    counted: Vec<Mutex<Vec<MetricFamily>>>,
    /// The metrics of engines that no longer exist.
    retired: Mutex<Vec<MetricFamily>>,
}

/// A worker while it is idle. Slots have separate cache lines (two, because processors fetch pairs of them), so that threads do not slow each other
/// down.
#[repr(align(128))]
struct Slot(Mutex<Option<Box<Worker>>>);

struct Worker {
    number: usize,
    /// `None` before the first value, after a trap, and if no instance could be created.
    guest: Option<Guest>,
    version: u64,
    epoch: u64,
    leased: Vec<WriteDek>,
    /// Whether the last instance trapped.
    has_trapped: bool,
    retry: Retry,
}

/// When to try again to create an instance.
struct Retry {
    /// In milliseconds of the pool's clock.
    at: u64,
    /// The delay after the next failure, in milliseconds.
    delay: u64,
}

impl Retry {
    const FIRST: Self = Self { at: 0, delay: FIRST_RETRY_MS };
}

/// The delay before the next attempt to create an instance, in milliseconds: 1 second, doubled up to 1 minute.
const FIRST_RETRY_MS: u64 = 1000;
const LONGEST_RETRY_MS: u64 = 60_000;

/// A worker in use. Dropping this returns the worker to the pool.
struct Busy<'w> {
    pool: &'w Workers,
    /// `None` once the worker has been returned.
    worker: Option<Box<Worker>>,
}

/// A caller that waits for a worker.
struct Waiting<'w>(&'w AtomicUsize);

/// The outcome of an attempt to handle a value in a worker.
pub(crate) enum Attempt<T> {
    Done(T),
    /// The control instance must handle the value. Contains the worker's number.
    NotMine(usize),
}

impl Workers {
    pub(crate) fn new(
        count: usize,
        component: Component,
        options: Options,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Self {
        let slot = |number| {
            let worker = Worker {
                number,
                guest: None,
                version: 0,
                epoch: 0,
                leased: Vec::new(),
                has_trapped: false,
                retry: Retry::FIRST,
            };
            Slot(Mutex::new(Some(Box::new(worker))))
        };
        Self {
            component,
            options,
            clock,
            metrics,
            slots: (0..count).map(slot).collect(),
            waiting: AtomicUsize::new(0),
            returned: Notify::new(),
            used_up: (0..count).map(|_| AtomicBool::new(false)).collect(),
            asked: (0..count).map(|_| AtomicBool::new(false)).collect(),
            published: RwLock::default(),
            version: AtomicU64::new(0),
            counted: (0..count).map(|_| Mutex::default()).collect(),
            retired: Mutex::default(),
        }
    }

    /// Returns the number of workers.
    pub(crate) fn count(&self) -> usize {
        self.slots.len()
    }

    /// Returns what was last published.
    pub(crate) fn published(&self) -> Arc<Published> {
        let published = self.published.read();
        published.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes a new state. From now on, a worker catches up with it before it handles a value.
    pub(crate) fn publish(&self, published: Published) {
        let mut current = self.published.write().unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(published);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Tries to encrypt a value in a worker.
    ///
    /// # Errors
    /// Returns [`HostError::Trapped`] if the worker trapped.
    pub(crate) async fn to_storage(
        &self,
        control: &impl Control,
        at: &Location,
        plaintext: &[u8],
    ) -> Result<Attempt<Encrypted>, HostError> {
        self.attempt(control, |guest, now| guest.try_to_storage(at, plaintext, now)).await
    }

    /// Tries to decrypt a value in a worker.
    ///
    /// # Errors
    /// Returns [`HostError::Trapped`] if the worker trapped.
    pub(crate) async fn from_storage(
        &self,
        control: &impl Control,
        at: &Location,
        stored: &[u8],
    ) -> Result<Attempt<Decrypted>, HostError> {
        self.attempt(control, |guest, now| guest.try_from_storage(at, stored, now)).await
    }

    /// Encrypts values in one worker. The control instance must do those for which the result is `None`.
    pub(crate) async fn to_storage_many(
        &self,
        control: &impl Control,
        values: &[(&Location, &[u8])],
    ) -> Vec<Option<Encrypted>> {
        self.attempt_many(control, values, Guest::to_storage_many).await
    }

    /// Decrypts values in one worker. The control instance must do those for which the result is `None`.
    pub(crate) async fn from_storage_many(
        &self,
        control: &impl Control,
        values: &[(&Location, &[u8])],
    ) -> Vec<Option<Decrypted>> {
        self.attempt_many(control, values, Guest::from_storage_many).await
    }

    /// If the worker traps, nothing of the batch has been returned, so the control instance can do all of it.
    async fn attempt_many<T>(
        &self,
        control: &impl Control,
        values: &[(&Location, &[u8])],
        work: impl FnOnce(&mut Guest, &[(&Location, &[u8])], u64) -> Result<Vec<Option<T>>, Trap>,
    ) -> Vec<Option<T>> {
        let done = self.attempt(control, |guest, now| work(guest, values, now).map(Some)).await;
        match done {
            Ok(Attempt::Done(done)) => done,
            Ok(Attempt::NotMine(_)) | Err(_) => values.iter().map(|_| None).collect(),
        }
    }

    /// Marks a worker's lease as used up, because the control instance has encrypted a value that this worker could not.
    pub(crate) fn renew(&self, number: usize) {
        if let Some(used_up) = self.used_up.get(number) {
            used_up.store(true, Ordering::Relaxed);
        }
    }

    /// Adds the DEK of a stored value to one worker's cache. Other workers learn the DEK when they receive such a value.
    pub(crate) async fn learn(
        &self,
        control: &impl Control,
        at: &Location,
        stored: &[u8],
        dek: OpeningKey,
    ) {
        if self.options.read_only {
            // Workers of a read-only engine leave KMS values to it.
            return;
        }
        let mut busy = self.take(control).await;
        // A trap here does not fail any operation.
        let _ = busy.call(|guest| guest.learn(at, stored, &dek));
    }

    /// Returns the summed metrics of all workers. Busy workers are not waited for: they report their metrics after their current value, and until
    /// then their previous metrics are used. At most one idle worker is held at a time.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        for number in 0..self.count() {
            match self.idle_worker(number) {
                Some(mut idle) => idle.collect_metrics(),
                None => self.asked[number].store(true, Ordering::Relaxed),
            }
        }
        let mut sum = locked(&self.retired).clone();
        for counted in &self.counted {
            add_up(&mut sum, locked(counted).clone());
        }
        sum
    }

    async fn attempt<T>(
        &self,
        control: &impl Control,
        work: impl FnOnce(&mut Guest, u64) -> Result<Option<T>, Trap>,
    ) -> Result<Attempt<T>, HostError> {
        let mut busy = self.take(control).await;
        let number = busy.number();
        let now = self.clock.now();
        let outcome = busy.call(|guest| work(guest, now));
        let asked = self.asked.get(number);
        if asked.is_some_and(|asked| asked.load(Ordering::Relaxed)) {
            busy.collect_metrics();
        }
        match outcome {
            None | Some(Ok(None)) => Ok(Attempt::NotMine(number)),
            Some(Ok(Some(done))) => Ok(Attempt::Done(done)),
            Some(Err(Trapped)) => Err(HostError::Trapped),
        }
    }

    /// Takes an idle worker and brings it up to date.
    async fn take(&self, control: &impl Control) -> Busy<'_> {
        let mut busy = self.free_worker().await;
        if busy.is_behind() {
            busy.catch_up(control).await;
        }
        busy
    }

    async fn free_worker(&self) -> Busy<'_> {
        if let Some(busy) = self.any_idle_worker() {
            return busy;
        }
        let _waiting = Waiting::new(&self.waiting);
        loop {
            let mut returned = std::pin::pin!(self.returned.notified());
            returned.as_mut().enable();
            // A worker that is returned after this look finds the waiting caller and notifies it.
            if let Some(busy) = self.any_idle_worker() {
                return busy;
            }
            returned.await;
        }
    }

    /// Takes the first idle worker from the slot of this thread on.
    fn any_idle_worker(&self) -> Option<Busy<'_>> {
        let count = self.count();
        let first = thread_number() % count.max(1);
        (first..count).chain(0..first).find_map(|number| self.idle_worker(number))
    }

    /// Takes the worker with this number if it is idle.
    fn idle_worker(&self, number: usize) -> Option<Busy<'_>> {
        let worker = locked(&self.slots[number].0).take()?;
        Some(Busy { pool: self, worker: Some(worker) })
    }

    /// Adds the last collected metrics of an engine that has ended to `retired`, so that no sum decreases.
    fn retire(&self, worker: usize) {
        let counted = std::mem::take(&mut *locked(&self.counted[worker]));
        add_up(&mut locked(&self.retired), counted);
    }

    fn trapped(&self, worker: &mut Worker, trap: &Trap) {
        tracing::error!(
            error = format!("{trap:#}"),
            worker = worker.number,
            "the component trapped in a worker; a fresh instance takes its place"
        );
        self.metrics.trap();
        self.retire(worker.number);
        worker.forget();
        worker.has_trapped = true;
    }
}

/// The worker trapped. The trap has been logged and the instance dropped.
struct Trapped;

impl Worker {
    /// Drops the worker's instance and its leases.
    fn forget(&mut self) {
        self.guest = None;
        self.leased.clear();
        self.epoch = 0;
        self.version = 0;
    }
}

impl Busy<'_> {
    fn number(&self) -> usize {
        self.worker.as_ref().map_or(0, |worker| worker.number)
    }

    fn is_behind(&self) -> bool {
        let used_up = self.pool.used_up.get(self.number());
        let is_old = |worker: &Worker| {
            worker.version != self.pool.version.load(Ordering::Acquire)
                || worker.guest.is_none() && worker.retry.at <= self.pool.clock.now()
        };
        self.worker.as_deref().is_some_and(is_old)
            || used_up.is_some_and(|used_up| used_up.load(Ordering::Relaxed))
    }

    /// Calls the worker's instance. Returns `None` if there is no instance.
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Guest) -> Result<T, Trap>,
    ) -> Option<Result<T, Trapped>> {
        let worker = self.worker.as_mut()?;
        Some(call(worker.guest.as_mut()?).map_err(|trap| {
            self.pool.trapped(worker, &trap);
            Trapped
        }))
    }

    /// Collects the engine's metrics.
    fn collect_metrics(&mut self) {
        let number = self.number();
        if let Some(asked) = self.pool.asked.get(number) {
            asked.store(false, Ordering::Relaxed);
        }
        if let Some(Ok(counted)) = self.call(Guest::metrics) {
            *locked(&self.pool.counted[number]) = counted;
        }
    }

    /// Catches up with what was published. If the instance traps or cannot be created, the worker stays without an instance for a while and leaves
    /// all values to the control instance.
    async fn catch_up(&mut self, control: &impl Control) {
        let version = self.pool.version.load(Ordering::Acquire);
        let published = self.pool.published();
        let used_up = self
            .pool
            .used_up
            .get(self.number())
            .is_some_and(|used_up| used_up.swap(false, Ordering::Relaxed));
        if let Some(worker) = &mut self.worker {
            // If this future is dropped halfway, the worker remains behind.
            worker.version = 0;
            if used_up {
                worker.leased.clear();
            }
        }
        let caught_up = self.follow(control, &published).await;
        let Some(worker) = &mut self.worker else {
            return;
        };
        match caught_up {
            Ok(true) => {
                worker.version = version;
                worker.retry = Retry::FIRST;
            }
            // The worker tries again before its next value.
            Ok(false) => {}
            Err(error) => {
                let delay = worker.retry.delay;
                tracing::error!(
                    error,
                    worker = worker.number,
                    seconds = delay / 1000,
                    "a worker has no instance; trying again later"
                );
                self.pool.retire(worker.number);
                worker.forget();
                worker.version = version;
                worker.retry = Retry {
                    at: self.pool.clock.now().saturating_add(delay),
                    delay: (delay * 2).min(LONGEST_RETRY_MS),
                };
            }
        }
    }

    /// Applies a published state. Returns `false` if a lease could not be taken.
    async fn follow(
        &mut self,
        control: &impl Control,
        published: &Published,
    ) -> Result<bool, String> {
        let pool = self.pool;
        let worker = self.worker.as_mut().ok_or("no worker")?;
        if worker.guest.is_none() || worker.epoch != published.epoch {
            if let Some(Ok(counted)) = worker.guest.as_mut().map(Guest::metrics) {
                *locked(&pool.counted[worker.number]) = counted;
            }
            pool.retire(worker.number);
            worker.forget();
            let loaded =
                pool.component.load_worker(&published.config, &pool.options, pool.clock.now());
            let guest =
                loaded.map_err(|trap| format!("{trap:#}"))?.map_err(|faults| describe(&faults))?;
            worker.guest = Some(guest);
            worker.epoch = published.epoch;
            if std::mem::take(&mut worker.has_trapped) {
                pool.metrics.restart();
            }
        }
        let mut has_all = true;
        for dek in &published.deks {
            let known = worker.leased.iter_mut().find(|leased| leased.provider == dek.provider);
            let guest = worker.guest.as_mut().ok_or("no instance")?;
            match known {
                Some(known) if known.id == dek.id => {
                    if known.expiry != dek.expiry {
                        let extended = guest.extend(&dek.provider, dek.expiry);
                        extended.map_err(|trap| format!("{trap:#}"))?;
                        known.expiry = dek.expiry;
                    }
                }
                _ => {
                    // The worker's previous DEK must not be used any more, even if no new lease can be taken. Without a lease, the control instance
                    // encrypts.
                    guest.extend(&dek.provider, 0).map_err(|trap| format!("{trap:#}"))?;
                    worker.leased.retain(|had| had.provider != dek.provider);
                    let Ok(Some(LeasedDek { id, lease })) = control.lease(&dek.provider).await
                    else {
                        has_all = false;
                        continue;
                    };
                    let guest = worker.guest.as_mut().ok_or("no instance")?;
                    let expiry = lease.expiry();
                    if guest.adopt(lease).map_err(|trap| format!("{trap:#}"))? {
                        worker.leased.push(WriteDek { provider: dek.provider.clone(), id, expiry });
                    }
                }
            }
        }
        Ok(has_all)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.worker.take() {
            let number = worker.number;
            *locked(&self.pool.slots[number].0) = Some(worker);
            // A caller that saw the slot empty had counted itself before, and the slot's lock makes that visible here.
            if self.pool.waiting.load(Ordering::Relaxed) > 0 {
                self.pool.returned.notify_one();
            }
        }
    }
}

impl<'w> Waiting<'w> {
    fn new(waiting: &'w AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::Relaxed);
        Self(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Locks a mutex even after a panic in another thread. Workers and metrics are inserted and removed as a whole, so they are always consistent.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
