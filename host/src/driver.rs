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

mod configs;
mod kms_calls;
mod requests;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dekker_keys::OpeningKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use zeroize::Zeroizing;

pub(crate) use self::configs::ConfigFile;

use self::configs::{Configs, Unknown};
use self::kms_calls::KmsCalls;
use self::requests::{Open, Pending};
use crate::clock::Clock;
use crate::fault::{Fault, ReloadError, describe};
use crate::guest::{
    Action, Component, ConfigFinding, Event, Guest, Lease, LogLevel, LogLine, Options, Trap,
};
use crate::kms::address::Detour;
use crate::metrics::Metrics;
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};
use crate::restore::{Sign, Watch};
use crate::workers::{DekId, Published, Workers, WriteDek};

/// The channel on which the caller receives the result.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// A request from a [`Host`](crate::Host) handle to the driver. Requests for values and all other requests have separate queues, which take turns, so
/// at most one health, status or metrics request delays a value.
pub(crate) enum Request {
    ToStorage {
        op: u64,
        at: Location,
        plaintext: Zeroizing<Vec<u8>>,
        reply: Reply<Encrypted>,
    },
    FromStorage {
        op: u64,
        at: Location,
        stored: Vec<u8>,
        reply: Reply<Decrypted>,
    },
    Health {
        op: u64,
        reply: Reply<Vec<Check>>,
    },
    CheckNames {
        reply: Reply<Vec<String>>,
    },
    Status {
        reply: Reply<String>,
    },
    Metrics {
        reply: Reply<Vec<MetricFamily>>,
    },
    UnreadableAfter {
        config: Zeroizing<Vec<u8>>,
        reply: Reply<Judged>,
    },
    Reload {
        config: Zeroizing<Vec<u8>>,
        /// The hash of the configuration that must be in use for the offer to be accepted. `None` accepts any.
        over: Option<Arc<str>>,
        reply: Reply<Result<(), ReloadError>>,
    },
    ConfigsInUse {
        reply: Reply<ConfigsInUse>,
    },
    /// Requests a lease of a provider's write DEK for a worker.
    Lease {
        provider: String,
        reply: Reply<Option<(DekId, Lease)>>,
    },
    /// Requests the decrypted DEK of a stored value for a worker.
    KnownDek {
        at: Location,
        stored: Vec<u8>,
        reply: Reply<Option<OpeningKey>>,
    },
}

/// A message that takes precedence over requests.
pub(crate) enum Control {
    /// A KMS call has ended. Results for earlier instances are ignored.
    Answer { incarnation: u64, event: Event },
    /// The caller has stopped waiting for this operation.
    Cancel(u64),
    /// The process or its machine was restored from a snapshot, or may have been.
    Restored,
    /// End the engine, even if other handles remain.
    Close,
}

/// The hashes of the running configuration file and of the candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigsInUse {
    pub(crate) running: Arc<str>,
    pub(crate) candidate: Option<Arc<str>>,
}

/// Which values a configuration file would make unreadable.
pub(crate) struct Judged {
    /// The hash of the configuration that the file was compared with.
    pub(crate) over: Arc<str>,
    pub(crate) outcome: Result<Vec<String>, Vec<Fault>>,
}

/// The delay before an instance that lived for less than [`LIVED`] is replaced: 1 second, doubled up to 1 minute. The first replacement is immediate.
const FIRST_RESTART_WAIT: Duration = Duration::from_secs(1);
const LONGEST_RESTART_WAIT: Duration = Duration::from_secs(60);
/// The minimum lifetime of an instance that counts as stable, 1 minute. The replacement of a stable instance is not delayed.
const LIVED: Duration = Duration::from_secs(60);

pub(crate) struct Driver {
    pub(crate) component: Component,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
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
        detour: Option<Detour>,
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
            kms: KmsCalls::new(control, metrics.clone(), detour),
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

    /// Starts `count` workers. Returns `None` if `count` is 0 or the component is self-contained.
    pub(crate) fn start_workers(&mut self, count: usize) -> Option<Arc<Workers>> {
        if count == 0 || !self.has_leases {
            return None;
        }
        self.workers = Some(Arc::new(Workers::new(
            count,
            self.component.clone(),
            self.options.clone(),
            self.clock,
            self.metrics.clone(),
        )));
        self.publish(None, true);
        self.workers.clone()
    }

