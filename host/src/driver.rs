//! The host's main loop. It receives requests, calls the guest, and carries out the guest's actions.
//!
//! ```text
//!  Host (any task) ──requests──▶ ┌────────┐ ──calls──▶ Guest (one instance)
//!                                │ Driver │ ◀─actions─
//!  KMS calls, cancels ─control─▶ └────────┘ ──calls──▶ KmsClient (a task each) ──▶ plugin
//! ```
//!
//! The driver runs on a dedicated thread: sealing a large value takes a while and must not block the sockets. After a trap, the driver creates a
//! fresh instance with the configuration in use and passes it all open operations except the one that trapped. The fresh instance asks the plugin for
//! its Status before it serves them. If instances keep trapping outside of operations, new ones are created with increasing delay; until then,
//! requests fail.

mod actions;
mod configs;
mod kms_calls;
mod kms_help;
mod messages;
mod publishing;
mod requests;
mod restarts;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use zeroize::Zeroizing;

pub(crate) use self::kms_calls::Kms;
pub(crate) use self::kms_help::{KmsHelp, Named};
pub(crate) use self::messages::{ConfigsInUse, Control, Judged, Opened, Queues, Reply, Request};

use self::configs::{ConfigFile, Configs};
use self::kms_calls::KmsCalls;
use self::requests::Pending;
use crate::clock::Clock;
use crate::guest::{Component, ConfigFinding, Event, Guest, Options, Trap};
use crate::metrics::Metrics;
use crate::restore::{Sign, Watch};
use crate::workers::Workers;

/// The engine's only owner: the guest, the operations that it has parked, and its KMS calls.
pub(crate) struct Driver {
    component: Component,
    options: Options,
    clock: Clock,
    metrics: Arc<Metrics>,
    guest: Option<Guest>,
    /// Counts instances, so that results for an earlier instance are recognized.
    incarnation: u64,
    /// When the last instance was created.
    made: Instant,
    /// The delay before the next instance is created; zero if the last one was stable.
    restart_wait: Duration,
    has_leases: bool,
    configs: Configs,
    workers: Option<Arc<Workers>>,
    open: HashMap<u64, Pending>,
    kms: KmsCalls,
    /// When to call the guest, or to create a fresh instance.
    due: Option<Instant>,
    /// When the guest wants to be called, in milliseconds of `clock`. The timer of `due` stops while the machine sleeps, so it may be late.
    due_at: Option<u64>,
    /// The duration of the last call into the guest that may have generated a DEK.
    call_took: Duration,
}

impl Driver {
    /// Creates a driver with a first instance.
    ///
    /// # Errors
    /// The outer error is the trap; the inner error contains all errors in the configuration.
    pub(crate) fn new(
        component: Component,
        options: Options,
        config: Zeroizing<Vec<u8>>,
        metrics: Arc<Metrics>,
        control: mpsc::UnboundedSender<Control>,
        kms: Kms,
    ) -> Result<Result<Self, Vec<ConfigFinding>>, Trap> {
        let clock = Clock::start();
        let guest = match component.load(&config, &options, clock.now())? {
            Ok(guest) => guest,
            Err(faults) => return Ok(Err(faults)),
        };
        let mut driver = Self {
            component,
            options,
            clock,
            kms: KmsCalls::new(control, metrics.clone(), kms),
            metrics,
            has_leases: guest.has_leases(),
            guest: Some(guest),
            incarnation: 0,
            made: Instant::now(),
            restart_wait: Duration::ZERO,
            configs: Configs::new(ConfigFile::new(config)),
            workers: None,
            open: HashMap::new(),
            due: None,
            due_at: None,
            call_took: Duration::ZERO,
        };
        driver.settle(None);
        driver.keep_alive();
        Ok(Ok(driver))
    }

