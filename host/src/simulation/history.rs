//! A history: a sequence of events. The seed determines which events happen, in which order and when.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::timeout;

use super::faulty_plugin::{FaultyPlugin, Mood};
use super::ledger::{Broken, Promise};
use super::operator::{Provider, Version};
use super::seams;
use super::simulated_process;
use super::snapshot;
use super::world::{self, Settings, World};
use crate::host::{Host, KmsCoast, WriteDekSource};

/// The result of a history.
pub(super) struct Report {
    pub(super) broken: Option<Broken>,
    pub(super) trace: Vec<String>,
    /// The number of acknowledged writes.
    pub(super) writes: usize,
    /// The number of failed operations. Operations may fail while there are faults.
    pub(super) failures: u32,
    /// The simulated duration.
    pub(super) time: Duration,
}

/// The kinds of events. Each history has only some of the kinds, so that it shows errors that the other kinds would hide.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Write,
    Read,
    Replace,
    FlipFlop,
    HalfWrite,
    Spoil,
    Turn,
    KillPlugin,
    Rotate,
    Upgrade,
    Trap,
    EndServer,
    AnotherServer,
    OneShot,
    Sleep,
    Snapshot,
    FillDisk,
    InUse,
    Health,
    HangUp,
}

/// All kinds, with their weights and whether every history has them.
const KINDS: [(Kind, u32, bool); 20] = [
    (Kind::Write, 14, true),
    (Kind::Read, 5, true),
    (Kind::Replace, 6, false),
    (Kind::FlipFlop, 6, false),
    (Kind::HalfWrite, 3, false),
    (Kind::Spoil, 2, false),
    (Kind::Turn, 8, false),
    (Kind::KillPlugin, 3, false),
    (Kind::Rotate, 4, false),
    (Kind::Upgrade, 1, false),
    (Kind::Trap, 4, false),
    (Kind::EndServer, 3, false),
    (Kind::AnotherServer, 2, false),
    (Kind::OneShot, 3, false),
    (Kind::Sleep, 2, false),
    (Kind::Snapshot, 2, false),
    (Kind::FillDisk, 1, false),
    (Kind::InUse, 4, true),
    (Kind::Health, 2, false),
    (Kind::HangUp, 1, false),
];

/// Plays the history of a seed.
pub(super) fn play(seed: u64) -> Report {
    on_a_runtime(async {
        let mut random = fastrand::Rng::with_seed(seed);
        let settings = settings(&mut random);
        let kinds = kinds(&mut random);
        let mut history =
            History { world: World::new(&settings, random.u64(..)), random, settings, kinds };
        let began = tokio::time::Instant::now();
        history.play().await;
        let ledger = history.world.ledger.clone();
        history.world.end().await;
        Report {
            broken: ledger.broken(),
            trace: ledger.trace(),
            writes: ledger.writes(),
            failures: ledger.failures(),
            time: began.elapsed(),
        }
    })
}

/// Runs `work` on one thread, with a clock that advances only while no task can run.
pub(super) fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
    let _playing = snapshot::playing();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.expect("a runtime").block_on(work)
}

fn settings(random: &mut fastrand::Rng) -> Settings {
    let own = random.u8(..4) == 0 && !is_left_out("Own");
    let plugins: &[&str] = match (own, random.bool()) {
        (true, _) => &[],
        (false, true) => &["a", "b"],
        (false, false) => &["a"],
    };
    let seconds =
        |random: &mut fastrand::Rng, of: &[u64]| Duration::from_secs(of[random.usize(..of.len())]);
    let mut settings = Settings {
        plugins: plugins.to_vec(),
        own,
        dek_source: match random.u8(..3) {
            0 => WriteDekSource::HkdfSeed,
            _ => WriteDekSource::Counter,
        },
        coast: match random.u8(..5) {
            0 => KmsCoast::Upstream,
            _ => KmsCoast::Strict,
        },
        workers: [0, 1, 2, 4][random.usize(..4)],
        reload: random.u8(..4) > 0,
        interval: seconds(random, &[1, 10, 60]),
        hold: seconds(random, &[1, 10, 60]),
        providers: Vec::new(),
    };
    settings.providers = providers(random, &settings, &BTreeSet::new());
    settings
}

