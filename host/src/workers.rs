//! Several instances at work for one.
//!
//! ```text
//!                 ┌─ idle workers ─┐   one call, on the caller's own thread
//!  to_storage ───▶│ ▢ ▢ ▢ ▢  (LIFO)│──────────────────────────────────────────▶ done
//!  from_storage   └────────────────┘   "not mine" ──▶ Driver ──▶ control instance ──▶ done, with whatever calls and waiting it takes
//!                        ▲  leases, decrypted DEKs, the configuration
//!                        └──────────────────────────── Driver
//! ```
//!
//! The driver's instance is the control instance: it alone polls the plugins, makes DEKs, parks, and words faults. A worker reads and writes
//! alone what needs nobody else. The driver publishes which configuration and which DEKs are in use before it does anything that comes after;
//! a worker that is behind catches up before its next value. A lease has a part of a DEK's counter that is given once; what a worker that
//! trapped did not use of it is thrown away with the worker.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use dekker_keys::OpeningKey;
use tokio::sync::{Semaphore, SemaphorePermit};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::driver::describe;
use crate::guest::{Component, Guest, Lease, Options, Trap};
use crate::metrics::{Metrics, add_up};
use crate::model::{Decrypted, Encrypted, HostError, Location, MetricFamily};

/// Names one DEK of all that the control instances of this process had: which instance, and which of its DEKs.
pub(crate) type DekId = (u64, u64);

/// What workers must know.
#[derive(Default)]
pub(crate) struct Published {
    /// Another one with each configuration.
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

/// The way to the control instance.
pub(crate) trait Control {
    /// A lease of a provider's write DEK, and which DEK that is.
    async fn lease(&self, provider: &str) -> Result<Option<(DekId, Lease)>, HostError>;
}

/// The pool.
pub(crate) struct Workers {
    component: Component,
    options: Options,
    clock: Clock,
    metrics: Arc<Metrics>,
    /// As many as there are workers that nobody uses.
    free: Semaphore,
    idle: Mutex<Vec<Worker>>,
    /// For each worker: its lease is used up.
    used_up: Vec<AtomicBool>,
    /// For each worker: somebody wants to know what its engine has counted, and it was at work.
    asked: Vec<AtomicBool>,
    published: RwLock<Arc<Published>>,
    /// Counts publications, so that a worker sees without a lock that there is nothing new.
    version: AtomicU64,
    /// For each worker: what its engine had counted when it was last asked.
    counted: Vec<Mutex<Vec<MetricFamily>>>,
    /// What engines had counted that are no more.
    retired: Mutex<Vec<MetricFamily>>,
}

struct Worker {
    number: usize,
    /// None before its first value, after a trap, and when it could not be made.
    guest: Option<Guest>,
    version: u64,
    epoch: u64,
    leased: Vec<WriteDek>,
    /// Its last instance trapped.
    has_trapped: bool,
    /// When to try again to make an instance, and how long to wait should that fail as well; milliseconds.
    retry: (u64, u64),
}

/// 1 second, doubled up to a minute: when to try again to make an instance. In milliseconds.
const FIRST_RETRY_MS: u64 = 1000;
const LONGEST_RETRY_MS: u64 = 60_000;

/// A worker at work. It goes back when this is dropped.
struct Busy<'w> {
    pool: &'w Workers,
    /// None once it has gone back.
    worker: Option<Worker>,
    /// Where it goes back to, from the bottom; `None`: on top.
    place: Option<usize>,
    /// Given back after the worker.
    _permit: SemaphorePermit<'w>,
}

