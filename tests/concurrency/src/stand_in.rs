//! Minimal replacements for what the worker pool depends on: instances that count nonces, and a control instance that grants leases.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use shuttle::thread;

/// What an instance wrote: the epoch of its file, its DEK, and the value of its counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Encrypted {
    pub epoch: u64,
    pub dek: u64,
    pub nonce: u64,
}

#[derive(Debug)]
pub struct Decrypted;
#[derive(Debug)]
pub struct Location;
pub struct OpeningKey;
#[derive(Clone, Copy)]
pub struct Options {
    pub read_only: bool,
}
#[derive(Clone, Copy)]
pub struct Clock;
#[derive(Default)]
pub struct Metrics;
#[derive(Clone)]
pub struct MetricFamily;
#[derive(Debug)]
pub struct Fault;

/// The model has fewer workers than threads, so several threads begin with the same slot.
pub fn thread_number() -> usize {
    usize::from(thread::current().id()) % 2
}

impl Clock {
    pub fn now(&self) -> u64 {
        0
    }
}

impl Metrics {
    pub fn trap(&self) {}
    pub fn restart(&self) {}
}

pub fn add_up(sum: &mut Vec<MetricFamily>, more: Vec<MetricFamily>) {
    sum.extend(more);
}

pub fn describe(_: &[Fault]) -> String {
    String::new()
}

#[derive(Debug)]
pub enum HostError {
    Trapped,
}

#[derive(Debug)]
pub struct Trap;
impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a trap")
    }
}

/// A part of a DEK's counter.
pub struct Lease {
    dek: u64,
    next: u64,
    end: u64,
}

impl Lease {
    pub fn expiry(&self) -> u64 {
        u64::MAX
    }
}

/// The number of counter values in a lease.
const LEASE: u64 = 2;

/// The control instance: the DEK in use, and the next value of its counter.
#[derive(Clone, Default)]
pub struct ControlInstance(Arc<Mutex<(u64, u64)>>);

impl ControlInstance {
    /// Puts this DEK into use. If it differs from the current one, its counter begins at 0.
    pub fn turn(&self, dek: u64) {
        let mut state = self.0.lock().expect("no panic");
        if state.0 != dek {
            *state = (dek, 0);
        }
    }

    /// Returns the DEK's serial number and a lease of it.
    pub async fn lease(&self) -> Result<Option<(u64, Lease)>, HostError> {
        // Simulates the round trip to the driver.
        shuttle::future::yield_now().await;
        let mut state = self.0.lock().expect("no panic");
        let (dek, next) = &mut *state;
        let lease = Lease { dek: *dek, next: *next, end: *next + LEASE };
        *next += LEASE;
        Ok(Some((*dek, lease)))
    }
}

/// Creates instances, which share the count of writes until one traps.
#[derive(Clone)]
pub struct Component {
    traps: Arc<AtomicU64>,
}

impl Component {
    /// Only the `traps`-th write traps; with 0 none does.
    pub fn new(traps: u64) -> Self {
        Self { traps: Arc::new(AtomicU64::new(traps)) }
    }

    pub fn load_worker(
        &self,
        config: &[u8],
        _: &Options,
        _: u64,
    ) -> Result<Result<Guest, Vec<Fault>>, Trap> {
        thread::yield_now();
        let epoch = u64::from_le_bytes(config.try_into().expect("a number"));
        Ok(Ok(Guest {
            epoch,
            lease: None,
            busy: AtomicBool::new(false),
            traps: self.traps.clone(),
        }))
    }
}

/// An instance, which must not be entered twice at the same time.
pub struct Guest {
    epoch: u64,
    lease: Option<Lease>,
    busy: AtomicBool,
    traps: Arc<AtomicU64>,
}

impl Guest {
    fn enter<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        assert!(!self.busy.swap(true, Ordering::Relaxed), "it is at work");
        thread::yield_now();
        let done = work(self);
        self.busy.store(false, Ordering::Relaxed);
        done
    }

    pub fn try_to_storage(
        &mut self,
        _: &Location,
        _: &[u8],
        _: u64,
    ) -> Result<Option<Encrypted>, Trap> {
        let traps = self.traps.load(Ordering::Relaxed);
        if traps > 0 {
            self.traps.store(traps - 1, Ordering::Relaxed);
            if traps == 1 {
                return Err(Trap);
            }
        }
        self.enter(|guest| {
            let epoch = guest.epoch;
            let lease = guest.lease.as_mut().filter(|lease| lease.next < lease.end);
            Ok(lease.map(|lease| {
                let nonce = lease.next;
                lease.next += 1;
                Encrypted { epoch, dek: lease.dek, nonce }
            }))
        })
    }

    pub fn try_from_storage(
        &mut self,
        _: &Location,
        _: &[u8],
        _: u64,
    ) -> Result<Option<Decrypted>, Trap> {
        Ok(None)
    }

    /// Each value in turn, as [`Self::try_to_storage`].
    pub fn to_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Result<Vec<Option<Encrypted>>, Trap> {
        values.iter().map(|(at, plaintext)| self.try_to_storage(at, plaintext, now)).collect()
    }

    /// Each value in turn, as [`Self::try_from_storage`].
    pub fn from_storage_many(
        &mut self,
        values: &[(&Location, &[u8])],
        now: u64,
    ) -> Result<Vec<Option<Decrypted>>, Trap> {
        values.iter().map(|(at, stored)| self.try_from_storage(at, stored, now)).collect()
    }

    pub fn adopt(&mut self, lease: Lease) -> Result<bool, Trap> {
        self.enter(|guest| guest.lease = Some(lease));
        Ok(true)
    }

    /// An expiry of 0 invalidates the lease.
    pub fn extend(&mut self, _: &str, expiry: u64) -> Result<(), Trap> {
        self.enter(|guest| {
            if expiry == 0 {
                guest.lease = None;
            }
        });
        Ok(())
    }

    pub fn learn(&mut self, _: &Location, _: &[u8], _: &OpeningKey) -> Result<(), Trap> {
        Ok(())
    }

    pub fn metrics(&mut self) -> Result<Vec<MetricFamily>, Trap> {
        self.enter(|_| Ok(Vec::new()))
    }
}
