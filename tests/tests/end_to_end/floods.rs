//! Floods of one interface or of one provider must not stop reads elsewhere.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::http::{Connection, target};
use crate::scripted::Scripted;
use crate::server::Server;
use crate::stage::{Stage, play};
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";

/// The number of timed reads.
const READS: usize = 300;

/// The number of concurrent requests in a flood.
const FLOOD: usize = 64;

/// The number of writes that wait for a plugin, each on a separate connection: twice as many as a server has idle connections.
const WAITING: u64 = 1100;

/// A file in which `secrets` have a plugin that works. `pods` and `configmaps` have plugins, of both versions, that accept connections and never
/// answer.
fn config(works: &Path, hangs: &Path) -> String {
    let (works, hangs) = (works.display(), hangs.display());
    format!(
        "apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers:
  - kms: {{apiVersion: v2, name: works, endpoint: \"unix://{works}\"}}
- resources: [pods]
  providers:
  - kms: {{apiVersion: v2, name: hangs, endpoint: \"unix://{hangs}\", timeout: 5s}}
- resources: [configmaps]
  providers:
  - kms: {{apiVersion: v1, name: hangs-too, endpoint: \"unix://{hangs}\", timeout: 5s}}
"
    )
}

/// Concurrent connections that each send a request as soon as the previous one is answered, until this is dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    tasks: JoinSet<()>,
}

impl Flood {
    async fn start(server: &Server, is_health: bool, method: Method, target: &str) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let mut tasks = JoinSet::new();
        for _ in 0..FLOOD {
            let mut connection = connection(server, is_health).await;
            let (stop, answered) = (stop.clone(), answered.clone());
            let (method, target) = (method.clone(), target.to_owned());
            tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    if connection.send(method.clone(), &target, b"x").await.is_err() {
                        return;
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { stop, answered, tasks }
    }

    async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        self.answered.load(Ordering::Relaxed)
    }
}

async fn connection(server: &Server, is_health: bool) -> Connection {
    if is_health {
        Connection::tcp(server.health).await.expect("it listens")
    } else {
        server.connect().await
    }
}

/// Makes reads, each of which must succeed, and returns the median and the longest duration.
async fn reads(server: &Server, stored: &[u8]) -> (Duration, Duration) {
    let mut connection = server.connect().await;
    let mut took = Vec::new();
    for _ in 0..READS {
        let start = Instant::now();
        let answer = connection.read(KEY.as_bytes(), stored).await;
        assert_eq!(answer.expect("an answer").ok(), b"hunter2");
        took.push(start.elapsed());
    }
    took.sort_unstable();
    (took[READS / 2], took[READS - 1])
}

async fn start(stage: &Stage) -> (Scripted, UnixListener, Server, Vec<u8>) {
    let (works, hangs) = (stage.path("works.sock"), stage.path("hangs.sock"));
    let plugin = Scripted::serve(&works, "key-1");
    let silent = UnixListener::bind(&hangs).expect("a free socket");
    let file = stage.file("config.yaml", config(&works, &hangs));
    let mut command = stage.serve_command(&["--workers", "2", "--encryption-provider-config"]);
    command.arg(file);
    let server = Server::start(command).await;
    let stored = server.write(KEY, b"hunter2").await;
    (plugin, silent, server, stored)
}

#[test]
fn reads_continue_under_floods_of_health_and_metrics() {
    play(async |stage| {
        let (_plugin, _silent, server, stored) = start(&stage).await;
        let (idle, _) = reads(&server, &stored).await;
        println!("reads, p50: {idle:?} without a flood");
        for path in ["/readyz", "/metrics", "/statusz", "/livez"] {
            let flood = Flood::start(&server, true, Method::GET, path).await;
            let (median, slowest) = reads(&server, &stored).await;
            let answered = flood.end().await;
            println!(
                "reads, p50: {median:?} (slowest {slowest:?}) under {FLOOD} clients of {path}, {answered} answered"
            );
        }
        server.stop().await;
    });
}

#[test]
fn reads_continue_while_writes_wait_for_a_plugin_that_hangs() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised");
    play(async |stage| {
        let (_plugin, _silent, server, stored) = start(&stage).await;
        let (idle, _) = reads(&server, &stored).await;
        for resource in ["configmaps", "pods"] {
            let to = target("to-storage", resource, b"/k");
            let mut tasks = JoinSet::new();
            for _ in 0..WAITING {
                let mut connection = server.connect().await;
                let to = to.clone();
                tasks.spawn(async move { connection.send(Method::POST, &to, b"x").await });
            }
            // With KMS v1 each write waits for its DEK. The v2 provider is already known to be unhealthy, so its writes fail at once.
            if resource == "configmaps" {
                until("they wait", async || {
                    let status = server.status().await;
                    let parked = status["parkedOperations"].as_u64().expect("a number");
                    (parked == WAITING).then_some(())
                })
                .await;
            }
            let (median, slowest) = reads(&server, &stored).await;
            println!(
                "reads, p50: {median:?} (slowest {slowest:?}) beside {WAITING} writes of {resource} to a plugin that hangs; {idle:?} without"
            );
            while let Some(ended) = tasks.join_next().await {
                let answer = ended.expect("no panic").expect("an answer");
                assert!([502, 503].contains(&answer.status), "{answer:?}");
            }
        }
        server.stop().await;
    });
}
