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
//! plugin for its Status before it serves them.

mod kms;
mod requests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dekker_keys::OpeningKey;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use zeroize::Zeroizing;

use self::kms::KmsCalls;
use self::requests::{Open, Pending};
use crate::clock::Clock;
use crate::guest::{
    Action, Component, ConfigFinding, Event, Guest, Lease, LogLevel, LogLine, Options, Trap,
};
use crate::metrics::Metrics;
use crate::model::{Check, Decrypted, Encrypted, HostError, Location, MetricFamily};
use crate::workers::{DekId, Published, Workers, WriteDek};

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, HostError>>;

/// What the host's handle asks of the driver.
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
        reply: Reply<Result<Vec<String>, Vec<Fault>>>,
    },
    Reload {
        config: Zeroizing<Vec<u8>>,
        reply: Reply<Result<(), ReloadError>>,
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
}

/// Why a changed file is not in use.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReloadError {
    /// The file is not a valid configuration: every fault.
    Faults(Vec<Fault>),
    /// It is valid, and was refused: its KMS plugins did not become healthy in time, or the engine failed meanwhile.
    Refused(String),
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

/// 1 second: how long to wait before another instance is made when a fresh one failed at once.
const RESTART_INTERVAL: Duration = Duration::from_secs(1);

/// A changed file that the guest looks at.
struct Offered {
    config: Zeroizing<Vec<u8>>,
    reply: Reply<Result<(), ReloadError>>,
}

pub(crate) struct Driver {
    pub(crate) component: Component,
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    guest: Option<Guest>,
    /// Counts instances, so that an answer meant for an earlier one is known.
    incarnation: u64,
    config: Arc<Zeroizing<Vec<u8>>>,
    workers: Option<Arc<Workers>>,
    reload: Option<Offered>,
    open: HashMap<u64, Pending>,
    kms: KmsCalls,
    due: Option<Instant>,
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
            kms: KmsCalls::new(control, metrics.clone()),
            metrics,
            guest: Some(guest),
            incarnation: 0,
            config: Arc::new(config),
            workers: None,
            reload: None,
            open: HashMap::new(),
            due: None,
            call_took: Duration::ZERO,
        };
        driver.settle(None);
        Ok(Ok(driver))
    }

    /// Lets `count` workers help, if the component has any; not at all with none.
    pub(crate) fn start_workers(&mut self, count: usize) -> Option<Arc<Workers>> {
        if count == 0 || !self.guest.as_ref()?.has_leases() {
            return None;
        }
        self.workers = Some(Arc::new(Workers::new(
            count,
            self.component.clone(),
            self.options.clone(),
            self.clock,
            self.metrics.clone(),
        )));
        self.publish(true);
        self.workers.clone()
    }

    /// Tells the workers which configuration and which DEKs are in use, if any of that has changed. Of a provider whose DEK is not known, as
    /// after a trap, the one before stands: it encrypts until it expires.
    fn publish(&mut self, is_new_config: bool) {
        let Some(workers) = self.workers.clone() else {
            return;
        };
        let Some(states) = self.ask(None, Guest::write_states) else {
            return;
        };
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
                config: self.config.clone(),
                deks,
            });
        }
    }

    /// Serves until every handle is gone.
    pub(crate) async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut control: mpsc::UnboundedReceiver<Control>,
    ) {
        loop {
            let due = self.due;
            let timer = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                Some(control) = control.recv() => self.control(control),
                () = timer => self.timeout(),
                request = requests.recv() => match request {
                    Some(request) => self.request(request),
                    None => break,
                },
            }
        }
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::Answer {
                incarnation,
                mut event,
            } => {
                if incarnation == self.incarnation {
                    let now = self.clock.now();
                    if self
                        .call(None, |guest| guest.handle_event(&event, now))
                        .is_some()
                    {
                        // Before anybody hears of what it changed.
                        self.publish(false);
                        self.settle(None);
                    }
                }
                kms::wipe(&mut event);
            }
            Control::Cancel(op) => {
                if self.open.remove(&op).is_some()
                    && self.call(None, |guest| guest.cancel(op)).is_some()
                {
                    self.settle(None);
                }
            }
        }
    }

    fn timeout(&mut self) {
        if self.guest.is_none() {
            return self.restart();
        }
        let now = self.clock.now();
        if self.call(None, |guest| guest.handle_timeout(now)).is_some() {
            self.publish(false);
            self.settle(None);
        }
    }

    /// One call into the guest. `None`: there is no instance, or it trapped, and all is recovered; `culprit` is the operation that dies with it.
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

    /// Does what the guest says, and learns when it wants to be called again.
    fn settle(&mut self, culprit: Option<u64>) {
        let Some(actions) = self.ask(culprit, Guest::poll_actions) else {
            return;
        };
        let incarnation = self.incarnation;
        for action in actions {
            self.act(action);
            // What a dead instance still wanted is for the fresh one to want anew: its calls would be taken for the fresh one's.
            if self.incarnation != incarnation {
                return;
            }
        }
        if let Some(due) = self.ask(culprit, Guest::poll_timeout) {
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
            Action::ReloadDone(outcome) => self.reload_done(outcome.map_err(ReloadError::Refused)),
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

    fn reload_done(&mut self, outcome: Result<(), ReloadError>) {
        if let Some(Offered { config, reply }) = self.reload.take() {
            if outcome.is_ok() {
                self.config = Arc::new(config);
                // Before whoever offered it hears of it.
                self.publish(true);
            }
            let _ = reply.send(Ok(outcome));
        }
    }

    /// The instance is of no use any more: makes a fresh one and hands it what was open.
    fn recover(&mut self, culprit: Option<u64>, trap: &Trap) {
        tracing::error!(
            error = format!("{trap:#}"),
            "the component trapped; a fresh instance takes over"
        );
        self.metrics.trap();
        self.guest = None;
        self.reload_done(Err(ReloadError::Refused(
            "the component trapped while the file was looked at".to_owned(),
        )));
        if let Some(Pending { open, .. }) = culprit.and_then(|op| self.open.remove(&op)) {
            open.fail(HostError::Trapped);
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.incarnation += 1;
        self.kms.forget_all();
        match self
            .component
            .load(&self.config, &self.options, self.clock.now())
        {
            Ok(Ok(guest)) => {
                self.metrics.restart();
                self.guest = Some(guest);
                self.settle(None);
                self.replay();
            }
            Ok(Err(faults)) => self.cannot_restart(&format!(
                "the configuration in use is now refused: {}",
                describe(&faults)
            )),
            Err(trap) => self.cannot_restart(&format!("{trap:#}")),
        }
    }

    fn cannot_restart(&mut self, error: &str) {
        tracing::error!(error, "no fresh instance could be made; trying again");
        for (_, Pending { open, .. }) in self.open.drain() {
            open.fail(HostError::Trapped);
        }
        self.due = Some(Instant::now() + RESTART_INTERVAL);
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
        }
    }
}

impl std::error::Error for ReloadError {}