    /// Asks the guest which configuration it runs, and publishes it to the metrics and the workers, before any caller receives a result of the last
    /// call. Returns `None` if the guest trapped.
    fn follow(&mut self, culprit: Option<u64>) -> Option<()> {
        let generation = self.ask(culprit, Guest::running_generation)?;
        let is_new = match self.configs.follow(generation) {
            Ok(is_new) => is_new,
            Err(Unknown) => {
                let trap = Trap::msg("the component runs a configuration that it was not offered");
                self.recover(culprit, &trap);
                return None;
            }
        };
        if is_new {
            let now = self.clock.now() as f64 / 1000.0;
            self.metrics.reload_succeeded(&self.configs.running().hash, now);
        }
        self.publish(culprit, is_new)
    }

    /// Publishes the configuration and the write DEKs in use to the workers if they have changed. If a provider's DEK is unknown, for example after a
    /// trap, its previous DEK remains published and encrypts until it expires. Returns `None` if the guest trapped.
    fn publish(&mut self, culprit: Option<u64>, is_new_config: bool) -> Option<()> {
        let Some(workers) = self.workers.clone() else {
            return Some(());
        };
        let states = self.ask(culprit, Guest::write_states);
        if states.is_none() && !is_new_config {
            return None;
        }
        let has_states = states.is_some();
        let states = states.unwrap_or_default();
        let before = workers.published();
        let mut deks = before.deks.clone();
        if is_new_config {
            deks.retain(|dek| states.iter().any(|state| state.provider == dek.provider));
        }
        for state in states {
            deks.retain(|dek| dek.provider != state.provider);
            deks.push(WriteDek {
                provider: state.provider,
                id: (self.incarnation, state.serial),
                expiry: state.expiry,
            });
        }
        deks.sort_unstable_by(|a, b| a.provider.cmp(&b.provider));
        if is_new_config || deks != before.deks {
            workers.publish(Published {
                epoch: before.epoch + u64::from(is_new_config),
                config: self.configs.running().bytes.clone(),
                deks,
            });
        }
        has_states.then_some(())
    }