/// What a worker made of a value.
pub(crate) enum Attempt<T> {
    Done(T),
    /// The control instance must do it; the number is the worker's.
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
        let idle = (0..count).rev().map(|number| Worker {
            number,
            guest: None,
            version: 0,
            epoch: 0,
            leased: Vec::new(),
            has_trapped: false,
            retry: (0, FIRST_RETRY_MS),
        });
        Self {
            component,
            options,
            clock,
            metrics,
            free: Semaphore::new(count),
            idle: Mutex::new(idle.collect()),
            used_up: (0..count).map(|_| AtomicBool::new(false)).collect(),
            asked: (0..count).map(|_| AtomicBool::new(false)).collect(),
            published: RwLock::default(),
            version: AtomicU64::new(0),
            counted: (0..count).map(|_| Mutex::default()).collect(),
            retired: Mutex::default(),
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.used_up.len()
    }

    /// What was published last.
    pub(crate) fn published(&self) -> Arc<Published> {
        let published = self.published.read();
        published.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on no worker takes a value before it knows this.
    pub(crate) fn publish(&self, published: Published) {
        let mut current = self
            .published
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(published);
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A write.
    ///
    /// # Errors
    /// [`HostError::Trapped`]
    pub(crate) async fn to_storage(
        &self,
        control: &impl Control,
        at: &Location,
        plaintext: &[u8],
    ) -> Result<Attempt<Encrypted>, HostError> {
        self.attempt(control, |guest, now| {
            guest.try_to_storage(at, plaintext, now)
        })
        .await
    }

    /// A read.
    ///
    /// # Errors
    /// [`HostError::Trapped`]
    pub(crate) async fn from_storage(
        &self,
        control: &impl Control,
        at: &Location,
        stored: &[u8],
    ) -> Result<Attempt<Decrypted>, HostError> {
        self.attempt(control, |guest, now| {
            guest.try_from_storage(at, stored, now)
        })
        .await
    }

    /// The control instance has written where a worker could not: if it has a lease, that is used up.
    pub(crate) fn renew(&self, number: usize) {
        if let Some(used_up) = self.used_up.get(number) {
            used_up.store(true, Ordering::Relaxed);
        }
    }

    /// Gives one worker the DEK of a stored value. The others learn it when they meet one.
    pub(crate) async fn learn(
        &self,
        control: &impl Control,
        at: &Location,
        stored: &[u8],
        dek: OpeningKey,
    ) {
        let mut busy = self.take(control).await;
        // A trap here costs nobody a value.
        let _ = busy.call(|guest| guest.learn(at, stored, dek));
    }

    /// What all workers have counted. One that is at work is not waited for: it tells what it has counted after its value, and until then
    /// counts as when it was asked before. Of the idle ones, only one is held at a time.
    pub(crate) fn metrics(&self) -> Vec<MetricFamily> {
        for number in 0..self.count() {
            match self.idle_worker(number) {
                Some(mut idle) => idle.tell_counts(),
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
            busy.tell_counts();
        }
        match outcome {
            None | Some(Ok(None)) => Ok(Attempt::NotMine(number)),
            Some(Ok(Some(done))) => Ok(Attempt::Done(done)),
            Some(Err(Trapped)) => Err(HostError::Trapped),
        }
    }

    /// The worker that was used last of those that are free, which knows what was published.
    async fn take(&self, control: &impl Control) -> Busy<'_> {
        let mut busy = self.free_worker().await;
        if busy.is_behind() {
            busy.catch_up(control).await;
        }
        busy
    }

    async fn free_worker(&self) -> Busy<'_> {
        loop {
            // The pool never closes it.
            let Ok(permit) = self.free.acquire().await else {
                continue;
            };
            if let Some(busy) = self.busy(permit) {
                return busy;
            }
        }
    }

    /// The one of that number, if nobody uses it.
    fn idle_worker(&self, number: usize) -> Option<Busy<'_>> {
        let permit = self.free.try_acquire().ok()?;
        let mut idle = locked(&self.idle);
        let place = idle.iter().position(|worker| worker.number == number)?;
        Some(Busy {
            pool: self,
            worker: Some(idle.remove(place)),
            place: Some(place),
            _permit: permit,
        })
    }

