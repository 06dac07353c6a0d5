//! Tests every fault in every phase: nothing is lost, no nonce repeats, and the system recovers. Measures how long the recovery takes.

use std::fmt::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use super::faulty_plugin::{FaultyPlugin, Mood};
use super::history::{is_left_out, on_a_runtime};
use super::ledger::{Broken, Promise};
use super::operator::Provider;
use super::seams;
use super::simulated_process::yields;
use super::world::{InUse, Settings, World, config_in_use};
use crate::host::{KmsCoast, WriteDekSource};

/// How long a fault lasts that does not end by itself, 30 seconds.
const LASTS: Duration = Duration::from_secs(30);
/// The maximum duration of a recovery, 5 minutes.
const RECOVERY_MAX: Duration = Duration::from_secs(300);
/// The memory limit of instances that are to run out of memory, 8 MiB.
const LITTLE_MEMORY: usize = 8 << 20;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Plugin(Mood),
    PluginKilled,
    PluginUpgraded,
    TrapInControl,
    TrapInWorker,
    TrapAtReload,
    TooLittleMemory,
    FileHalfWritten,
    FileInvalid,
    FileVanished,
    FileFlips,
    DiskFull,
    Sleep,
    Snapshot,
    ProcessKilled,
}

const FAULTS: [(&str, Fault); 23] = [
    ("plugin killed", Fault::PluginKilled),
    ("plugin hangs", Fault::Plugin(Mood::Hangs)),
    ("plugin unhealthy", Fault::Plugin(Mood::Unhealthy)),
    ("Status returns a wrong key ID", Fault::Plugin(Mood::NamesAnotherKey)),
    ("Encrypt returns a ciphertext that cannot be decrypted", Fault::Plugin(Mood::Garbles)),
    ("plugin cannot decrypt", Fault::Plugin(Mood::CannotDecrypt)),
    ("Decrypt returns a wrong DEK", Fault::Plugin(Mood::DecryptsWrongly)),
    ("plugin answers after 2.5 s", Fault::Plugin(Mood::Slow(Duration::from_millis(2500)))),
    ("connection closed without an answer", Fault::Plugin(Mood::Cuts)),
    ("key ID changes with each Status", Fault::Plugin(Mood::Flips)),
    ("plugin upgraded from v2beta1 to v2", Fault::PluginUpgraded),
    ("trap in the control instance", Fault::TrapInControl),
    ("trap in a worker", Fault::TrapInWorker),
    ("trap during a reload", Fault::TrapAtReload),
    ("too little memory for a value", Fault::TooLittleMemory),
    ("file half-written", Fault::FileHalfWritten),
    ("file invalid", Fault::FileInvalid),
    ("file removed", Fault::FileVanished),
    ("file replaced and put back", Fault::FileFlips),
    ("disk full while a key is rotated", Fault::DiskFull),
    ("machine sleeps for 240 s", Fault::Sleep),
    ("snapshot restored", Fault::Snapshot),
    ("process killed and restarted", Fault::ProcessKilled),
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    FirstStart,
    Steady,
    Expiring,
    Rotation,
    Candidate,
    Drain,
}

const PHASES: [(&str, Phase); 6] = [
    ("first start", Phase::FirstStart),
    ("steady", Phase::Steady),
    ("DEK expires in 2 s", Phase::Expiring),
    ("rotation, before Decrypt", Phase::Rotation),
    ("candidate file", Phase::Candidate),
    ("stop", Phase::Drain),
];

const WORKERS: [usize; 3] = [1, 2, 4];

/// The result of one cell of the matrix.
struct Cell {
    broken: Option<Broken>,
    recovery: Duration,
    trace: Vec<String>,
}

struct Scene {
    world: World,
    fault: Fault,
}

/// Plays one fault in one phase with this number of workers.
fn play(fault: Fault, phase: Phase, workers: usize) -> Cell {
    on_a_runtime(async move {
        let settings = Settings {
            plugins: vec!["a", "b"],
            own: false,
            dek_source: WriteDekSource::Counter,
            coast: KmsCoast::Strict,
            workers,
            reload: true,
            interval: Duration::from_secs(10),
            hold: Duration::from_secs(10),
            providers: vec![Provider::Kms("a".into(), 3), Provider::Local("secretbox", vec![0])],
        };
        let mut world = World::new(&settings, 1);
        if fault == Fault::TooLittleMemory {
            world.options.memory_limit = LITTLE_MEMORY;
        }
        if fault == Fault::PluginUpgraded {
            world.plugins.values().for_each(|plugin| plugin.turn_version("v2beta1"));
        }
        let mut scene = Scene { world, fault };
        let recovery = scene.play(phase).await;
        scene.world.check().await;
        let ledger = scene.world.ledger.clone();
        scene.world.end().await;
        Cell { broken: ledger.broken(), recovery, trace: ledger.trace() }
    })
}

impl Scene {
    fn plugin(&self) -> FaultyPlugin {
        self.world.plugins["a"].clone()
    }

