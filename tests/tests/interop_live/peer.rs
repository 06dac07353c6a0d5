//! The peer: a process with upstream's code, which answers each line of JSON with a line of JSON.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::LazyLock;
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dekker_tests::interop::skip;
use serde::{Deserialize, Serialize};

use crate::kms_v1::Mood;
use crate::stage::{self, Stage};

/// A running peer. It exits at the end of its standard input.
pub(crate) struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

#[derive(Default, Serialize)]
struct Request<'a> {
    op: &'a str,
    name: &'a str,
    config: &'a str,
    reload: bool,
    keys: &'a [&'a str],
    #[serde(rename = "serverId")]
    server_id: &'a str,
    resource: &'a str,
    key: String,
    plaintext: String,
    stored: String,
    path: &'a str,
    mood: Mood,
}

/// The peer's answer; absent fields are empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Answer {
    pub error: String,
    plaintext: String,
    stored: String,
    stale: bool,
    pub status: u16,
    pub body: String,
    pub headers: std::collections::BTreeMap<String, String>,
    reloads: Option<Reloads>,
    samples: Vec<Sample>,
}

/// One value of a metric. For a histogram it is the count, under a name that ends in `_count`.
#[derive(Debug, Deserialize)]
pub(crate) struct Sample {
    pub name: String,
    pub labels: std::collections::BTreeMap<String, String>,
    pub value: f64,
}

/// The state of a controller.
#[derive(Debug, Deserialize)]
pub(crate) struct Reloads {
    /// The number of polls that have begun.
    pub begun: u64,
    /// The number of polls that have ended.
    pub ended: u64,
    /// The error of the last poll that has ended; empty if there was none.
    pub error: String,
    pub success: f64,
    pub failure: f64,
    /// The hash in `last_config_info`.
    pub hash: String,
}

/// The result of a read: the plaintext and whether it is stale, or an error.
pub(crate) type Read = Result<(Vec<u8>, bool), String>;

/// The program: the one that `DEKKER_INTEROP_PEER` names, otherwise one that is built here, once. The error is the reason why there is none.
static PROGRAM: LazyLock<Result<PathBuf, String>> = LazyLock::new(|| {
    if let Some(named) = env::var_os("DEKKER_INTEROP_PEER") {
        return fs::canonicalize(named).map_err(|error| format!("DEKKER_INTEROP_PEER: {error}"));
    }
    if env::var_os("DEKKER_INTEROP").is_some_and(|value| value == "off") {
        return Err("DEKKER_INTEROP=off".into());
    }
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop");
    let mut build = Command::new("go");
    build.arg("build").arg("-o").arg(&program).arg(".").current_dir(source);
    match build.output() {
        Ok(output) if output.status.success() => Ok(program),
        Ok(output) => panic!("{build:?}: {}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => Err(format!("go: {error}")),
    }
});

/// Runs a test that needs a peer.
pub(crate) fn play(what: &str, test: impl AsyncFnOnce(Stage)) {
    match &*PROGRAM {
        Ok(_) => stage::play(test),
        Err(why) if why == "DEKKER_INTEROP=off" => {
            let _ = writeln!(std::io::stderr(), "SKIPPED {what}: {why}");
        }
        Err(why) => skip(what, why),
    }
}

impl Peer {
    /// Starts a peer.
    pub(crate) fn start() -> Self {
        let program = PROGRAM.as_ref().expect("a program: see `play`");
        let mut child = Command::new(program)
            .arg("peer")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it was built to run");
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    fn ask(&mut self, request: &Request) -> Answer {
        let mut line = serde_json::to_string(request).expect("JSON");
        line.push('\n');
        let input = self.input.as_mut().expect("until it is dropped");
        input.write_all(line.as_bytes()).expect("it reads");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }

    /// Loads a configuration file, as kube-apiserver does when it starts. KMS v2 providers in `keys` write keys instead of seeds.
    pub(crate) fn load(&mut self, name: &str, config: &Path, reload: bool, keys: &[&str]) {
        let config = config.to_str().expect("our own path");
        let answer =
            self.ask(&Request { op: "load", name, config, reload, keys, ..Request::default() });
        assert_eq!(answer.error, "", "{name}");
    }

    /// Does the same as [`Peer::load`], as a server with this ID.
    pub(crate) fn load_as(&mut self, name: &str, config: &Path, server_id: &str) {
        let answer = self.ask(&Request {
            op: "load",
            name,
            config: config.to_str().expect("our own path"),
            server_id,
            ..Request::default()
        });
        assert_eq!(answer.error, "", "{name}");
    }

    /// Loads a configuration file and polls it for changes five times a second.
    pub(crate) fn watch(&mut self, name: &str, config: &Path) {
        let config = config.to_str().expect("our own path");
        let answer = self.ask(&Request { op: "watch", name, config, ..Request::default() });
        assert_eq!(answer.error, "", "{name}");
    }

    /// Returns the state of the controller that [`Peer::watch`] started.
    pub(crate) fn reloads(&mut self, name: &str) -> Reloads {
        let answer = self.ask(&Request { op: "reloads", name, ..Request::default() });
        assert_eq!(answer.error, "", "{name}");
        answer.reloads.expect("it has no error")
    }

    /// Releases what [`Peer::load`] loaded.
    pub(crate) fn close(&mut self, name: &str) {
        self.ask(&Request { op: "close", name, ..Request::default() });
    }

    /// Writes a value; this must succeed.
    pub(crate) fn write(
        &mut self,
        name: &str,
        resource: &str,
        key: &[u8],
        plaintext: &[u8],
    ) -> Vec<u8> {
        let stored = self.try_write(name, resource, key, plaintext);
        stored.unwrap_or_else(|error| panic!("{name}: {resource}: {error}"))
    }

    /// Writes a value.
    pub(crate) fn try_write(
        &mut self,
        name: &str,
        resource: &str,
        key: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, String> {
        let answer = self.ask(&Request {
            op: "write",
            name,
            resource,
            key: STANDARD.encode(key),
            plaintext: STANDARD.encode(plaintext),
            ..Request::default()
        });
        if !answer.error.is_empty() {
            return Err(answer.error);
        }
        Ok(STANDARD.decode(answer.stored).expect("base64"))
    }

    /// Returns the metrics of the peer's process.
    pub(crate) fn metrics(&mut self) -> Vec<Sample> {
        let answer = self.ask(&Request { op: "metrics", ..Request::default() });
        assert_eq!(answer.error, "");
        answer.samples
    }

    /// Reads a value.
    pub(crate) fn read(&mut self, name: &str, resource: &str, key: &[u8], stored: &[u8]) -> Read {
        let answer = self.ask(&Request {
            op: "read",
            name,
            resource,
            key: STANDARD.encode(key),
            stored: STANDARD.encode(stored),
            ..Request::default()
        });
        if !answer.error.is_empty() {
            return Err(answer.error);
        }
        Ok((STANDARD.decode(answer.plaintext).expect("base64"), answer.stale))
    }

    /// Makes the peer serve a KMS v1 plugin, or changes its answers.
    pub(crate) fn plugin(&mut self, socket: &Path, mood: Mood) {
        let path = socket.to_str().expect("our own path");
        let answer = self.ask(&Request { op: "plugin", path, mood, ..Request::default() });
        assert_eq!(answer.error, "", "{path}");
    }

    /// Sends a request to a health endpoint.
    pub(crate) fn health(&mut self, name: &str, path: &str) -> Answer {
        self.ask(&Request { op: "health", name, path, ..Request::default() })
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.input = None;
        // This fails if the peer has already exited.
        let _ = self.child.wait();
    }
}
