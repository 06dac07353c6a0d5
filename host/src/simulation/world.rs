//! The state of a history: a directory, plugins, the file, processes, and the ledger.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::faulty_plugin::{FaultyPlugin, Mood};
use super::ledger::{Ledger, Promise, Written};
use super::operator::{File, Provider, Version};
use super::seams;
use super::simulated_process::{self, Options, Server};
use super::snapshot;
use super::stored::Stored;
use crate::guest::MEMORY_MAX;
use crate::host::{Host, KmsCoast, WriteDekSource};
use crate::kms::keyring::Keyring;
use crate::model::Location;

/// The longest that an operation may take, 60 seconds. The longest operations are those that two traps pass to a fresh instance, with three calls to
/// a hanging plugin each time.
const OPERATION_MAX: Duration = Duration::from_secs(60);

/// The settings of a history.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// The names of the plugins other than Dekker's own.
    pub(super) plugins: Vec<&'static str>,
    /// Whether the processes use Dekker's own plugin and share a state directory.
    pub(super) own: bool,
    pub(super) dek_source: WriteDekSource,
    pub(super) coast: KmsCoast,
    pub(super) workers: usize,
    pub(super) reload: bool,
    pub(super) interval: Duration,
    pub(super) hold: Duration,
    /// The providers in the first file.
    pub(super) providers: Vec<Provider>,
}

pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) plugins: BTreeMap<String, FaultyPlugin>,
    pub(super) file: File,
    /// Every complete file so far, by its hash.
    pub(super) versions: BTreeMap<String, Version>,
    pub(super) servers: Vec<Server>,
    pub(super) options: Options,
    pub(super) ledger: Ledger,
    operations: JoinSet<()>,
    started: u32,
    directory: TempDir,
    _installed: seams::Installed,
}

impl World {
    /// Creates a world in which the plugins run but no server does.
    pub(super) fn new(settings: &Settings, seed: u64) -> Self {
        let installed = seams::install();
        let memory = Path::new("/dev/shm");
        let mut name = tempfile::Builder::new();
        name.prefix("dekker-simulation-");
        let directory = if memory.is_dir() { name.tempdir_in(memory) } else { name.tempdir() };
        let directory = directory.expect("a directory");
        let root = directory.path();
        let mut random = fastrand::Rng::with_seed(seed);
        let plugins: BTreeMap<_, _> = settings
            .plugins
            .iter()
            .map(|name| {
                let plugin = FaultyPlugin::new(root, name, random.u64(..));
                plugin.start();
                ((*name).to_owned(), plugin)
            })
            .collect();
        let state_dir = root.join("state");
        let own = settings.own.then(|| {
            use std::os::unix::fs::DirBuilderExt;
            let mut builder = std::fs::DirBuilder::new();
            builder.mode(0o700).create(&state_dir).expect("a directory");
            // Created before the file, as in `dekker serve`.
            drop(Keyring::open_or_create(&state_dir).expect("a keyring"));
            state_dir.clone()
        });
        let path = match &own {
            Some(state_dir) => state_dir.join("encryption-config.yaml"),
            None => root.join("config.yaml"),
        };
        let version = version(root, settings.providers.clone());
        let coasts = settings.coast == KmsCoast::Upstream;
        Self {
            random,
            ledger: Ledger::new(plugins.clone(), coasts),
            plugins,
            file: File::new(path.clone(), version.clone()),
            versions: [(version.hash.clone(), version)].into(),
            servers: Vec::new(),
            options: Options {
                dek_source: settings.dek_source,
                coast: settings.coast,
                workers: settings.workers,
                reload: settings.reload,
                interval: settings.interval,
                hold: settings.hold,
                memory_limit: MEMORY_MAX,
                file: path,
                own,
            },
            operations: JoinSet::new(),
            started: 0,
            directory,
            _installed: installed,
        }
    }

    /// Creates a version of the file with these providers, and records it.
    pub(super) fn version(&mut self, providers: Vec<Provider>) -> Version {
        let version = version(self.directory.path(), providers);
        self.versions.insert(version.hash.clone(), version.clone());
        version
    }

