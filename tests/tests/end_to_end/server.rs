//! A running `dekker serve`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use hyper::Method;
use rustix::process::Signal;
use serde_json::Value;

use crate::http::{Answer, Connection};
use crate::process::Process;
use crate::stage::Stage;

pub(crate) struct Server {
    pub process: Process,
    /// The text that it prints when it is ready.
    pub banner: String,
    /// The transform API's socket.
    pub api: PathBuf,
    pub health: SocketAddr,
}

impl Stage {
    /// Starts `dekker serve` in this test's state directory and waits until it reports that it is ready.
    pub(crate) async fn serve(&self, args: &[&str]) -> Server {
        Server::start(self.serve_command(args)).await
    }

    pub(crate) fn serve_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(["serve", "--health-listen", "127.0.0.1:0", "--state-dir"]);
        command.arg(self.state()).args(args);
        command
    }

    /// Does the same as [`Stage::serve`], with this configuration.
    pub(crate) async fn serve_config(&self, config: &str, args: &[&str]) -> Server {
        let file = self.file("config.yaml", config);
        let mut command = self.serve_command(args);
        command.arg("--encryption-provider-config").arg(file);
        Server::start(command).await
    }
}

impl Server {
    pub(crate) async fn start(command: Command) -> Self {
        Self::ready(Process::start(command, b"")).await
    }

    /// Waits until a started process reports that it is ready.
    pub(crate) async fn ready(mut process: Process) -> Self {
        let banner = process.says("| dekker inspect\n").await;
        Self::of(process, banner)
    }

    /// Wraps a process that has already printed its banner.
    pub(crate) fn of(process: Process, banner: String) -> Self {
        let (api, health) = addresses(&banner);
        Self { api, health, process, banner }
    }

    /// Sends a GET request to the interface for health, metrics and status.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let mut connection = Connection::tcp(self.health).await.expect("it listens");
        let answer = connection.send(Method::GET, path, b"").await;
        answer.expect("an answer")
    }

    pub(crate) async fn status(&self) -> Value {
        self.get("/statusz").await.json()
    }

    pub(crate) async fn metrics(&self) -> String {
        String::from_utf8(self.get("/metrics").await.ok()).expect("text")
    }

    /// Opens a new connection to the transform API.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::unix(&self.api).await.expect("it listens")
    }

    /// Encrypts a secret; this must succeed.
    pub(crate) async fn write(&self, key: &str, plaintext: &[u8]) -> Vec<u8> {
        let answer = self.connect().await.write(key.as_bytes(), plaintext).await;
        answer.expect("an answer").ok()
    }

    /// Decrypts a secret.
    pub(crate) async fn read(&self, key: &str, stored: &[u8]) -> Answer {
        let answer = self.connect().await.read(key.as_bytes(), stored).await;
        answer.expect("an answer")
    }

    /// Decrypts a secret; this must succeed. Returns the plaintext, and whether it is stale.
    pub(crate) async fn read_well(&self, key: &str, stored: &[u8]) -> (Vec<u8>, bool) {
        let answer = self.read(key, stored).await;
        let stale = answer.header("dekker-stale").map(|stale| stale == "true");
        (answer.ok(), stale.expect("dekker-stale"))
    }

    /// Stops the server with SIGTERM and returns its standard error.
    ///
    /// # Panics
    /// Panics if its exit code is not 0.
    pub(crate) async fn stop(mut self) -> String {
        self.process.signal(Signal::TERM);
        let status = self.process.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.process.stderr.text());
        self.process.stderr.text()
    }
}

/// Parses the transform API's socket and the health address from a server's banner.
pub(crate) fn addresses(banner: &str) -> (PathBuf, SocketAddr) {
    let row = |name: &str| {
        let row = banner.lines().find_map(|line| line.trim_start().strip_prefix(name));
        row.unwrap_or_else(|| panic!("no {name:?} in {banner:?}")).trim()
    };
    let api = row("API socket").strip_prefix("unix://").expect("a unix socket");
    let health = row("health").strip_prefix("http://").and_then(|rest| rest.split('/').next());
    let health = health.expect("an address").parse().expect("an IP address and a port");
    (api.into(), health)
}

/// Returns the sum of a metric's samples that have these labels.
pub(crate) fn metric(text: &str, name: &str, labels: &[(&str, &str)]) -> f64 {
    let samples = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']))
            && labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")))
    });
    samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// Returns how many calls of a KMS method the metrics count.
pub(crate) fn kms_calls(metrics: &str, method: &str) -> f64 {
    let method = format!("/v2.KeyManagementService/{method}");
    metric(
        metrics,
        "apiserver_envelope_encryption_kms_operations_latency_seconds_count",
        &[("method_name", &method)],
    )
}
