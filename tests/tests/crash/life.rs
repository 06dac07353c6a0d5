//! The life of one state directory over many servers: the acknowledged values, and the checks after each kill or other disturbance.

use std::collections::BTreeSet;
use std::fs;
use std::future::pending;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustix::process::Signal;

use crate::http::Connection;
use crate::nonces::{KeysOnDisk, LOCAL_KEY, LOCAL_PREFIX, Nonces};
use crate::process::{Finished, Process};
use crate::server::Server;
use crate::stage::Stage;
use crate::wait::until;

/// The last line that a server prints when it is ready.
pub(crate) const READY: &str = "| dekker inspect\n";

/// 100: the number of older values that a new server must read, in addition to all values written since the last server started. The last server
/// reads all values.
const SAMPLE: usize = 100;

/// The files that a stopped server may leave in its state directory.
const KEPT: [&str; 6] = [
    "encryption-config.yaml",
    "keyring.ids",
    "keyring.json",
    "keyring.lock",
    "api.sock.lock",
    "kms.sock.lock",
];

/// A state directory and its history.
pub(crate) struct Life {
    state: PathBuf,
    /// The path at which this process finds the directory, which may differ from `state`.
    disk: PathBuf,
    /// The words before each command that works in the directory. `serve_args` are additional arguments of each server.
    before: Vec<String>,
    serve_args: Vec<String>,
    values: Vec<Acknowledged>,
    /// How many of the values have had their nonces noted. `read` is how many values a server has read back.
    noted: usize,
    read: usize,
    nonces: Nonces,
    key_ids: BTreeSet<String>,
    generation: u32,
}

struct Acknowledged {
    key: String,
    plaintext: Vec<u8>,
    stored: Vec<u8>,
}

impl Life {
    /// Does not create the directory: the first server does that.
    pub(crate) fn new(stage: &Stage, name: &str) -> Self {
        let state = stage.path(name);
        Self {
            disk: state.clone(),
            state,
            before: Vec::new(),
            serve_args: Vec::new(),
            values: Vec::new(),
            noted: 0,
            read: 0,
            nonces: Nonces::default(),
            key_ids: BTreeSet::new(),
            generation: 0,
        }
    }

    /// For a directory that commands with the prefix `before` find at `state`, and this process at `disk`.
    pub(crate) fn elsewhere(
        stage: &Stage,
        state: &Path,
        disk: PathBuf,
        before: Vec<String>,
    ) -> Self {
        let listen = format!("--listen=unix://{}", stage.path("api.sock").display());
        Self {
            disk,
            state: state.to_owned(),
            before,
            serve_args: vec![listen],
            ..Self::new(stage, "")
        }
    }

    pub(crate) fn state(&self) -> &Path {
        &self.state
    }

    pub(crate) fn values(&self) -> usize {
        self.values.len()
    }

    /// Returns the number of distinct pairs of key and nonce seen.
    pub(crate) fn nonces(&self) -> usize {
        self.nonces.count()
    }