    async fn play(&mut self, phase: Phase) -> Duration {
        let seconds = Duration::from_secs;
        if phase == Phase::FirstStart {
            self.strike_outside();
            self.world.start().await;
            self.strike_inside().await;
            return self.recovers().await;
        }
        self.world.start().await;
        self.load(seconds(5)).await;
        match phase {
            Phase::FirstStart => {}
            Phase::Steady => self.load(seconds(25)).await,
            Phase::Expiring => {
                self.plugin().turn(Mood::Fails);
                // The last good Status was at the start.
                self.load(seconds(173)).await;
                self.plugin().turn(Mood::Well);
            }
            Phase::Rotation => {
                self.plugin().rotate();
                let encrypted = self.plugin().encrypted();
                self.plugin().turn(Mood::Slow(Duration::from_millis(400)));
                while self.plugin().encrypted() == encrypted {
                    self.world.wait(Duration::from_millis(20)).await;
                }
                self.plugin().turn(Mood::Well);
            }
            Phase::Candidate => {
                let slow = Mood::Slow(seconds(2));
                self.world.plugins["b"].turn(slow);
                self.replace(vec![
                    Provider::Kms("b".into(), 3),
                    Provider::Kms("a".into(), 3),
                    Provider::Local("secretbox", vec![0]),
                ]);
                self.world.wait(Duration::from_millis(500)).await;
            }
            Phase::Drain => {
                self.world.plugins["a"].turn(Mood::Slow(Duration::from_millis(300)));
                for _ in 0..4 {
                    self.world.write(0, None);
                    self.world.read(0, None);
                }
                self.strike_outside();
                let server = self.world.servers.remove(0);
                server.stop().await;
                self.world.start().await;
                self.strike_inside().await;
                return self.recovers().await;
            }
        }
        self.strike_outside();
        self.strike_inside().await;
        self.recovers().await
    }

    fn replace(&mut self, providers: Vec<Provider>) {
        let version = self.world.version(providers);
        self.world.file.replace(version);
        self.world.servers.iter().for_each(super::simulated_process::Server::hint);
    }

    /// Starts a write and a read on each server every second.
    async fn load(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for server in 0..self.world.servers.len() {
                self.world.write(server, None);
                self.world.read(server, None);
            }
            self.world.wait(Duration::from_secs(1)).await;
        }
    }

    /// Applies a fault that does not concern the process itself.
    fn strike_outside(&mut self) {
        let plugin = self.plugin();
        self.world.ledger.note(format_args!("{:?}", self.fault));
        match self.fault {
            Fault::Plugin(mood) => {
                if mood == Mood::Flips {
                    plugin.rotate();
                }
                plugin.turn(mood);
            }
            Fault::PluginKilled => plugin.kill(),
            Fault::PluginUpgraded => {
                self.world.plugins.values().for_each(|plugin| plugin.turn_version("v2"));
            }
            Fault::FileHalfWritten => {
                let version = self.world.file.current.clone();
                // The file is valid, but its last provider is missing.
                let len = version.text.find("  - secretbox").unwrap_or_default();
                self.world.file.write_part(version, len);
            }
            Fault::FileInvalid => self.world.file.spoil(b"%%%"),
            Fault::FileVanished => self.world.file.remove(),
            Fault::DiskFull => {
                seams::fill_disk(true);
                assert!(!plugin.rotate());
            }
            Fault::TrapInControl
            | Fault::TrapInWorker
            | Fault::TrapAtReload
            | Fault::TooLittleMemory
            | Fault::FileFlips
            | Fault::Sleep
            | Fault::Snapshot
            | Fault::ProcessKilled => {}
        }
        self.world.servers.iter().for_each(super::simulated_process::Server::hint);
    }

    /// Applies a fault that concerns the process. Does nothing if no process could start.
    async fn strike_inside(&mut self) {
        let Some(host) = self.world.servers.first().map(|server| server.host.clone()) else {
            return;
        };
        match self.fault {
            Fault::TrapInControl => {
                seams::trap_after(0);
                // This fails because the instance is gone.
                let _ = host.status().await;
            }
            Fault::TrapInWorker => {
                seams::trap_after(0);
                self.world.write(0, None);
            }
            Fault::TrapAtReload => {
                seams::trap_after(0);
                let text = self.world.file.current.text.clone().into_bytes();
                let _ = host.reload(text.into()).await;
            }
            Fault::TooLittleMemory => {
                // Values stay in the host, so only a resource can be too large for an instance.
                let (mut at, _) = self.world.value();
                at.resource = "r".repeat(LITTLE_MEMORY / 2);
                for _ in 0..4 {
                    assert!(host.to_storage(at.clone(), b"x".to_vec().into()).await.is_err());
                }
            }
            Fault::FileFlips => {
                let before = self.world.file.current.clone();
                for _ in 0..3 {
                    let mut providers = before.providers.clone();
                    providers.reverse();
                    self.replace(providers);
                    self.world.wait(Duration::from_millis(150)).await;
                    self.world.file.replace(before.clone());
                    self.world.servers.iter().for_each(super::simulated_process::Server::hint);
                    self.world.wait(Duration::from_millis(150)).await;
                }
            }
            Fault::Sleep => self.world.sleep_machine(Duration::from_secs(240)).await,
            Fault::Snapshot => {
                self.world.snapshot(0, Duration::from_secs(20));
            }
            Fault::ProcessKilled => {
                let server = self.world.servers.remove(0);
                server.kill().await;
                self.world.start().await;
            }
            Fault::Plugin(_)
            | Fault::PluginKilled
            | Fault::PluginUpgraded
            | Fault::FileHalfWritten
            | Fault::FileInvalid
            | Fault::FileVanished
            | Fault::DiskFull => {}
        }
    }

    /// Ends the fault, after a while if it does not end by itself. Returns the time from then until the system has recovered.
    async fn recovers(&mut self) -> Duration {
        let lasts = match self.fault {
            Fault::Plugin(_)
            | Fault::PluginKilled
            | Fault::FileHalfWritten
            | Fault::FileInvalid
            | Fault::FileVanished
            | Fault::DiskFull => true,
            Fault::PluginUpgraded
            | Fault::TrapInControl
            | Fault::TrapInWorker
            | Fault::TrapAtReload
            | Fault::TooLittleMemory
            | Fault::FileFlips
            | Fault::Sleep
            | Fault::Snapshot
            | Fault::ProcessKilled => false,
        };
        if lasts {
            self.load(LASTS).await;
        }
        self.world.heal().await;
        let healed = Instant::now();
        loop {
            yields().await;
            if self.is_well().await {
                return healed.elapsed();
            }
            if healed.elapsed() > RECOVERY_MAX {
                let text = "it does not recover";
                self.world.ledger.breaks(Promise::Recovers, text);
                return healed.elapsed();
            }
            self.world.wait(Duration::from_millis(100)).await;
        }
    }

    /// Returns whether the file on disk is in use, its plugins are healthy, and a write succeeds.
    async fn is_well(&mut self) -> bool {
        let Some(server) = self.world.servers.first() else {
            return false;
        };
        let (host, name) = (server.host.clone(), server.name.clone());
        // Do not use a health check: it would ask the plugins at once and so speed up the recovery.
        let in_use = config_in_use(&host).await;
        let is_expected = |in_use: &InUse| in_use.engine == self.world.file.current.hash;
        if !in_use.is_ok_and(|in_use| is_expected(&in_use) && in_use.is_healthy) {
            return false;
        }
        let value = self.world.value();
        let ledger = self.world.ledger.clone();
        super::world::write(&host, &name, &ledger, value, None).await.is_some()
    }
}

