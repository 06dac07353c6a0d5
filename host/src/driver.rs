//! The one loop of the host: requests in, calls into the guest, actions out.
//!
//! ```text
//!  Host (any task) ──requests──▶ ┌────────┐ ──calls──▶ Guest (one instance)
//!                                │ Driver │ ◀─actions─
//!  KMS calls, cancels ─control─▶ └────────┘ ──calls──▶ KmsClient (a task each) ──▶ plugin
//! ```
//!
//! It runs on a thread of its own, because sealing a large value takes a while and must not hold up the sockets. After a trap it makes a fresh
//! instance with the configuration in use and hands it everything that was open but the request that trapped; the fresh instance asks the
//! plugin for its Status before it serves them. Instances that trap without a request to blame follow each other ever more slowly, and what
//! is asked meanwhile fails.

mod configs;
mod kms;
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
use self::kms::KmsCalls;
use self::requests::{Open, Pending};
use crate::clock::Clock;
use crate::guest::{
    Action, Component, ConfigFinding, Event, Guest, Lease, LogLevel, LogLine, Options, Trap,
};
use crate::kms::address::Detour;
use crate::metrics::Metrics;
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};
use crate::restore::{Sign, Watch};
use crate::workers::{DekId, Published, Workers, WriteDek};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// What the host's handle asks of the driver. Values have a queue of their own, and all else another one: however many ask how the engine is, no
/// value waits behind more than one of them.
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
        /// What must be in use for that; `None`: whatever is.
        over: Option<Arc<str>>,
        reply: Reply<Result<(), ReloadError>>,
    },
    ConfigsInUse {
        reply: Reply<ConfigsInUse>,
    },
    /// Of a worker.
    Lease {
        provider: String,
        reply: Reply<Option<(DekId, Lease)>>,
    },
    /// For a worker.
    KnownDek {
        at: Location,
        stored: Vec<u8>,
        reply: Reply<Option<OpeningKey>>,
    },
}

/// What must not wait behind requests.
pub(crate) enum Control {
    /// A KMS call ended. Calls of an instance that is gone are ignored.
    Answer { incarnation: u64, event: Event },
    /// Nobody waits for this operation any more.
    Cancel(u64),
    /// The process or its machine was restored from a snapshot, or may have been.
    Restored,
    /// The engine is to end, whoever still has a handle.
    Close,
}

/// What the engine runs, and what it looks at, by the files' hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConfigsInUse {
    pub(crate) running: Arc<str>,
    pub(crate) candidate: Option<Arc<str>>,
}

/// What a file would make unreadable.
pub(crate) struct Judged {
    /// The hash of the file that it was compared with.
    pub(crate) over: Arc<str>,
    pub(crate) outcome: Result<Vec<String>, Vec<Fault>>,
}

/// Why a changed file is not in use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file is not a valid configuration: every fault.
    Faults(Vec<Fault>),
    /// It is valid, and was refused: its KMS plugins did not become healthy in time, or the engine failed meanwhile.
    Refused(String),
    /// It was meant to follow a configuration that is in use no more.
    Overtaken,
}

/// One fault of a configuration file. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `resources[0].providers[1].kms.endpoint`; empty where it concerns the file as a whole.
    pub path: String,
    /// Upstream's words.
    pub message: String,
    /// Line and column, from 1, where it has a place.
    pub position: Option<(u32, u32)>,
}

/// 1 second, doubled up to a minute: how long to wait before another instance is made when one failed that had lived for less than
/// [`LIVED`]. The first is replaced at once.
const FIRST_RESTART_WAIT: Duration = Duration::from_secs(1);
const LONGEST_RESTART_WAIT: Duration = Duration::from_secs(60);
/// 1 minute: an instance that lived so long was a good one.
const LIVED: Duration = Duration::from_secs(60);

