//! KMS clients in use elsewhere, each in its own process (`tests/clients`), against `dekker kms serve`: two versions of kube-apiserver's own client,
//! gRPC's C core and @grpc/grpc-js, each with its defaults. kube-apiserver up to 1.31 and the C core send the socket's path as `:authority`.
//!
//! `cargo xtask test clients` builds them and names them in environment variables. A client that is not named is skipped with a message; in CI the
//! test fails unless `DEKKER_CLIENTS=off`.

#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/process.rs"]
mod process;
#[path = "kms_clients/rogue.rs"]
mod rogue;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/stage.rs"]
mod stage;
#[allow(dead_code, reason = "the end-to-end tests use the rest")]
#[path = "end_to_end/wait.rs"]
mod wait;

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use std::time::Duration;

use dekker_host::kms::address::SocketAddress;
use dekker_host::kms::client::KmsClient;
use rustix::process::Signal;
use serde::Deserialize;

use process::Process;
use rogue::Rogue;
use stage::Stage;

/// The number of rounds. Each round is a Status, an Encrypt and a Decrypt.
const ROUNDS: usize = 1000;

/// A client process. It exits at the end of its standard input.
struct Client {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

/// The result of a request.
#[derive(Debug, Deserialize)]
struct Answer {
    done: usize,
    faults: BTreeMap<String, usize>,
}

impl Client {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            input: child.stdin.take(),
            output: BufReader::new(child.stdout.take().expect("piped")),
            child,
        }
    }

    fn rounds(&mut self, number: usize, parallel: usize) -> Answer {
        self.ask(&format!("rounds {number} {parallel}"))
    }

    fn ask(&mut self, line: &str) -> Answer {
        let input = self.input.as_mut().expect("until it is dropped");
        writeln!(input, "{line}").expect("it reads");
        let mut answer = String::new();
        self.output.read_line(&mut answer).expect("it answers");
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.input = None;
        // This fails if the client has already exited.
        let _ = self.child.wait();
    }
}

/// Starts `dekker kms serve` and waits until it is ready.
async fn serve(stage: &Stage, socket: &Path) -> Process {
    let state = stage.state();
    let mut command = stage.command(["kms", "serve", "--state-dir"]);
    command.arg(state);
    command.arg("--listen").arg(format!("unix://{}", socket.display()));
    let mut server = Process::start(command, b"");
    server.says("KMS v2 plugin at").await;
    server
}

/// Runs rounds one after the other, rounds at the same time, and rounds over a connection that has to be re-established.
fn play(variable: &str, client: impl FnOnce(&str, &str) -> Command) {
    let Some(program) = named(variable) else {
        return;
    };
    stage::play(async |stage| {
        let socket = stage.path("kms.sock");
        let mut server = serve(&stage, &socket).await;
        let endpoint = format!("unix://{}", socket.display());
        let mut client = Client::start(client(&program, &endpoint));
        let well = |what: &str, answer: Answer, number: usize| {
            println!("{variable}: {what}: {} of {number} rounds, 3 calls each", answer.done);
            assert!(answer.faults.is_empty(), "{what}: {answer:?}");
            assert_eq!(answer.done, number, "{what}");
        };
        well("one after the other", client.rounds(ROUNDS, 1), ROUNDS);
        well("a hundred at once", client.rounds(ROUNDS, 100), ROUNDS);
        for signal in [Signal::TERM, Signal::KILL] {
            server.signal(signal);
            server.ended().await;
            server = serve(&stage, &socket).await;
            well("after a restart", client.rounds(ROUNDS / 10, 1), ROUNDS / 10);
        }
        drop(client);
        server.signal(Signal::TERM);
        server.ended().await;
        let said = server.stderr.text();
        assert!(!said.contains("refused"), "{said}");
    });
}

/// Returns the client that a variable names.
fn named(variable: &str) -> Option<String> {
    if let Ok(program) = env::var(variable) {
        return Some(program);
    }
    let why = format!("{variable} names no client: cargo xtask test clients");
    let off = env::var("DEKKER_CLIENTS").is_ok_and(|value| value == "off");
    let in_ci = env::var("CI").is_ok_and(|ci| ci == "true");
    assert!(off || !in_ci, "nothing is skipped in CI: {why}");
    stage::skip(&why);
    None
}

fn program(program: &str, endpoint: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(endpoint);
    command
}

fn script(script: &'static str) -> impl FnOnce(&str, &str) -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(script);
    move |interpreter, endpoint| {
        let mut command = Command::new(interpreter);
        command.arg(script).arg(endpoint);
        command
    }
}

#[test]
fn kube_apiserver_1_31_is_served() {
    play("DEKKER_CLIENT_KUBE_1_31", program);
}

#[test]
fn kube_apiserver_1_37_is_served() {
    play("DEKKER_CLIENT_KUBE_1_37", program);
}

#[test]
fn grpcs_c_core_is_served() {
    play("DEKKER_CLIENT_PYTHON", script("python/client.py"));
}

#[test]
fn grpc_js_is_served() {
    play("DEKKER_CLIENT_NODE", script("node/client.js"));
}

/// Returns the part of an error that people see.
fn shown(error: &str, case: &rogue::Case) -> String {
    error.get(..case.says.len()).unwrap_or(error).to_owned()
}

#[tokio::test]
async fn plugin_answers_are_reported_as_in_kube_apiserver() {
    for case in rogue::cases() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("kms.sock");
        let plugin = Rogue::serve(&socket, &case);
        let client = KmsClient::v2(SocketAddress::Path(socket), Duration::from_secs(20));
        let error = client.status().await.expect_err(case.desc);
        assert_eq!(shown(&error.to_string(), &case), case.says, "{}", case.desc);
        assert!(error.message.len() <= 4096, "{}", case.desc);
        assert_eq!(plugin.asked(), 1, "{}: it was answered", case.desc);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kube_apiserver_reports_the_same_errors() {
    let Some(program) = named("DEKKER_CLIENT_KUBE_1_37") else {
        return;
    };
    for case in rogue::cases() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let socket = dir.path().join("kms.sock");
        let _plugin = Rogue::serve(&socket, &case);
        let mut command = Command::new(&program);
        command.arg(format!("unix://{}", socket.display()));
        let answer = Client::start(command).ask("status");
        let error = answer.faults.keys().next().expect(case.desc);
        assert_eq!(shown(error, &case), case.says, "{}", case.desc);
    }
}