fn kinds(random: &mut fastrand::Rng) -> Vec<(Kind, u32)> {
    let kinds = KINDS.iter();
    let kinds = kinds.filter(|(_, _, always)| *always || random.u8(..5) < 2);
    let kinds = kinds.filter(|(kind, _, _)| !is_left_out(&format!("{kind:?}")));
    kinds.map(|(kind, weight, _)| (*kind, *weight)).collect()
}

/// Returns whether `DEKKER_NEVER` excludes this kind of event.
pub(super) fn is_left_out(name: &str) -> bool {
    let never = std::env::var("DEKKER_NEVER").unwrap_or_default();
    never.split(',').any(|left_out| left_out == name)
}

/// Returns random providers of a file. The file can decrypt all values with the prefixes in `used`, as it can after a careful key rotation.
fn providers(
    random: &mut fastrand::Rng,
    settings: &Settings,
    used: &BTreeSet<String>,
) -> Vec<Provider> {
    let mut providers = Vec::new();
    let own = settings.own.then_some("dekker");
    for name in settings.plugins.iter().copied().chain(own) {
        let is_used = used.contains(&format!("k8s:enc:kms:v2:{name}:"));
        if is_used || random.u8(..4) > 0 {
            let timeout = [3, 3, 3, 1, 5][random.usize(..5)];
            providers.push(Provider::Kms(name.to_owned(), timeout));
        }
    }
    for cipher in ["aesgcm", "aescbc", "secretbox"] {
        let is_wanted = random.u8(..3) == 0;
        let is_used = |key: &u8| used.contains(&format!("k8s:enc:{cipher}:v1:k{key}:"));
        let mut keys: Vec<u8> = (0..3).filter(is_used).collect();
        let another = random.u8(..3);
        if is_wanted && !keys.contains(&another) {
            keys.push(another);
        }
        random.shuffle(&mut keys);
        if !keys.is_empty() {
            providers.push(Provider::Local(cipher, keys));
        }
    }
    random.shuffle(&mut providers);
    if providers.is_empty() {
        providers.push(Provider::Local("aesgcm", vec![random.u8(..3)]));
    }
    providers
}

struct History {
    world: World,
    random: fastrand::Rng,
    settings: Settings,
    kinds: Vec<(Kind, u32)>,
}

impl History {
    async fn play(&mut self) {
        // Only with the strict coast. With the other one, as in upstream, a plugin must keep its first version.
        if self.random.u8(..4) == 0 && self.settings.coast == KmsCoast::Strict {
            for plugin in self.world.plugins.values() {
                plugin.turn_version("v2beta1");
            }
        }
        if self.random.u8(..5) == 0 {
            self.turn();
        }
        self.world.start().await;
        for _ in 0..self.random.u32(4..26) {
            if self.world.ledger.broken().is_some() {
                return;
            }
            let kind = self.kind();
            self.step(kind).await;
            if let Some(pause) = self.pause() {
                self.world.wait(pause).await;
            }
        }
        self.world.heal().await;
        let recovery = self.world.recovery_max();
        self.world.wait(recovery).await;
        self.world.check().await;
    }

    fn kind(&mut self) -> Kind {
        let sum: u32 = self.kinds.iter().map(|(_, weight)| weight).sum();
        let mut at = self.random.u32(..sum);
        for (kind, weight) in &self.kinds {
            match at.checked_sub(*weight) {
                Some(rest) => at = rest,
                None => return *kind,
            }
        }
        Kind::Write
    }

    fn millis(&mut self, range: std::ops::Range<u64>) -> Duration {
        Duration::from_millis(self.random.u64(range))
    }

    /// Chooses the pause before the next event.
    fn pause(&mut self) -> Option<Duration> {
        match self.random.u8(..8) {
            0..3 => None,
            3..5 => Some(self.millis(0..500)),
            5..7 => Some(self.millis(500..10_000)),
            _ => Some(self.millis(10_000..90_000)),
        }
    }

    /// Chooses how long a caller waits. `None` means indefinitely.
    fn patience(&mut self) -> Option<Duration> {
        (self.random.u8(..5) == 0).then(|| self.millis(0..4000))
    }

    fn plugin(&mut self) -> Option<FaultyPlugin> {
        let count = self.world.plugins.len();
        let at = (count > 0).then(|| self.random.usize(..count))?;
        self.world.plugins.values().nth(at).cloned()
    }