pub(crate) struct Driver {
    pub(crate) component: Component,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    guest: Option<Guest>,
    /// Counts instances, so that an answer meant for an earlier one is known.
    incarnation: u64,
    /// When the last instance was made.
    made: Instant,
    /// How long to wait before the next one; zero after one that was good.
    restart_wait: Duration,
    has_leases: bool,
    configs: Configs,
    workers: Option<Arc<Workers>>,
    open: HashMap<u64, Pending>,
    kms: KmsCalls,
    /// When to call the guest, or to make a fresh one.
    due: Option<Instant>,
    /// When the guest wants to be called, as it tells time. The machine may sleep through the one above.
    due_at: Option<u64>,
    /// How long the guest took over the last call that may have generated a DEK.
    call_took: Duration,
}

impl Driver {
    /// With a first instance.
    ///
    /// # Errors
    /// The trap, or every fault of the configuration.
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

    /// Lets `count` workers help, if the component has any; not at all with none.
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

    /// Learns from the guest which configuration it runs, and tells those who depend on it, before anybody hears of what came of the last
    /// call. `None`: it trapped.
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
            self.metrics
                .reload_succeeded(&self.configs.running().hash, now);
        }
        self.publish(culprit, is_new)
    }

    /// Tells the workers which configuration and which DEKs are in use, if any of that has changed. Of a provider whose DEK is not known, as
    /// after a trap, the one before stands: it encrypts until it expires. `None`: the guest trapped.
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

    /// Serves until every handle is gone, or one of them closes it. The two queues take turns while both are full.
    pub(crate) async fn run(
        mut self,
        [mut values, mut others]: [mpsc::Receiver<Request>; 2],
        mut control: mpsc::UnboundedReceiver<Control>,
    ) {
        let mut others_first = false;
        let mut restore = Watch::start();
        loop {
            let (first, second) = if others_first {
                (&mut others, &mut values)
            } else {
                (&mut values, &mut others)
            };
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
            if self
                .call(None, |guest| guest.handle_event(&event, now))
                .is_some()
            {
                self.settle(None);
            }
        }
        kms::wipe(&mut event);
    }

    fn cancel(&mut self, op: u64) {
        if self.open.remove(&op).is_some() && self.call(None, |guest| guest.cancel(op)).is_some() {
            self.settle(None);
        }
    }

    /// Nothing is written with a DEK that was in a snapshot.
    fn restored(&mut self, sign: Sign) {
        tracing::warn!(
            %sign,
            "this process or its machine was restored from a snapshot, or so it seems: the write DEKs are replaced"
        );
        let now = self.clock.now();
        if self
            .call(None, |guest| guest.handle_event(&Event::Restored, now))
            .is_some()
        {
            self.settle(None);
        }
    }

    /// A lease is four billion numbers of a counter, which a restored one has given before.
    fn request_after_a_look(&mut self, request: Request, restore: &mut Watch) {
        if let Request::Lease { .. } = &request
            && let Some(sign) = restore.look()
        {
            self.restored(sign);
        }
        self.request(request);
    }

    /// Does what is due; without an instance, [`Self::keep_alive`] does.
    fn timeout(&mut self) {
        let now = self.clock.now();
        if self.call(None, |guest| guest.handle_timeout(now)).is_some() {
            self.settle(None);
        }
    }

    /// One call into the guest. `None`: there is no instance, or it trapped and is gone; `culprit` is the operation that dies with it.
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

    /// As [`Driver::call`], where no DEK can be generated.
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

    /// Follows what the last call changed, does what the guest says, and learns when it wants to be called again.
    fn settle(&mut self, culprit: Option<u64>) {
        if self.follow(culprit).is_none() {
            return;
        }
        let Some(actions) = self.ask(culprit, Guest::poll_actions) else {
            return;
        };
        for action in actions {
            self.act(action);
            // What a dead instance still wanted is for the fresh one to want anew: its calls would be taken for the fresh one's.
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
            Action::CallStatus(call) => self.place(call.provider, |kms, incarnation| {
                kms.status(incarnation, call)
            }),
            Action::CallEncrypt(call) => {
                if call.is_new_dek {
                    self.metrics.observe_data_key(self.call_took);
                }
                self.place(call.provider, |kms, incarnation| {
                    kms.encrypt(incarnation, call)
                });
            }
            Action::CallDecrypt(call) => self.place(call.provider, |kms, incarnation| {
                kms.decrypt(incarnation, call)
            }),
            Action::ToStorageDone(done) => {
                if let Some(Pending {
                    open: Open::ToStorage { reply, .. },
                    ..
                }) = self.open.remove(&done.op)
                {
                    let outcome = done
                        .outcome
                        .map(Into::into)
                        .map_err(|error| HostError::Transform(error.into()));
                    // The caller may have gone; so be it.
                    let _ = reply.send(outcome);
                }
            }
            Action::FromStorageDone(done) => {
                let outcome = done
                    .outcome
                    .map(Into::into)
                    .map_err(|error| HostError::Transform(error.into()));
                if let Some(Pending {
                    open: Open::FromStorage { reply, .. },
                    ..
                }) = self.open.remove(&done.op)
                {
                    let _ = reply.send(outcome);
                }
            }
            Action::HealthDone(done) => {
                if let Some(Pending {
                    open: Open::Health { reply },
                    ..
                }) = self.open.remove(&done.op)
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

    /// Places a KMS call, after learning of a provider that is new.
    fn place(&mut self, provider: u32, call: impl FnOnce(&mut KmsCalls, u64)) {
        if !self.kms.knows(provider) {
            let Some(providers) = self.ask(None, Guest::kms_providers) else {
                return;
            };
            self.kms.learn(providers);
        }
        call(&mut self.kms, self.incarnation);
    }

    /// The instance is of no use any more. [`Self::keep_alive`] makes the next one: here, in the midst of a call, one that traps as well would
    /// come back to here.
    fn recover(&mut self, culprit: Option<u64>, trap: &Trap) {
        tracing::error!(
            error = format!("{trap:#}"),
            "the component trapped; a fresh instance takes over"
        );
        self.metrics.trap();
        self.lose_instance();
        match culprit.and_then(|op| self.open.remove(&op)) {
            // An operation that traps does so in whichever instance gets it, and says nothing of the instance.
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

    /// Instances that fail one after the other are made ever more seldom.
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
                "the component fails again and again; the next instance is made later"
            );
            // Nobody waits that long.
            for (_, Pending { open, .. }) in self.open.drain() {
                open.fail(HostError::Trapped);
            }
        }
        self.due = Some(Instant::now() + wait);
    }

    /// Makes a fresh instance if there is none and its time has come, and hands it what was open.
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
        tracing::error!(
            error = failed,
            "no fresh instance could be made; trying again"
        );
        self.restart_wait = self.restart_wait.max(FIRST_RESTART_WAIT);
        self.restart_slowly();
    }
}

