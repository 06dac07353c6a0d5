//! Sends kill -9 at random moments: while a server starts, serves or stops, and while keys rotate and the configuration changes.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::Signal;

use crate::lanes::side_by_side;
use crate::life::{Life, kill, pass};
use crate::process::Process;
use crate::seed::{self, Choices, choices, report};
use crate::stage::{Stage, play};

/// The number of state directories in use at the same time.
const LANES: u64 = 4;

/// 40 ms: the longest time before a starting server is killed. On an idle machine a start takes about a quarter of this.
const START: u64 = 40_000;

/// 60 ms: the longest time that a server serves before it is killed.
const SERVING: u64 = 60_000;

/// 5 ms: the longest time that a stopping server has before it is killed.
const STOPPING: u64 = 5_000;

#[test]
fn a_server_killed_at_random_moments_loses_no_value_and_repeats_no_nonce() {
    play(async |stage| {
        let kills = seed::kills();
        let (values, nonces) = (AtomicU64::new(0), AtomicU64::new(0));
        let lanes = usize::try_from(LANES).expect("a small number");
        side_by_side(lanes, async |lane| {
            let lane = lane as u64;
            let choices = choices(&format!("kills at random moments, lane {lane}"));
            let mut life = Life::new(&stage, &format!("lane{lane}"));
            let share = kills / LANES + u64::from(lane < kills % LANES);
            for _ in 0..share {
                one_kill(&stage, &mut life, &choices).await;
                life.check_files(&stage).await;
            }
            let life = life.finish(&stage).await;
            values.fetch_add(life.values() as u64, Ordering::Relaxed);
            nonces.fetch_add(life.nonces() as u64, Ordering::Relaxed);
        });
        report(&format!(
            "kills at random moments: {kills}; {} acknowledged values read back, {} nonces all different",
            values.into_inner(),
            nonces.into_inner()
        ));
    });
}

async fn one_kill(stage: &Stage, life: &mut Life, choices: &Choices) {
    if choices.one_in(4) {
        let mut process = Process::start(life.serve_command(stage), b"");
        pass(choices.below(START)).await;
        kill(&mut process).await;
        return;
    }
    let mut server = life.serve(stage).await;
    let beside = choices.below(4);
    let mut rotation = None;
    match beside {
        0 => rotation = Some(Process::start(life.rotate_command(stage), b"")),
        1 => {
            life.change_configuration();
            server.process.signal(Signal::HUP);
        }
        2 => life.one_shot(stage).await,
        _ => {}
    }
    let moment = pass(choices.below(SERVING));
    tokio::select! {
        () = moment => {}
        () = life.load(&server.api) => panic!("a server that serves ended a connection"),
    }
    if choices.one_in(4) {
        server.process.signal(Signal::TERM);
        pass(choices.below(STOPPING)).await;
    }
    if let Some(rotation) = &mut rotation {
        kill(rotation).await;
    }
    kill(&mut server.process).await;
}