    async fn step(&mut self, kind: Kind) {
        match kind {
            Kind::Write => {
                for _ in 0..self.random.u8(1..6) {
                    if let Some(server) = self.world.any_server() {
                        let patience = self.patience();
                        self.world.write(server, patience);
                    }
                }
            }
            Kind::Read => {
                for _ in 0..self.random.u8(1..4) {
                    if let Some(server) = self.world.any_server() {
                        let patience = self.patience();
                        self.world.read(server, patience);
                    }
                }
            }
            Kind::Replace => {
                let version = self.new_version();
                self.replace(version);
            }
            Kind::FlipFlop => self.flip_flop().await,
            Kind::HalfWrite => {
                let version = self.new_version();
                let len = self.random.usize(..=version.text.len());
                self.world.ledger.note(format_args!("{len} bytes of a file"));
                self.world.file.write_part(version, len);
                self.hint();
            }
            Kind::Spoil => {
                match self.random.u8(..3) {
                    0 => self.world.file.remove(),
                    1 => self.world.file.spoil(b""),
                    _ => self.world.file.spoil(b"%%%"),
                }
                self.world.ledger.note("the file is spoilt");
                self.hint();
            }
            Kind::Turn => self.turn(),
            Kind::KillPlugin => self.kill_plugin(),
            Kind::Rotate => self.rotate().await,
            Kind::Upgrade => {
                for plugin in self.world.plugins.values() {
                    plugin.turn_version("v2");
                }
                self.world.ledger.note("the plugins are upgraded");
            }
            Kind::Trap => {
                let calls = self.random.u32(..30);
                self.world.ledger.note(format_args!("a trap after {calls} calls"));
                seams::trap_after(calls);
            }
            Kind::EndServer => self.end_server().await,
            Kind::AnotherServer => {
                if self.world.servers.len() < 3 {
                    self.world.start().await;
                }
            }
            Kind::OneShot => self.one_shot().await,
            Kind::Sleep => self.sleep().await,
            Kind::Snapshot => self.snapshot(),
            Kind::FillDisk => {
                let is_full = self.random.bool();
                self.world.ledger.note(format_args!("the disk is full: {is_full}"));
                seams::fill_disk(is_full);
            }
            Kind::InUse => {
                if let Some(server) = self.world.any_server() {
                    self.world.check_in_use(server).await;
                }
            }
            Kind::Health => self.health().await,
            Kind::HangUp => {
                self.world.ledger.note("SIGHUP");
                self.world.servers.iter().for_each(simulated_process::Server::hang_up);
            }
        }
    }

    fn new_version(&mut self) -> Version {
        let used = self.world.ledger.used();
        let providers = providers(&mut self.random, &self.settings, &used);
        self.world.version(providers)
    }

    fn replace(&mut self, version: Version) {
        let providers = &version.providers;
        self.world.ledger.note(format_args!("the file has {providers:?}"));
        self.world.file.replace(version);
        self.hint();
    }

    /// Sends the servers a watcher's hint. Sometimes the watcher misses the change.
    fn hint(&mut self) {
        if self.random.u8(..4) > 0 {
            self.world.servers.iter().for_each(simulated_process::Server::hint);
        }
    }

    /// Replaces the file several times in quick succession, and sometimes puts the first version back.
    async fn flip_flop(&mut self) {
        let first = self.world.file.current.clone();
        for _ in 0..self.random.u8(1..4) {
            let version = self.new_version();
            self.replace(version);
            let pause = match self.random.u8(..3) {
                0 => self.millis(0..12_000),
                _ => self.millis(0..900),
            };
            self.world.wait(pause).await;
        }
        let used = self.world.ledger.used();
        if self.random.bool() && used.is_subset(&first.reads) {
            self.replace(first);
        }
    }

    fn turn(&mut self) {
        let Some(plugin) = self.plugin() else {
            return;
        };
        let mood = match self.random.u8(..16) {
            0..3 => Mood::Well,
            3 => Mood::Hangs,
            4 => Mood::Unhealthy,
            5 => Mood::NamesAnotherKey,
            6 => Mood::Garbles,
            7 => Mood::EncryptsWithAnotherKey,
            8 => Mood::CannotDecrypt,
            9 => Mood::DecryptsWrongly,
            10 | 11 => Mood::Slow(self.millis(1..4000)),
            12 => Mood::Cuts,
            13 => Mood::Flips,
            14 => Mood::Fails,
            _ => Mood::Loses,
        };
        let name = plugin.name();
        self.world.ledger.note(format_args!("plugin {name}: {mood:?}"));
        plugin.turn(mood);
    }