/// Several faults in one line.
pub(crate) fn describe(faults: &[ConfigFinding]) -> String {
    let faults: Vec<_> = faults
        .iter()
        .map(|fault| Fault::from(fault).to_string())
        .collect();
    faults.join("; ")
}

fn log(line: &LogLine) {
    let LogLine {
        level,
        provider,
        message,
    } = line;
    let provider = provider.as_deref();
    match level {
        LogLevel::Error => tracing::error!(provider, "{message}"),
        LogLevel::Warn => tracing::warn!(provider, "{message}"),
        LogLevel::Info => tracing::info!(provider, "{message}"),
        LogLevel::Debug => tracing::debug!(provider, "{message}"),
    }
}

impl From<&ConfigFinding> for Fault {
    fn from(finding: &ConfigFinding) -> Self {
        let ConfigFinding {
            severity: _,
            path,
            message,
            line,
            column,
        } = finding;
        Self {
            path: path.clone(),
            message: message.clone(),
            position: line.zip(*column),
        }
    }
}

/// `12:7: resources[0].providers[1].kms.endpoint: Invalid value: …`
impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::fmt::Display for ReloadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Faults(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                write!(
                    f,
                    "the file is not a valid encryption configuration: {}",
                    faults.join("; ")
                )
            }
            Self::Refused(why) => f.write_str(why),
            Self::Overtaken => f.write_str("another configuration was taken into use meanwhile"),
        }
    }
}

impl std::error::Error for ReloadError {}