/// Formats a duration in seconds, such as `0`, `0.4` or `12`.
fn shown(time: Duration) -> String {
    match time.as_secs_f64() {
        0.0 => "0".to_owned(),
        seconds if seconds < 10.0 => format!("{seconds:.1}"),
        seconds => format!("{seconds:.0}"),
    }
}

fn table(rows: &[(&str, Vec<[Duration; 3]>)]) -> String {
    let mut table = String::from(
        "<!-- Written by `cargo xtask simulate --matrix`. -->\n\
         Seconds, in simulated time, from the end of a fault until the file on disk is in use, its plugins are known to be healthy and a write succeeds. No\n\
         health check is made in this time, because it would call the plugins at once. A fault that does not end by itself lasts 30 s.\n\
         A cell with three numbers gives the times with 1, 2 and 4 workers; one number holds for all three.\n\n| fault |",
    );
    for (phase, _) in PHASES {
        // Writing to a String cannot fail.
        let _ = write!(table, " {phase} |");
    }
    table += "\n|---|---|---|---|---|---|---|\n";
    for (fault, cells) in rows {
        let _ = write!(table, "| {fault} |");
        for times in cells {
            let [one, two, four] = times.map(shown);
            let cell = match one == two && two == four {
                true => one,
                false => format!("{one} · {two} · {four}"),
            };
            let _ = write!(table, " {cell} |");
        }
        table.push('\n');
    }
    table
}

#[test]
fn every_fault_in_every_phase() {
    let mut faults = Vec::new();
    let mut rows = Vec::new();
    for (name, fault) in FAULTS {
        if fault == Fault::Snapshot && is_left_out("Snapshot") {
            continue;
        }
        let mut cells = Vec::new();
        for (phase_name, phase) in PHASES {
            cells.push(WORKERS.map(|workers| {
                let cell = play(fault, phase, workers);
                if let Some(broken) = cell.broken {
                    faults.push(format!("{name}, {phase_name}, {workers} workers: {broken}"));
                    if std::env::var_os("DEKKER_TRACE").is_some() {
                        eprintln!("{}\n{}", faults.last().unwrap(), cell.trace.join("\n"));
                    }
                }
                cell.recovery
            }));
        }
        rows.push((name, cells));
    }
    let table = table(&rows);
    eprintln!("{table}");
    assert!(faults.is_empty(), "{} cells:\n{}", faults.len(), faults.join("\n"));
    if let Some(path) = std::env::var_os("DEKKER_MATRIX") {
        std::fs::write(path, table).unwrap();
    }
}