    pub(crate) fn command(&self, stage: &Stage, args: &[&str]) -> Command {
        let mut command = stage.command(args);
        command.arg("--state-dir").arg(&self.state);
        if let Some((program, words)) = self.before.split_first() {
            command = behind(program, words, &command);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn serve_command(&self, stage: &Stage) -> Command {
        let args = [
            "serve",
            "--health-listen",
            "127.0.0.1:0",
            "--workers=1",
            "--encryption-provider-config-automatic-reload",
        ];
        let mut command = self.command(stage, &args);
        command.args(&self.serve_args);
        command
    }

    pub(crate) fn rotate_command(&self, stage: &Stage) -> Command {
        self.command(stage, &["kms", "rotate"])
    }

    pub(crate) fn one_shot_command(&self, stage: &Stage, what: &str, key: &str) -> Command {
        self.command(stage, &[what, "--resource", "secrets", "--key", key])
    }

    /// Starts a new server, which must become healthy and read the acknowledged values.
    pub(crate) async fn serve(&mut self, stage: &Stage) -> Server {
        let server = Server::start(self.serve_command(stage)).await;
        until("a new server is healthy", async || {
            (server.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        let mut connection = server.connect().await;
        let older = self.read / SAMPLE + 1;
        for (at, value) in self.values.iter().enumerate() {
            if at >= self.read || at % older == 0 {
                value.read(&mut connection).await;
            }
        }
        self.read = self.values.len();
        server
    }

    /// Ends the life: a last server reads every value and stops. It must leave only the files in [`KEPT`].
    pub(crate) async fn finish(mut self, stage: &Stage) -> Self {
        self.check_files(stage).await;
        // A killed rotation leaves a temporary file until the next rotation.
        if self.disk.join("keyring.json").exists() {
            let rotated = Process::start(self.rotate_command(stage), b"");
            rotated.finished().await.done();
            self.check_files(stage).await;
        }
        let server = self.serve(stage).await;
        let mut connection = server.connect().await;
        for value in &self.values {
            value.read(&mut connection).await;
        }
        drop(connection);
        self.write_with_new(&server).await;
        let log = server.stop().await;
        assert!(!log.contains("panicked"), "{log}");
        self.check_files(stage).await;
        let entries = fs::read_dir(&self.disk).expect("the state directory");
        let left: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| KEPT.iter().all(|kept| *kept != *name))
            .collect();
        assert!(left.is_empty(), "a stopped server leaves {left:?}");
        self
    }

    /// Encrypts one more value and records it if it is acknowledged.
    ///
    /// # Errors
    /// Returns an error if the connection ends first.
    ///
    /// # Panics
    /// Panics if the server answers with an error.
    pub(crate) async fn write(&mut self, connection: &mut Connection) -> hyper::Result<()> {
        let (key, plaintext) = self.next_value();
        let stored = connection.write(key.as_bytes(), &plaintext).await?.ok();
        self.acknowledge(key, plaintext, stored);
        Ok(())
    }

    /// Returns the key and the plaintext of the next value to write.
    pub(crate) fn next_value(&self) -> (String, Vec<u8>) {
        let at = self.values.len();
        let key = format!("/registry/secrets/default/{at}");
        (key, format!("the value of {at}").into_bytes())
    }

    pub(crate) fn acknowledge(&mut self, key: String, plaintext: Vec<u8>, stored: Vec<u8>) {
        self.values.push(Acknowledged { key, plaintext, stored });
    }

    /// Encrypts and decrypts values until the connection ends.
    pub(crate) async fn load(&mut self, api: &Path) {
        let Ok(mut connection) = Connection::unix(api).await else {
            return;
        };
        while self.write(&mut connection).await.is_ok() {
            let last = self.values.last().expect("just written");
            if last.read_or_end(&mut connection).await.is_err() {
                return;
            }
        }
    }

    /// Runs `encrypt` with the next value. If the command succeeds, the value counts as acknowledged.
    pub(crate) async fn one_shot(&mut self, stage: &Stage) {
        let (key, plaintext) = self.next_value();
        let encrypt = self.one_shot_command(stage, "encrypt", &key);
        let finished = Process::start(encrypt, &plaintext).finished().await;
        assert_no_panic(&finished);
        if finished.code == Some(0) {
            self.acknowledge(key, plaintext, finished.stdout);
        }
    }

    /// Replaces the configuration file atomically and returns the hash of the new one.
    ///
    /// Every configuration reads all values. The KMS and a key in the file take turns as the writing provider.
    pub(crate) fn change_configuration(&mut self) -> String {
        self.generation += 1;
        let kms = format!(
            "  - kms: {{apiVersion: v2, name: dekker, endpoint: \"unix://{}\", timeout: 3s}}\n",
            self.state.join("kms.sock").display()
        );
        let secret = BASE64_STANDARD.encode(LOCAL_KEY);
        let local = format!("  - aesgcm: {{keys: [{{name: local, secret: {secret}}}]}}\n");
        let providers = match self.generation % 2 {
            0 => [kms, local],
            _ => [local, kms],
        };
        let text = format!(
            "# {}\napiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [\"*.*\"]\n  providers:\n{}  - identity: {{}}\n",
            self.generation,
            providers.concat()
        );
        let new = self.disk.join("edited");
        fs::write(&new, &text).expect("our own directory");
        fs::rename(&new, self.configuration()).expect("our own directory");
        dekker_tests::object::sha256_text(text)
    }

    fn configuration(&self) -> PathBuf {
        self.disk.join("encryption-config.yaml")
    }

    /// Checks the files on disk: the configuration passes `dekker config check`; the keyring is complete, has every key that it ever had, and opens
    /// every value; no nonce occurs twice.
    pub(crate) async fn check_files(&mut self, stage: &Stage) {
        if self.configuration().exists() {
            let path = self.configuration();
            let path = path.to_str().expect("a path of ours");
            let checked = stage.run(&["config", "check", path], b"").await;
            assert_eq!(checked.code, Some(0), "{checked:?}");
        }
        let Some(keys) = KeysOnDisk::read(&self.disk) else {
            assert!(self.key_ids.is_empty() && self.values.is_empty(), "the keyring is gone");
            return;
        };
        let now: BTreeSet<_> = keys.ids().cloned().collect();
        assert!(now.is_superset(&self.key_ids), "the keyring lost a key");
        self.key_ids = now;
        for value in &self.values[self.noted..] {
            let Acknowledged { key, plaintext, stored } = value;
            self.nonces.note(&keys, key, plaintext, stored);
        }
        self.noted = self.values.len();
    }

    /// Encrypts one more value with a new server, which must use the first provider of the configuration on disk.
    pub(crate) async fn write_with_new(&mut self, server: &Server) {
        let mut connection = server.connect().await;
        self.write(&mut connection).await.expect("an answer");
        let last = self.values.last().expect("just written");
        let local = last.stored.starts_with(LOCAL_PREFIX);
        assert_eq!(local, self.generation % 2 == 1, "another provider wrote");
    }
}

impl Acknowledged {
    /// Reads the value, which must succeed.
    async fn read(&self, connection: &mut Connection) {
        self.read_or_end(connection).await.expect("an answer");
    }

    async fn read_or_end(&self, connection: &mut Connection) -> hyper::Result<()> {
        let answer = connection.read(self.key.as_bytes(), &self.stored).await?;
        assert_eq!(answer.status, 200, "{}: {}", self.key, answer.text());
        assert_eq!(answer.body, self.plaintext, "{}", self.key);
        Ok(())
    }
}

/// Puts other words before a command.
pub(crate) fn behind(program: &str, words: &[String], command: &Command) -> Command {
    let mut whole = Command::new(program);
    whole.args(words).arg(command.get_program()).args(command.get_args()).env_clear();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            whole.env(name, value);
        }
    }
    if let Some(directory) = command.get_current_dir() {
        whole.current_dir(directory);
    }
    whole
}

/// Waits for `micros` microseconds. Used where the moment must not depend on the server.
pub(crate) async fn pass(micros: u64) {
    let _ = tokio::time::timeout(Duration::from_micros(micros), pending::<()>()).await;
}

/// Kills a server and waits until it has ended.
pub(crate) async fn kill(process: &mut Process) {
    process.signal(Signal::KILL);
    process.ended().await;
    assert!(!process.stderr.text().contains("panicked"), "{}", process.stderr.text());
}

pub(crate) fn assert_no_panic(finished: &Finished) {
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}