    /// Serves requests until every handle is dropped, or one of them closes the engine. The two queues take turns while both have requests.
    pub(crate) async fn run(
        mut self,
        [mut values, mut others]: [mpsc::Receiver<Request>; 2],
        mut control: mpsc::UnboundedReceiver<Control>,
    ) {
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
                    Control::Restored => self.restored(Sign::Told),
                    Control::Close => break,
                },
                () = timer => self.timeout(),
                sign = restore.sign() => self.restored(sign),
                request = first.recv() => match request {
                    Some(request) => {
                        others_first = !others_first;
                        self.request_after_a_look(request, &mut restore);
                    }
                    None => break,
                },
                request = second.recv() => match request {
                    Some(request) => self.request_after_a_look(request, &mut restore),
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
    fn request_after_a_look(&mut self, request: Request, restore: &mut Watch) {
        if let Request::Lease { .. } = &request
            && let Some(sign) = restore.look()
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

    fn act(&mut self, action: Action) {
        match action {
            Action::CallStatus(call) => {
                self.place(call.provider, |kms, incarnation| kms.status(incarnation, call))
            }
            Action::CallEncrypt(call) => {
                if call.is_new_dek {
                    self.metrics.observe_data_key(self.call_took);
                }
                self.place(call.provider, |kms, incarnation| kms.encrypt(incarnation, call));
            }
            Action::CallDecrypt(call) => {
                self.place(call.provider, |kms, incarnation| kms.decrypt(incarnation, call))
            }
            Action::ToStorageDone(done) => {
                if let Some(Pending { open: Open::ToStorage { reply, .. }, .. }) =
                    self.open.remove(&done.op)
                {
                    let outcome = done
                        .outcome
                        .map(Into::into)
                        .map_err(|error| HostError::Transform(error.into()));
                    // The receiver may be gone.
                    let _ = reply.send(outcome);
                }
            }
            Action::FromStorageDone(done) => {
                let outcome = done
                    .outcome
                    .map(Into::into)
                    .map_err(|error| HostError::Transform(error.into()));
                if let Some(Pending { open: Open::FromStorage { reply, .. }, .. }) =
                    self.open.remove(&done.op)
                {
                    let _ = reply.send(outcome);
                }
            }
            Action::HealthDone(done) => {
                if let Some(Pending { open: Open::Health { reply }, .. }) =
                    self.open.remove(&done.op)
                {
                    let _ = reply.send(Ok(done.checks.into_iter().map(Into::into).collect()));
                }
            }
            Action::ReloadDone(done) => {
                let outcome = done.outcome.map_err(ReloadError::Refused);
                self.configs.decided(done.generation, outcome);
            }
            Action::CloseProvider(id) => self.kms.close(id),
            Action::Log(line) => log(&line),
        }
    }

    /// Starts a KMS call. If the provider is unknown, first gets the list of providers from the guest.
    fn place(&mut self, provider: u32, call: impl FnOnce(&mut KmsCalls, u64)) {
        if !self.kms.knows(provider) {
            let Some(providers) = self.ask(None, Guest::kms_providers) else {
                return;
            };
            self.kms.learn(providers);
        }
        call(&mut self.kms, self.incarnation);
    }

    /// Drops the instance, which is unusable after a trap, and schedules the next one. [`Self::keep_alive`] creates it. If it were created here, in
    /// the middle of a call, an instance that traps at once would cause a recursion.
    fn recover(&mut self, culprit: Option<u64>, trap: &Trap) {
        tracing::error!(
            error = format!("{trap:#}"),
            "the component trapped; a fresh instance takes over"
        );
        self.metrics.trap();
        self.lose_instance();
        match culprit.and_then(|op| self.open.remove(&op)) {
            // An operation that traps would trap in any instance. The instance is not at fault, so replace it without delay.
            Some(Pending { open, .. }) => {
                open.fail(HostError::Trapped);
                self.restart_after(Duration::ZERO);
            }
            None => self.restart_slowly(),
        }
    }

    fn lose_instance(&mut self) {
        self.guest = None;
        self.due_at = None;
        self.kms.forget_all();
        self.configs.begin_anew();
    }

    /// Schedules the next instance, with increasing delay if instances fail repeatedly.
    fn restart_slowly(&mut self) {
        if self.made.elapsed() >= LIVED {
            self.restart_wait = Duration::ZERO;
        }
        let wait = self.restart_wait;
        self.restart_wait = (wait * 2).clamp(FIRST_RESTART_WAIT, LONGEST_RESTART_WAIT);
        self.restart_after(wait);
    }

    fn restart_after(&mut self, wait: Duration) {
        if !wait.is_zero() {
            tracing::error!(
                seconds = wait.as_secs(),
                "the component fails repeatedly; the next instance is created after a delay"
            );
            // Operations do not wait for a delayed instance.
            for (_, Pending { open, .. }) in self.open.drain() {
                open.fail(HostError::Trapped);
            }
        }
        self.due = Some(Instant::now() + wait);
    }

    /// Creates a fresh instance if there is none and the delay has passed. Passes it the open operations.
    fn keep_alive(&mut self) {
        while self.guest.is_none() && self.due.is_none_or(|due| due <= Instant::now()) {
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.incarnation += 1;
        self.made = Instant::now();
        let config = &self.configs.running().bytes;
        let failed = match self.component.load(config, &self.options, self.clock.now()) {
            Ok(Ok(guest)) => {
                self.metrics.restart();
                self.guest = Some(guest);
                self.settle(None);
                return self.replay();
            }
            Ok(Err(faults)) => {
                let faults = describe(&faults);
                format!("the configuration in use is now refused: {faults}")
            }
            Err(trap) => format!("{trap:#}"),
        };
        tracing::error!(error = failed, "cannot create a fresh instance; trying again");
        self.restart_wait = self.restart_wait.max(FIRST_RESTART_WAIT);
        self.restart_slowly();
    }
}

fn log(line: &LogLine) {
    let LogLine { level, provider, message } = line;
    let provider = provider.as_deref();
    match level {
        LogLevel::Error => tracing::error!(provider, "{message}"),
        LogLevel::Warn => tracing::warn!(provider, "{message}"),
        LogLevel::Info => tracing::info!(provider, "{message}"),
        LogLevel::Debug => tracing::debug!(provider, "{message}"),
    }
}
