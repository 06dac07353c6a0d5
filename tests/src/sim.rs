//! An engine and its plugins in simulated time. Nothing sleeps: `advance` runs everything that is due, in order.

pub mod file;
mod operations;

use std::collections::BTreeMap;
use std::time::Duration;

use dekker_core::engine::Options;
use dekker_core::engine::event::{Action, CallId, Check, Event, Generation, LogLine, ProviderId};
use dekker_core::time::Timestamp;
use dekker_core::{Decrypted, Encrypted, TransformError, ValueState};

use crate::face::{Face, Maker};
use crate::plugin::Plugin;

/// 2026-01-02T03:04:05Z, the time at which every simulation begins.
pub const START: Timestamp = Timestamp::from_millis(1_767_323_045_000);

/// The result of a read, in plain types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// The plaintext.
    pub plaintext: Vec<u8>,
    /// Whether the value should be rewritten.
    pub stale: bool,
    /// How it differs from what a write would produce; `None` if that is unknown.
    pub state: Option<ValueState>,
    /// The prefix of the transformer that read it.
    pub prefix: String,
}

/// An engine, its plugins, and the simulated time.
pub struct Harness {
    /// The engine.
    pub face: Box<dyn Face>,
    /// The current time.
    pub now: Timestamp,
    /// The plugins by provider name. A provider without a plugin never gets an answer.
    pub plugins: BTreeMap<String, Plugin>,
    /// Plugins that do not listen on the endpoint of their name: endpoint → key of [`Self::plugins`].
    pub sockets: BTreeMap<String, String>,
    /// The outcomes of the reloads, in order.
    pub reloads: Vec<Result<(), String>>,
    /// The files that were offered and are neither in use nor rejected yet.
    pub undecided: Vec<Generation>,
    /// The providers that were closed, in order.
    pub closed: Vec<ProviderId>,
    /// Every log line.
    pub logs: Vec<LogLine>,
    /// Every call that the engine made: its ID, its kind, and its provider.
    pub placed: Vec<(CallId, &'static str, ProviderId)>,
    /// When the engine last sent a Status call that the plugin answered well: (plugin, key ID) → time.
    pub good_status: BTreeMap<(String, String), Timestamp>,
    /// Every text for people that the engine produced, including log lines.
    pub texts: Vec<String>,
    on_their_way: BTreeMap<(Timestamp, usize), Event>,
    endpoints: BTreeMap<ProviderId, (String, String)>,
    writes: BTreeMap<u64, Result<Encrypted, TransformError>>,
    reads: BTreeMap<u64, Result<Decrypted, TransformError>>,
    checks: BTreeMap<u64, Vec<Check>>,
    next_op: u64,
}

impl Harness {
    /// Creates an engine with these plugins that starts at [`START`] and has made its first calls.
    ///
    /// # Panics
    /// Panics if the configuration is invalid.
    pub fn new(
        maker: &dyn Maker,
        config: &str,
        options: &Options,
        plugins: impl IntoIterator<Item = (&'static str, Plugin)>,
    ) -> Self {
        Self::seeded(maker, config, options, plugins, 1)
    }

    /// The same as [`Self::new`], with another seed for the randomness.
    ///
    /// # Panics
    /// Panics if the configuration is invalid.
    pub fn seeded(
        maker: &dyn Maker,
        config: &str,
        options: &Options,
        plugins: impl IntoIterator<Item = (&'static str, Plugin)>,
        seed: u64,
    ) -> Self {
        let face = maker.create(config.as_bytes(), options, seed, START);
        let mut harness = Self {
            face: face.unwrap_or_else(|faults| panic!("{faults:?}")),
            now: START,
            plugins: plugins.into_iter().map(|(name, plugin)| (name.to_string(), plugin)).collect(),
            sockets: BTreeMap::new(),
            reloads: Vec::new(),
            undecided: Vec::new(),
            closed: Vec::new(),
            logs: Vec::new(),
            placed: Vec::new(),
            good_status: BTreeMap::new(),
            texts: Vec::new(),
            on_their_way: BTreeMap::new(),
            endpoints: BTreeMap::new(),
            writes: BTreeMap::new(),
            reads: BTreeMap::new(),
            checks: BTreeMap::new(),
            next_op: 1,
        };
        harness.settle();
        harness
    }

    /// Creates a primed engine with one healthy plugin `a`, whose key ID is `key-1`, and secrets that only `a` serves.
    pub fn primed(maker: &dyn Maker) -> Self {
        let plugin = Plugin::new("key-1");
        Self::new(maker, &file::secrets(), &Options::default(), [("a", plugin)])
    }

    /// Returns the plugin with this name.
    ///
    /// # Panics
    /// Panics if there is none.
    pub fn plugin(&mut self, name: &str) -> &mut Plugin {
        self.plugins.get_mut(name).expect("a plugin of that name")
    }

    /// Lets `duration` pass: answers arrive and timeouts fire, each at its time, answers first.
    pub fn advance(&mut self, duration: Duration) {
        let end = self.now + duration;
        let mut rounds = (self.now, 0);
        self.settle();
        loop {
            let answer = self.on_their_way.keys().next().map(|(at, _)| *at);
            let timeout = self.face.poll_timeout();
            let Some(next) = answer.into_iter().chain(timeout).min() else {
                break;
            };
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            rounds = if rounds.0 == self.now { (self.now, rounds.1 + 1) } else { (self.now, 0) };
            assert!(rounds.1 < 1000, "the engine spins at {}", self.now);
            match answer {
                Some(at) if at <= self.now => {
                    let (_, event) = self.on_their_way.pop_first().expect("it is there");
                    self.face.handle_event(event, self.now);
                }
                Some(_) | None => self.face.handle_timeout(self.now),
            }
            self.settle();
        }
        self.now = end;
    }

    /// Lets whole seconds pass.
    pub fn advance_secs(&mut self, seconds: u64) {
        self.advance(Duration::from_secs(seconds));
    }

    /// Passes an event to the engine outside the simulated order.
    pub fn report(&mut self, event: Event) {
        self.face.handle_event(event, self.now);
        self.settle();
    }

    /// Executes the engine's actions, and delivers the answers that take no time.
    pub fn settle(&mut self) {
        loop {
            let actions = self.face.poll_actions();
            if actions.is_empty() {
                let due = self.on_their_way.first_entry();
                let Some(due) = due.filter(|entry| entry.key().0 <= self.now) else {
                    return;
                };
                let event = due.remove();
                self.face.handle_event(event, self.now);
            }
            for action in actions {
                self.act(action);
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::CallStatus { call, provider } => {
                self.place(call, "status", provider, |plugin| {
                    let outcome = plugin.status()?;
                    Some(Event::Status { call, outcome })
                });
            }
            Action::CallEncrypt { call, provider, uid: _, plaintext, is_new_dek: _ } => {
                self.place(call, "encrypt", provider, |plugin| {
                    let outcome = plugin.encrypt(plaintext.expose())?;
                    Some(Event::Encrypted { call, outcome })
                })
            }
            Action::CallDecrypt { call, provider, uid: _, request } => {
                self.place(call, "decrypt", provider, |plugin| {
                    let outcome = plugin.decrypt(&request)?.map(Into::into);
                    Some(Event::Decrypted { call, outcome })
                })
            }
            Action::ToStorageDone { op, outcome } => {
                self.note(outcome.as_ref().err());
                self.writes.insert(op.0, outcome);
            }
            Action::FromStorageDone { op, outcome } => {
                self.note(outcome.as_ref().err());
                self.reads.insert(op.0, outcome);
            }
            Action::HealthDone { op, checks } => {
                self.note_checks(&checks);
                self.checks.insert(op.0, checks);
            }
            Action::ReloadDone { generation, outcome } => {
                let undecided = self.undecided.len();
                self.undecided.retain(|offered| *offered != generation);
                assert!(
                    self.undecided.len() < undecided,
                    "{generation:?} was not offered, or was decided before"
                );
                self.texts.extend(outcome.as_ref().err().cloned());
                self.reloads.push(outcome);
            }
            Action::CloseProvider { provider } => self.closed.push(provider),
            Action::Ready { op } => panic!("{op:?} was not planned"),
            Action::Log(line) => {
                self.texts.push(format!("{line:?}"));
                self.logs.push(line);
            }
        }
    }

    fn place(
        &mut self,
        call: CallId,
        what: &'static str,
        provider: ProviderId,
        ask: impl FnOnce(&mut Plugin) -> Option<Event>,
    ) {
        self.placed.push((call, what, provider));
        if !self.endpoints.contains_key(&provider) {
            let known = self.face.kms_providers().into_iter();
            self.endpoints
                .extend(known.map(|info| (info.id, (info.name.to_string(), info.endpoint))));
        }
        let (name, endpoint) = &self.endpoints[&provider];
        let name = self.sockets.get(endpoint).unwrap_or(name);
        if let Some(plugin) = self.plugins.get_mut(name) {
            let at = self.now + plugin.delay;
            if let Some(event) = ask(plugin) {
                if let Event::Status { outcome: Ok(status), .. } = &event
                    && status.healthz == "ok"
                {
                    let who = (name.clone(), status.key_id.clone());
                    self.good_status.insert(who, self.now);
                }
                self.on_their_way.insert((at, self.placed.len()), event);
            }
        }
    }

    fn note(&mut self, error: Option<&TransformError>) {
        self.texts.extend(error.map(|error| format!("{error} {error:?}")));
    }

    fn note_checks(&mut self, checks: &[Check]) {
        self.texts.push(format!("{checks:?}"));
    }
}