    /// Starts a server. Returns `false` if it does not start, for example because of the file.
    pub(super) async fn start(&mut self) -> bool {
        self.started += 1;
        let name = format!("server {}", self.started);
        match Server::start(name.clone(), &self.options).await {
            Ok(server) => {
                self.ledger.note(format_args!("{name} starts"));
                self.servers.push(server);
                true
            }
            Err(error) => {
                let error = error.lines().next().unwrap_or_default();
                let error = error.split(':').next().unwrap_or_default();
                // The directory's name is different each time the history is played.
                let root = self.directory.path().display().to_string();
                let error = error.replace(&root, "");
                self.ledger.note(format_args!("{name} does not start: {error}"));
                false
            }
        }
    }

    /// Chooses one of the servers.
    pub(super) fn any_server(&mut self) -> Option<usize> {
        let count = self.servers.len();
        (count > 0).then(|| self.random.usize(..count))
    }

    /// Returns a random value and one of a few locations.
    pub(super) fn value(&mut self) -> (Location, Vec<u8>) {
        let at = Location {
            resource: "secrets".to_owned(),
            key: format!("/registry/secrets/n/{}", self.random.u8(..5)).into_bytes(),
        };
        let len = self.random.usize(..64);
        let plaintext = (0..len).map(|_| self.random.u8(..)).collect();
        (at, plaintext)
    }

    /// Starts a write. Its caller gives up after `patience`, if set.
    pub(super) fn write(&mut self, server: usize, patience: Option<Duration>) {
        let (at, plaintext) = self.value();
        let server = &self.servers[server];
        let (host, name) = (server.host.clone(), server.name.clone());
        let ledger = self.ledger.clone();
        self.operations.spawn(async move {
            write(&host, &name, &ledger, (at, plaintext), patience).await;
        });
    }

    /// Starts a read of an acknowledged value.
    pub(super) fn read(&mut self, server: usize, patience: Option<Duration>) {
        let written = self.ledger.written();
        if written.is_empty() {
            return;
        }
        let which = self.random.usize(..written.len());
        let written = written[which].clone();
        let server = &self.servers[server];
        let (host, name) = (server.host.clone(), server.name.clone());
        let ledger = self.ledger.clone();
        self.operations.spawn(async move {
            let read = read(&host, &ledger, &written, patience).await;
            let outcome = read.as_ref().map_or("fails", |()| "reads");
            ledger.note(format_args!("{name} {outcome} value {which}"));
        });
    }

    /// Restores a snapshot: a copy of the machine continues beside the original, and both encrypt values. The original's time of day runs ahead by
    /// `rewound`.
    pub(super) fn snapshot(&mut self, server: usize, rewound: Duration) {
        let values: Vec<_> = (0..4).map(|_| self.value()).collect();
        let host = self.servers[server].host.clone();
        let stored = snapshot::written_by_a_copy(&host, &values);
        let count = stored.len();
        for stored in stored {
            if let Some(parsed) = Stored::parse(&stored) {
                self.ledger.sees(&parsed);
            }
        }
        let name = &self.servers[server].name;
        self.ledger.note(format_args!("a copy of {name} wrote {count} values"));
        seams::restore_machine(rewound);
        for _ in 0..4 {
            self.write(server, None);
        }
    }

    /// Waits for all operations that were started.
    pub(super) async fn operations_end(&mut self) {
        while let Some(ended) = self.operations.join_next().await {
            ended.expect("an operation that does not panic");
        }
    }

    /// Lets the machine sleep, with all its pending operations.
    pub(super) async fn sleep_machine(&mut self, time: Duration) {
        simulated_process::yields().await;
        while self.operations.try_join_next().is_some() {}
        seams::sleep_machine(time);
    }

    /// Returns whether no known fault prevents a write.
    pub(super) async fn is_faultless(&self, server: usize) -> bool {
        let is_well = |plugin: &FaultyPlugin| plugin.is_running() && plugin.mood() == Mood::Well;
        if seams::will_trap() || !self.plugins.values().all(is_well) || self.options.own.is_some() {
            return false;
        }
        let health = timeout(OPERATION_MAX, self.servers[server].host.health()).await;
        matches!(health, Ok(Ok(checks)) if checks.iter().all(|check| check.fault.is_none()))
    }

    /// Ends every fault. The consequences of the faults remain.
    pub(super) async fn heal(&mut self) {
        seams::fill_disk(false);
        seams::trap_no_more();
        for plugin in self.plugins.values() {
            plugin.turn(Mood::Well);
            plugin.start();
        }
        self.file.restore();
        if self.servers.is_empty() {
            self.start().await;
        }
        self.ledger.note("all faults have ended");
    }

