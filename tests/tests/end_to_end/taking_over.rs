//! Several processes with one state directory: one of them serves the plugin, and when it ends another one takes over.

use std::fs::{self, File, TryLockError};
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::process::Process;
use crate::server::Server;
use crate::stage::{Stage, play};
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";
const PLAINTEXT: &[u8] = b"hunter2";

/// Starts one of several servers on the state directory.
async fn serve(stage: &Stage, n: usize) -> Server {
    let socket = stage.path(&format!("api{n}.sock"));
    let listen = format!("unix://{}", socket.display());
    stage.serve(&["--listen", &listen]).await
}

async fn standing(server: &Server) -> String {
    let status = server.status().await;
    let standing = status["embeddedPlugin"]["standing"].as_str();
    standing.unwrap_or_else(|| panic!("no standing in {status}")).to_owned()
}

async fn until_one_serves(servers: &[Server]) -> usize {
    until("one of them serves the plugin", async || {
        for (n, server) in servers.iter().enumerate() {
            if standing(server).await == "serving" {
                return Some(n);
            }
        }
        None
    })
    .await
}

/// Returns whether the plugin's owner holds the lock; the lock file must exist.
fn is_locked(lock: &Path) -> bool {
    let lock = File::open(lock).expect("a lock file");
    matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
}

#[test]
fn when_the_owner_is_killed_another_server_takes_over_and_all_are_healthy_again() {
    play(async |stage| {
        let mut servers = Vec::new();
        for n in 0..4 {
            servers.push(serve(&stage, n).await);
        }
        let stored = servers[0].write(KEY, PLAINTEXT).await;
        assert_eq!(standing(&servers[0]).await, "serving");
        for server in &servers[1..] {
            assert!(
                server.banner.contains("served by another process; this one takes over"),
                "{}",
                server.banner
            );
        }
        let state = stage.state().display().to_string();
        while servers.len() > 1 {
            let owner = until_one_serves(&servers).await;
            // Dropping the server sends SIGKILL.
            drop(servers.remove(owner));
            let next = until_one_serves(&servers).await;
            let args = ["kms", "status", "--state-dir", &state];
            stage.run(&args, b"").await.done();
            for server in &servers {
                until("all are healthy again", async || {
                    (server.get("/readyz").await.status == 200).then_some(())
                })
                .await;
                assert_eq!(server.read_well(KEY, &stored).await.0, PLAINTEXT);
                let fresh = server.write(KEY, PLAINTEXT).await;
                assert_eq!(servers[next].read_well(KEY, &fresh).await.0, PLAINTEXT);
            }
        }
    });
}

#[test]
fn each_of_two_servers_started_after_a_kill_survives_the_other() {
    play(async |stage| {
        drop(serve(&stage, 0).await);
        assert!(stage.state().join("kms.sock").exists(), "it was killed");
        let start = |n: usize| {
            let socket = stage.path(&format!("api{n}.sock"));
            let listen = format!("unix://{}", socket.display());
            Process::start(stage.serve_command(&["--listen", &listen]), b"")
        };
        let [first, second] = [1, 2].map(start);
        let mut servers = vec![Server::ready(first).await, Server::ready(second).await];
        let owner = until_one_serves(&servers).await;
        let stored = servers[owner].write(KEY, PLAINTEXT).await;
        servers.remove(owner).stop().await;
        until_one_serves(&servers).await;
        until("the other is healthy", async || {
            (servers[0].get("/readyz").await.status == 200).then_some(())
        })
        .await;
        assert_eq!(servers[0].read_well(KEY, &stored).await.0, PLAINTEXT);
    });
}

#[test]
fn the_plugin_alone_and_a_server_take_over_from_each_other() {
    play(async |stage| {
        let server = serve(&stage, 0).await;
        let state = stage.state().display().to_string();
        let args = ["kms", "serve", "--state-dir", &state];
        let mut alone = Process::start(stage.command(args), b"");
        alone.says("another process serves unix://").await;
        drop(server);
        alone.says("KMS v2 plugin at unix://").await;
        let status = ["kms", "status", "--state-dir", &state];
        stage.run(&status, b"").await.done();

        let server = serve(&stage, 1).await;
        assert_eq!(standing(&server).await, "elsewhere");
        alone.signal(Signal::TERM);
        assert_eq!(alone.ended().await.code(), Some(0));
        let servers = [server];
        until_one_serves(&servers).await;
        servers[0].write(KEY, PLAINTEXT).await;
    });
}

fn one_shot(stage: &Stage, direction: &str) -> Command {
    let mut command = stage.command([direction, "--resource", "secrets", "--key", KEY]);
    command.arg("--state-dir").arg(stage.state());
    command
}

#[test]
fn a_command_for_one_value_neither_claims_nor_needs_the_plugins_socket() {
    play(async |stage| {
        let run = async |direction: &str, input: &[u8]| {
            let process = Process::start(one_shot(&stage, direction), input);
            process.finished().await.done()
        };
        let stored = run("encrypt", PLAINTEXT).await;
        assert_eq!(run("decrypt", &stored).await, PLAINTEXT);
        let state = stage.state();
        for name in ["kms.sock", "kms.sock.lock"] {
            assert!(!state.join(name).exists(), "{name} is a server's");
        }

        let server = serve(&stage, 0).await;
        assert!(is_locked(&state.join("kms.sock.lock")));
        // The server is suspended, so a command that asked its plugin would not get an answer.
        server.process.signal(Signal::STOP);
        let beside = run("encrypt", PLAINTEXT).await;
        assert_eq!(run("decrypt", &beside).await, PLAINTEXT);
        server.process.signal(Signal::CONT);
        assert_eq!(server.read_well(KEY, &beside).await.0, PLAINTEXT);
        assert_eq!(standing(&server).await, "serving");

        // A hundred commands beside the server at the same time leave it as healthy as before.
        let commands = (0..100).map(|_| Process::start(one_shot(&stage, "decrypt"), &stored));
        for command in commands.collect::<Vec<_>>() {
            assert_eq!(command.finished().await.done(), PLAINTEXT);
        }
        assert_eq!(standing(&server).await, "serving");
        assert_eq!(server.get("/readyz").await.status, 200);
    });
}

#[test]
fn a_command_calls_the_plugin_that_its_configuration_names() {
    play(async |stage| {
        let socket = stage.path("other.sock");
        let plugin = crate::scripted::Scripted::serve(&socket, "key-1");
        fs::create_dir(stage.state()).expect("our own directory");
        fs::write(
            stage.state().join("encryption-config.yaml"),
            crate::stage::kms_config(&[("other", &socket)]),
        )
        .expect("our own file");
        let encrypt = Process::start(one_shot(&stage, "encrypt"), PLAINTEXT);
        let stored = encrypt.finished().await.done();
        assert!(stored.starts_with(b"k8s:enc:kms:v2:other:"));
        assert_eq!(plugin.calls().encrypt, 1);
        let decrypt = Process::start(one_shot(&stage, "decrypt"), &stored);
        assert_eq!(decrypt.finished().await.done(), PLAINTEXT);
        assert!(!stage.state().join("keyring.json").exists());
    });
}
