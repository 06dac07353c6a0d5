//! Many starts and stops at once.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Signal;

use crate::http::Connection;
use crate::lanes::side_by_side;
use crate::life::{Life, READY, pass};
use crate::process::{Finished, Process};
use crate::seed::{choices, report};
use crate::server::addresses;
use crate::stage::{Stage, play};
use crate::wait::until;

/// 200 first starts: 10 rounds of 20 at once. Each server is a process of about 20 MB.
const ROUNDS: usize = 10;
const AT_ONCE: usize = 20;

/// 200 stops: 50 in each of 4 lanes.
const STOP_LANES: usize = 4;
const STOPS: usize = 50;

#[test]
fn all_of_200_concurrent_first_starts_succeed() {
    play(async |stage| {
        let choices = choices("concurrent first starts");
        let (mut died, mut stopped_badly) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut life = Life::new(&stage, &format!("round{round}"));
            let mut servers = start_together(&stage, &life, &mut died).await;
            // If a server died there may be no plugin, and the test fails anyway.
            if died.is_empty() {
                write_and_read_crosswise(&mut life, &servers).await;
                life.check_files(&stage).await;
            }
            for server in &servers {
                let signals = [Signal::TERM, Signal::INT];
                server.signal(signals[usize::from(choices.one_in(2))]);
            }
            for server in servers.drain(..) {
                let finished = server.finished().await;
                if !stopped_well(&finished) {
                    stopped_badly.push(finished);
                }
            }
            life.finish(&stage).await;
        }
        let starts = ROUNDS * AT_ONCE;
        report(&format!(
            "concurrent first starts: {starts}, died {}; stopped at the same time with a panic or another code than 0: {}",
            died.len(),
            stopped_badly.len()
        ));
        assert!(died.is_empty(), "{} died: {:?}", died.len(), died[0]);
        assert!(stopped_badly.is_empty(), "{:?}", stopped_badly[0]);
    });
}

/// Starts servers on one new state directory, and returns those that become ready. The others are added to `died`.
async fn start_together(stage: &Stage, life: &Life, died: &mut Vec<Finished>) -> Vec<Process> {
    let started: Vec<_> = (0..AT_ONCE)
        .map(|at| {
            let mut command = life.serve_command(stage);
            let socket = stage.path(&format!("{at}.sock"));
            command.arg(format!("--listen=unix://{}", socket.display()));
            Process::start(command, b"")
        })
        .collect();
    let mut ready = Vec::new();
    for process in started {
        let is_ready = until("a server is ready or dead", async || {
            let closed = process.stdout.is_closed();
            let said = process.stdout.text().contains(READY);
            (said || closed).then_some(said)
        })
        .await;
        if is_ready {
            ready.push(process);
        } else {
            died.push(process.finished().await);
        }
    }
    ready
}

/// Writes a value with each server and reads it with the next one.
async fn write_and_read_crosswise(life: &mut Life, servers: &[Process]) {
    let mut connections = Vec::new();
    for server in servers {
        let (api, _) = addresses(&server.stdout.text());
        connections.push(Connection::unix(&api).await.expect("it listens"));
    }
    for at in 0..connections.len() {
        // A server that started before its plugin may need another attempt.
        let next = (at + 1) % connections.len();
        let (key, plaintext) = life.next_value();
        let stored = until("a server writes", async || {
            let answer = connections[at].write(key.as_bytes(), &plaintext).await;
            let answer = answer.expect("an answer");
            (answer.status == 200).then(|| answer.ok())
        })
        .await;
        until("the next server reads", async || {
            let answer = connections[next].read(key.as_bytes(), &stored).await;
            let answer = answer.expect("an answer");
            (answer.status == 200 && answer.body == plaintext).then_some(())
        })
        .await;
        life.acknowledge(key, plaintext, stored);
    }
}

fn stopped_well(finished: &Finished) -> bool {
    finished.code == Some(0) && !finished.stderr.contains("panicked")
}

#[test]
fn no_panic_in_200_stops_under_load() {
    play(async |stage| {
        let (panics, bad_codes) = (AtomicU64::new(0), AtomicU64::new(0));
        side_by_side(STOP_LANES, async |lane| {
            let choices = choices(&format!("stops under load, lane {lane}"));
            let mut life = Life::new(&stage, &format!("lane{lane}"));
            for _ in 0..STOPS {
                let server = life.serve(&stage).await;
                let until_stop = async {
                    pass(choices.below(20_000)).await;
                    let signals = [Signal::TERM, Signal::INT];
                    server.process.signal(signals[usize::from(choices.one_in(2))]);
                };
                // The load ends when the server has closed its connection.
                tokio::join!(life.load(&server.api), until_stop);
                let finished = server.process.finished().await;
                let panicked = finished.stderr.contains("panicked");
                panics.fetch_add(u64::from(panicked), Ordering::Relaxed);
                let bad = finished.code != Some(0);
                bad_codes.fetch_add(u64::from(bad), Ordering::Relaxed);
                if panicked || bad {
                    eprintln!("{finished:?}");
                }
                life.check_files(&stage).await;
            }
            life.finish(&stage).await;
        });
        let (panics, bad_codes) = (panics.into_inner(), bad_codes.into_inner());
        report(&format!(
            "stops under load: {}, with a panic {panics}, with another code than 0 {bad_codes}",
            STOP_LANES * STOPS
        ));
        assert_eq!((panics, bad_codes), (0, 0), "panics and bad codes");
    });
}