    /// The longest that a recovery may take after all faults have ended. This includes a poll of the file and its hold time, the grace period of a
    /// candidate whose plugin failed, and a poll of a plugin.
    pub(super) fn recovery_max(&self) -> Duration {
        self.options.interval * 2 + self.options.hold + Duration::from_secs(90)
    }

    /// Checks that the system has recovered: the file on disk is in use, its plugins are healthy, and each server and a fresh process can read every
    /// acknowledged value.
    pub(super) async fn check(&mut self) {
        self.operations_end().await;
        let written = self.ledger.written();
        let current = self.file.current.clone();
        for at in 0..self.servers.len() {
            self.check_server(at, &current, &written).await;
        }
        let ledger = self.ledger.clone();
        let reads = current.reads.clone();
        let fresh = simulated_process::one_shot(&self.options, async |host: &Host| {
            for (which, value) in written.iter().enumerate() {
                // Values whose provider the operator has removed from the file cannot be read.
                if reads.contains(&value.prefix)
                    && let Err(error) = read(host, &ledger, value, None).await
                {
                    let text =
                        format!("value {which} ({}) in a fresh process: {error}", value.prefix);
                    ledger.breaks(Promise::Readable, text);
                }
            }
        });
        if let Err(error) = fresh.await {
            self.ledger.breaks(Promise::Recovers, format!("no fresh process starts: {error}"));
        }
    }

    async fn check_server(&mut self, at: usize, current: &Version, written: &[Written]) {
        let server = &self.servers[at];
        let (name, ledger) = (server.name.clone(), self.ledger.clone());
        let host = server.host.clone();
        let breaks = |promise, text: String| ledger.breaks(promise, format!("{name}: {text}"));
        let in_use = match config_in_use(&host).await {
            Ok(in_use) => in_use,
            Err(error) => return breaks(Promise::Recovers, format!("no status: {error}")),
        };
        let expected = match server.reloads {
            true => &current.hash,
            false => &server.began_with,
        };
        if in_use.engine != *expected {
            breaks(Promise::Recovers, "the file in use is not the one on disk".to_owned());
        }
        if let Some(reported) = in_use.controller.filter(|hash| *hash != in_use.engine) {
            let text = format!("the status reports {reported}, but {} is in use", in_use.engine);
            breaks(Promise::InUse, text);
        }
        match timeout(OPERATION_MAX, host.health()).await {
            Ok(Ok(checks)) => {
                for fault in checks.into_iter().filter_map(|check| check.fault) {
                    breaks(Promise::Recovers, format!("unhealthy: {fault}"));
                }
            }
            Ok(Err(error)) => breaks(Promise::Recovers, format!("no health: {error}")),
            Err(_) => breaks(Promise::Ends, "a health check did not end".to_owned()),
        }
        let Some(version) = self.versions.get(&in_use.engine).cloned() else {
            return;
        };
        // One more than there are workers, so that each worker can get one.
        for _ in 0..=self.options.workers.min(4) {
            let value = self.value();
            match write(&host, &name, &ledger, value, None).await {
                Some(prefix) if prefix == version.writes => {}
                Some(prefix) => {
                    let text =
                        format!("{prefix} writes, but the file in use has {}", version.writes);
                    breaks(Promise::InUse, text);
                }
                None => breaks(Promise::Recovers, "a write fails".to_owned()),
            }
        }
        for (which, value) in written.iter().enumerate() {
            if version.reads.contains(&value.prefix)
                && let Err(error) = read(&host, &ledger, value, None).await
            {
                breaks(Promise::Readable, format!("value {which} ({}): {error}", value.prefix));
            }
        }
    }

    /// Checks that the status reports the configuration that is in use: a write between two equal answers must be encrypted by the provider of the
    /// file that they name.
    pub(super) async fn check_in_use(&mut self, at: usize) {
        let server = &self.servers[at];
        let (host, name) = (server.host.clone(), server.name.clone());
        let ledger = self.ledger.clone();
        let Ok(before) = config_in_use(&host).await else {
            return;
        };
        let value = self.value();
        let began = Instant::now();
        let Some(prefix) = write(&host, &name, &ledger, value, Some(Duration::from_secs(10))).await
        else {
            return;
        };
        match config_in_use(&host).await {
            // If no time has passed, no other file can have been in use in between.
            Ok(after) if after.engine == before.engine && began.elapsed().is_zero() => {}
            Ok(_) | Err(_) => return,
        }
        let Some(version) = self.versions.get(&before.engine) else {
            // The file in use is an incomplete file that happens to be valid.
            return;
        };
        if version.writes != prefix {
            let text =
                format!("{name}: {prefix} writes, but the file in use has {}", version.writes);
            ledger.breaks(Promise::InUse, text);
        }
    }