    /// Serves requests until every handle is dropped, or one of them closes the engine. The two queues take turns while both have requests.
    pub(crate) async fn run(mut self, Queues { mut values, mut others, mut control }: Queues) {
        let mut others_first = false;
        let mut restore = Watch::start();
        loop {
            let (first, second) =
                if others_first { (&mut others, &mut values) } else { (&mut values, &mut others) };
            let due = self.due;
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(control) = control.recv() => match control {
                    Control::Answer { incarnation, event } => self.kms_call_done(incarnation, event),
                    Control::Cancel(op) => self.cancel(op),
                    Control::Restored => self.restored(Sign::Reported),
                    Control::Close => break,
                },
                () = timer => self.timeout(),
                sign = restore.sign() => self.restored(sign),
                request = first.recv() => match request {
                    Some(request) => {
                        others_first = !others_first;
                        self.request_after_restore_check(request, &mut restore);
                    }
                    None => break,
                },
                request = second.recv() => match request {
                    Some(request) => self.request_after_restore_check(request, &mut restore),
                    None => break,
                },
            }
            self.keep_alive();
        }
    }

    fn kms_call_done(&mut self, incarnation: u64, mut event: Event) {
        if incarnation == self.incarnation {
            let now = self.clock.now();
            if self.call(None, |guest| guest.handle_event(&event, now)).is_some() {
                self.settle(None);
            }
        }
        kms_calls::wipe(&mut event);
    }

    fn cancel(&mut self, op: u64) {
        if self.open.remove(&op).is_some() && self.call(None, |guest| guest.cancel(op)).is_some() {
            self.settle(None);
        }
    }

    /// Makes the guest replace its write DEKs, so that it does not encrypt with a DEK from a snapshot.
    fn restored(&mut self, sign: Sign) {
        tracing::warn!(
            %sign,
            "this process or its machine seems to have been restored from a snapshot: the write DEKs are replaced"
        );
        let now = self.clock.now();
        if self.call(None, |guest| guest.handle_event(&Event::Restored, now)).is_some() {
            self.settle(None);
        }
    }

    /// Handles a request. Before a lease, checks for signs of a restore: a lease contains 2³² counter values, and a restored engine would lease
    /// values that were already leased.
    fn request_after_restore_check(&mut self, request: Request, restore: &mut Watch) {
        if let Request::Lease { .. } = &request
            && let Some(sign) = restore.check()
        {
            self.restored(sign);
        }
        self.request(request);
    }

    /// Calls the guest when its timeout has passed. If there is no instance, does nothing; [`Self::keep_alive`] creates the next one.
    fn timeout(&mut self) {
        let now = self.clock.now();
        if self.call(None, |guest| guest.handle_timeout(now)).is_some() {
            self.settle(None);
        }
    }

    /// Calls the guest and measures the duration. Returns `None` if there is no instance, or if it trapped and was dropped. In that case the
    /// operation `culprit` fails.
    fn call<T>(
        &mut self,
        culprit: Option<u64>,
        call: impl FnOnce(&mut Guest) -> Result<T, Trap>,
    ) -> Option<T> {
        let start = Instant::now();
        let value = self.ask(culprit, call);
        self.call_took = start.elapsed();
        value
    }

    /// Like [`Driver::call`], but for calls that cannot generate a DEK: does not measure the duration.
    fn ask<T>(
        &mut self,
        culprit: Option<u64>,
        call: impl FnOnce(&mut Guest) -> Result<T, Trap>,
    ) -> Option<T> {
        match call(self.guest.as_mut()?) {
            Ok(value) => Some(value),
            Err(trap) => {
                self.recover(culprit, &trap);
                None
            }
        }
    }

    /// Publishes what the last call changed, carries out the guest's actions, and asks when the guest wants to be called again.
    fn settle(&mut self, culprit: Option<u64>) {
        if self.follow(culprit).is_none() {
            return;
        }
        let Some(actions) = self.ask(culprit, Guest::poll_actions) else {
            return;
        };
        for action in actions {
            self.act(action);
            // After a trap, drop the remaining actions. The fresh instance requests them again if it needs them, and calls started for the old instance
            // would be mistaken for its own.
            if self.guest.is_none() {
                return;
            }
        }
        if let Some(due) = self.ask(culprit, Guest::poll_timeout) {
            self.due_at = due;
            self.due = due.map(|due| Instant::now() + self.clock.until(due));
        }
    }
}