    fn kill_plugin(&mut self) {
        if let Some(plugin) = self.plugin() {
            let name = plugin.name();
            match plugin.is_running() {
                true => plugin.kill(),
                false => plugin.start(),
            }
            let is = plugin.is_running();
            self.world.ledger.note(format_args!("plugin {name} runs: {is}"));
        }
    }

    async fn rotate(&mut self) {
        let plugin = self.plugin();
        let done = match (&self.world.options.own, plugin) {
            (Some(state_dir), _) => super::faulty_plugin::rotate(state_dir),
            (None, Some(plugin)) => plugin.rotate(),
            (None, None) => return,
        };
        self.world.ledger.note(format_args!("a key is rotated: {done}"));
    }

    async fn end_server(&mut self) {
        if let Some(at) = self.world.any_server() {
            let server = self.world.servers.remove(at);
            let name = server.name.clone();
            if self.random.bool() {
                self.world.ledger.note(format_args!("{name} is killed"));
                server.kill().await;
            } else {
                self.world.ledger.note(format_args!("{name} is stopped"));
                server.stop().await;
            }
        }
        if self.random.u8(..4) > 0 {
            self.world.start().await;
        }
    }

    /// Lets the machine sleep. Afterwards, overdue work must be done before a write can be refused because of it.
    async fn sleep(&mut self) {
        let time = Duration::from_secs(self.random.u64(5..400));
        let server = self.world.any_server();
        let is_faultless = match server {
            Some(server) => self.world.is_faultless(server).await,
            None => false,
        };
        self.world.ledger.note(format_args!("the machine sleeps {time:?}"));
        self.world.sleep_machine(time).await;
        let Some(server) = server.filter(|_| is_faultless) else {
            return;
        };
        let value = self.world.value();
        let server = &self.world.servers[server];
        let (host, name) = (server.host.clone(), server.name.clone());
        let ledger = self.world.ledger.clone();
        if world::write(&host, &name, &ledger, value, None).await.is_none() {
            let text =
                format!("{name}: a write fails after a sleep, although every plugin is healthy");
            ledger.breaks(Promise::Recovers, text);
        }
    }

    async fn one_shot(&mut self) {
        let value = self.world.value();
        let written = self.world.ledger.written();
        let read = (self.random.bool() && !written.is_empty())
            .then(|| written[self.random.usize(..written.len())].clone());
        let ledger = self.world.ledger.clone();
        let what = read.as_ref().map_or("write", |_| "read");
        let work = async |host: &Host| match &read {
            Some(written) => {
                let read = host.from_storage(written.at.clone(), written.stored.clone());
                let read = read.await;
                if read.as_ref().is_ok_and(|read| **read.plaintext != *written.plaintext) {
                    let text = "a command read something else than was written";
                    ledger.breaks(Promise::Readable, text);
                }
                read.is_ok()
            }
            None => {
                let write = world::write(host, "a command", &ledger, value, None);
                write.await.is_some()
            }
        };
        let end = Duration::from_secs(90);
        match timeout(end, simulated_process::one_shot(&self.world.options, work)).await {
            Ok(done) => {
                let done = done.unwrap_or(false);
                self.world.ledger.note(format_args!("a command to {what} ends: {done}"));
            }
            Err(_) => self.world.ledger.breaks(Promise::Ends, "a command did not end"),
        }
    }

    /// Restores a snapshot: a copy of the machine runs beside the original, and both encrypt the same values.
    fn snapshot(&mut self) {
        let Some(at) = self.world.any_server() else {
            return;
        };
        let rewound = match self.random.bool() {
            true => self.millis(0..60_000),
            false => Duration::ZERO,
        };
        self.world.snapshot(at, rewound);
    }

    async fn health(&mut self) {
        if let Some(at) = self.world.any_server() {
            let host = self.world.servers[at].host.clone();
            let patience = self.patience();
            let end = patience.unwrap_or(Duration::from_secs(60));
            if timeout(end, host.health()).await.is_err() && patience.is_none() {
                self.world.ledger.breaks(Promise::Ends, "a health check did not end");
            }
        }
    }
}