    /// Ends the history and all its processes.
    pub(super) async fn end(mut self) {
        self.operations.abort_all();
        self.operations_aborted().await;
        for server in std::mem::take(&mut self.servers) {
            server.kill().await;
        }
        for plugin in self.plugins.values() {
            plugin.kill();
        }
    }

    async fn operations_aborted(&mut self) {
        while self.operations.join_next().await.is_some() {}
    }

    /// Lets simulated time pass.
    pub(super) async fn wait(&self, time: Duration) {
        sleep(time).await;
    }
}

fn version(root: &Path, providers: Vec<Provider>) -> Version {
    Version::new(providers, |name| -> PathBuf {
        match name {
            "dekker" => root.join("state/kms.sock"),
            name => root.join(format!("{name}.sock")),
        }
    })
}

/// The hashes of the file in use, as reported by the engine and by the controller.
pub(super) struct InUse {
    pub(super) engine: String,
    pub(super) controller: Option<String>,
    /// Whether the last answer of each plugin in the file was healthy.
    pub(super) is_healthy: bool,
}

pub(super) async fn config_in_use(host: &Host) -> Result<InUse, String> {
    let status = timeout(OPERATION_MAX, host.status()).await;
    let status = status.map_err(|_| "no end".to_owned())?;
    let status = status.map_err(|error| error.to_string())?;
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let providers = status["kmsProviders"].as_array();
    let is_healthy = providers.is_some_and(|providers| {
        let is_well = |provider: &serde_json::Value| provider["healthy"] == true;
        let mut used = providers.iter().filter(|provider| provider["inUse"] == true);
        used.all(is_well)
    });
    Ok(InUse {
        is_healthy,
        engine: text(&status["configHash"]).unwrap_or_default(),
        controller: text(&status["configFile"]["loadedHash"]),
    })
}

/// Encrypts a value and checks the result against the promises. Returns the prefix of the stored value, or `None` if the write failed.
pub(super) async fn write(
    host: &Host,
    name: &str,
    ledger: &Ledger,
    (at, plaintext): (Location, Vec<u8>),
    patience: Option<Duration>,
) -> Option<String> {
    let begun = seams::boot_time().unwrap_or_default();
    let write = host.to_storage(at.clone(), plaintext.clone().into());
    match timeout(patience.unwrap_or(OPERATION_MAX), write).await {
        Ok(Ok(encrypted)) => {
            let prefix = ledger.acknowledge(begun, &at, &plaintext, encrypted.stored);
            ledger.note(format_args!("{name} writes with {prefix}"));
            Some(prefix)
        }
        Ok(Err(error)) => {
            ledger.failed();
            ledger.note(format_args!("{name} cannot write"));
            // The message may contain text that the seed does not determine.
            let _ = error;
            None
        }
        Err(_) if patience.is_some() => None,
        Err(_) => {
            ledger.breaks(Promise::Ends, format!("{name}: a write did not end"));
            None
        }
    }
}

/// Reads an acknowledged value and checks the result against the promises.
async fn read(
    host: &Host,
    ledger: &Ledger,
    written: &Written,
    patience: Option<Duration>,
) -> Result<(), String> {
    let read = host.from_storage(written.at.clone(), written.stored.clone());
    match timeout(patience.unwrap_or(OPERATION_MAX), read).await {
        Ok(Ok(decrypted)) if **decrypted.plaintext == *written.plaintext => Ok(()),
        Ok(Ok(_)) => {
            ledger.breaks(Promise::Readable, "a read returned something else than was written");
            Ok(())
        }
        Ok(Err(error)) => {
            ledger.failed();
            Err(error.to_string())
        }
        Err(_) if patience.is_some() => Err("given up".to_owned()),
        Err(_) => {
            ledger.breaks(Promise::Ends, "a read did not end");
            Err("no end".to_owned())
        }
    }
}