    /// Each permit is a worker, which goes back before its permit does.
    fn busy<'w>(&'w self, permit: SemaphorePermit<'w>) -> Option<Busy<'w>> {
        let worker = locked(&self.idle).pop()?;
        Some(Busy {
            pool: self,
            worker: Some(worker),
            place: None,
            _permit: permit,
        })
    }

    /// An engine is no more: what it had counted when it was last asked stays, so that no sum goes back.
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

/// It was told, and is recovered.
struct Trapped;

impl Worker {
    /// Ends its instance, and with it what it had leased.
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
                || worker.guest.is_none() && worker.retry.0 <= self.pool.clock.now()
        };
        self.worker.as_ref().is_some_and(is_old)
            || used_up.is_some_and(|used_up| used_up.load(Ordering::Relaxed))
    }

    /// `None`: it has no instance.
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

    /// Tells what its engine has counted.
    fn tell_counts(&mut self) {
        let number = self.number();
        if let Some(asked) = self.pool.asked.get(number) {
            asked.store(false, Ordering::Relaxed);
        }
        if let Some(Ok(counted)) = self.call(Guest::metrics) {
            *locked(&self.pool.counted[number]) = counted;
        }
    }

    /// Learns what was published. A worker that cannot, for its instance traps or cannot be made, has none for a while, and leaves all to the
    /// control instance.
    async fn catch_up(&mut self, control: &impl Control) {
        let version = self.pool.version.load(Ordering::Acquire);
        let published = self.pool.published();
        let used_up = self
            .pool
            .used_up
            .get(self.number())
            .is_some_and(|used_up| used_up.swap(false, Ordering::Relaxed));
        if let Some(worker) = &mut self.worker {
            // Should this be dropped halfway, it is behind as before.
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
                worker.retry = (0, FIRST_RETRY_MS);
            }
            // It tries again with its next value.
            Ok(false) => {}
            Err(error) => {
                let (_, wait) = worker.retry;
                tracing::error!(
                    error,
                    worker = worker.number,
                    seconds = wait / 1000,
                    "a worker has no instance; trying again later"
                );
                self.pool.retire(worker.number);
                worker.forget();
                worker.version = version;
                let again = self.pool.clock.now().saturating_add(wait);
                worker.retry = (again, (wait * 2).min(LONGEST_RETRY_MS));
            }
        }
    }

    /// `false`: some lease could not be had.
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
                pool.component
                    .load_worker(&published.config, &pool.options, pool.clock.now());
            let guest = loaded
                .map_err(|trap| format!("{trap:#}"))?
                .map_err(|faults| describe(&faults))?;
            worker.guest = Some(guest);
            worker.epoch = published.epoch;
            if std::mem::take(&mut worker.has_trapped) {
                pool.metrics.restart();
            }
        }
        let mut has_all = true;
        for dek in &published.deks {
            let known = worker
                .leased
                .iter_mut()
                .find(|leased| leased.provider == dek.provider);
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
                    // The DEK that it had is none any more, whatever comes of this: without a lease the control instance writes.
                    guest
                        .extend(&dek.provider, 0)
                        .map_err(|trap| format!("{trap:#}"))?;
                    worker.leased.retain(|had| had.provider != dek.provider);
                    let Ok(Some((id, lease))) = control.lease(&dek.provider).await else {
                        has_all = false;
                        continue;
                    };
                    let guest = worker.guest.as_mut().ok_or("no instance")?;
                    let expiry = lease.expiry();
                    if guest.adopt(lease).map_err(|trap| format!("{trap:#}"))? {
                        worker.leased.push(WriteDek {
                            provider: dek.provider.clone(),
                            id,
                            expiry,
                        });
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
            let mut idle = locked(&self.pool.idle);
            let place = self.place.unwrap_or(idle.len()).min(idle.len());
            idle.insert(place, worker);
        }
    }
}

/// A panic elsewhere leaves what is in it whole: workers and counts are put in and taken out as one.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
