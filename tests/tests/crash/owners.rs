//! Which process serves Dekker's own plugin when several processes work in one state directory.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use crate::lanes::side_by_side;
use crate::life::{Life, READY, kill};
use crate::process::Process;
use crate::seed::report;
use crate::server::Server;
use crate::stage::{Stage, play};
use crate::tracer::{End, Then, Traced, may_trace};
use crate::wait::until;

/// Waits until the plugin in the directory answers, regardless of the process that serves it.
async fn until_plugin_answers(stage: &Stage, life: &Life) {
    until("the plugin answers", async || {
        let status = Process::start(life.command(stage, &["kms", "status"]), b"");
        (status.finished().await.code == Some(0)).then_some(())
    })
    .await;
}

/// Waits until the server is ready, and writes a value with it.
async fn until_serves(stage: &Stage, life: &mut Life, server: &Server) {
    until_plugin_answers(stage, life).await;
    until("the server is ready", async || {
        (server.get("/readyz").await.status == 200).then_some(())
    })
    .await;
    let mut connection = server.connect().await;
    life.write(&mut connection).await.expect("an answer");
}

/// Whether a process waits for a file lock.
fn waits_for_lock(pid: u32) -> bool {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let pid = pid.to_string();
    locks.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next() == Some("->") && words.any(|word| word == pid)
    })
}

/// Holds a one-shot command at its `at`-th call that writes, starts a server, and lets the command end after the server has started. Returns the
/// command's output, or `None` if it ended before the `at`-th call.
async fn one_shot_ends_after_start(
    stage: &Stage,
    life: &mut Life,
    command: Command,
    at: u64,
) -> Option<Vec<u8>> {
    let one_shot = Traced::start(command, Some((at, Then::Hold))).expect("permitted before");
    one_shot.hit_or_ended().await.hit.as_ref()?;
    let mut process = Process::start(life.serve_command(stage), b"");
    until("the server is ready or waits for the command", async || {
        let ready = process.stdout.text().contains(READY);
        assert!(!process.stdout.is_closed() || ready, "{}", process.stderr.text());
        (ready || waits_for_lock(process.id())).then_some(())
    })
    .await;
    one_shot.release();
    let end = one_shot.ended().await;
    assert_eq!(end, End::Exit(0), "{}", one_shot.stderr.text());
    let banner = process.says(READY).await;
    let server = Server::of(process, banner);
    until_serves(stage, life, &server).await;
    let log = server.stop().await;
    assert!(!log.contains("panicked"), "{log}");
    Some(one_shot.stdout.bytes())
}

#[test]
fn a_command_that_ends_after_the_server_started_leaves_the_plugin_to_it() {
    if !may_trace() {
        return;
    }
    play(async |stage| {
        side_by_side(2, async |lane| {
            let mut life = Life::new(&stage, &format!("lane{lane}"));
            life.serve(&stage).await.stop().await;
            let what = ["encrypt", "decrypt"][lane];
            let input = stage.path(what);
            fs::write(&input, "").expect("our own directory");
            let mut orders = 0;
            for at in 1.. {
                // A new storage key each time. The value encrypted under it is decrypted under the same key.
                let (key, plaintext) = life.next_value();
                if what == "encrypt" {
                    fs::write(&input, &plaintext).expect("our own directory");
                } else {
                    let encrypt = life.one_shot_command(&stage, "encrypt", &key);
                    let stored = Process::start(encrypt, &plaintext).finished().await.done();
                    fs::write(&input, &stored).expect("our own directory");
                    life.acknowledge(key.clone(), plaintext.clone(), stored);
                }
                let mut command = life.one_shot_command(&stage, what, &key);
                command.stdin(fs::File::open(&input).expect("just written"));
                let written = life.values();
                let Some(output) = one_shot_ends_after_start(&stage, &mut life, command, at).await
                else {
                    break;
                };
                orders += 1;
                match what {
                    "decrypt" => assert_eq!(output, plaintext),
                    _ => {
                        assert!(life.values() > written);
                        life.acknowledge(key, plaintext, output);
                    }
                }
            }
            life.finish(&stage).await;
            report(&format!("orders in which `{what}` ended beside a starting server: {orders}"));
        });
    });
}

#[test]
fn another_server_takes_over_the_plugin_when_its_owner_is_killed() {
    play(async |stage| {
        let mut life = Life::new(&stage, "state");
        let mut owner = life.serve(&stage).await;
        let mut other = second(&stage, &life).await;
        for signal in [Signal::KILL, Signal::TERM, Signal::KILL] {
            assert_eq!(other.get("/readyz").await.status, 200);
            if signal == Signal::KILL {
                kill(&mut owner.process).await;
            } else {
                owner.process.signal(signal);
                owner.process.ended().await;
            }
            until_serves(&stage, &mut life, &other).await;
            // Another server starts. In the next round the server that took over is the one that ends.
            let next = match other.api.ends_with("api.sock") {
                true => second(&stage, &life).await,
                false => life.serve(&stage).await,
            };
            owner = std::mem::replace(&mut other, next);
        }
        owner.stop().await;
        until_serves(&stage, &mut life, &other).await;
        other.stop().await;
        life.finish(&stage).await;
    });
}

/// Starts a server on the same directory that listens on another socket.
async fn second(stage: &Stage, life: &Life) -> Server {
    let mut command = life.serve_command(stage);
    let socket = stage.path("other.sock");
    command.arg(format!("--listen=unix://{}", socket.display()));
    Server::start(command).await
}

#[test]
fn commands_beside_a_server_leave_it_healthy() {
    play(async |stage| {
        let mut life = Life::new(&stage, "state");
        // The commands run before the server, and one is killed. The files that it leaves must not stop the server.
        life.one_shot(&stage).await;
        let (key, _) = life.next_value();
        let mut killed = Process::start(life.one_shot_command(&stage, "encrypt", &key), b"x");
        kill(&mut killed).await;
        let server = life.serve(&stage).await;
        for _ in 0..5 {
            life.one_shot(&stage).await;
            until_serves(&stage, &mut life, &server).await;
        }
        server.stop().await;
        life.one_shot(&stage).await;
        life.finish(&stage).await;
    });
}
