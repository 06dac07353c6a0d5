//! Sends kill -9 at the first call that writes, then at the second, and so on, until a phase of a server's life ends without reaching the call.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;

use crate::http::Connection;
use crate::lanes::side_by_side;
use crate::life::{Life, READY};
use crate::seed::report;
use crate::server::addresses;
use crate::stage::{Stage, play};
use crate::tracer::{End, Seen, Then, Traced, may_trace};
use crate::wait::until;

/// The number of state directories in use at the same time.
const LANES: usize = 2;

/// Runs a phase with a kill at each call. `phase` returns the call at which the server was killed, or `None` if the phase ended before that call.
fn at_each_call(what: &str, phase: impl AsyncFn(&Stage, &mut Life, u64) -> Option<String> + Sync) {
    if !may_trace() {
        return;
    }
    play(async |stage| {
        let (next, over, kills) = (AtomicU64::new(1), AtomicBool::new(false), AtomicU64::new(0));
        side_by_side(LANES, async |lane| {
            let mut life = Life::new(&stage, &format!("lane{lane}"));
            life.serve(&stage).await.stop().await;
            while !over.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                match phase(&stage, &mut life, at).await {
                    Some(_) => kills.fetch_add(1, Ordering::Relaxed),
                    None => {
                        over.store(true, Ordering::Relaxed);
                        0
                    }
                };
            }
            life.finish(&stage).await;
        });
        report(&format!("kills at each call that writes, {what}: {}", kills.into_inner()));
    });
}

/// Waits until a server is ready or was killed. Returns `None` if it is ready.
async fn ready_or_hit(traced: &Traced) -> Option<Seen> {
    until("a traced server is ready or killed", async || {
        let seen = traced.seen();
        if seen.hit.is_some() || seen.end.is_some() {
            return Some(Some(seen));
        }
        traced.stdout.text().contains(READY).then_some(None)
    })
    .await
}

/// Waits for the end of a killed server and returns the call at which it was killed.
async fn killed(traced: &Traced, seen: Seen) -> String {
    let end = traced.ended().await;
    let Some(hit) = seen.hit else {
        panic!("it ended without being killed: {end:?}: {}", traced.stderr.text());
    };
    assert_eq!(end, End::Signal(libc::SIGKILL), "at {hit}");
    hit
}

async fn traced(stage: &Stage, life: &Life, at: Option<(u64, Then)>) -> Traced {
    Traced::start(life.serve_command(stage), at).expect("it was permitted before")
}

/// Starts a traced server and waits until it is ready.
async fn serving(stage: &Stage, life: &Life) -> (Traced, Connection) {
    let traced = traced(stage, life, None).await;
    let seen = ready_or_hit(&traced).await;
    assert!(seen.is_none(), "{}", traced.stderr.text());
    let (api, _) = addresses(&traced.stdout.text());
    let connection = Connection::unix(&api).await.expect("it listens");
    (traced, connection)
}

#[test]
fn a_first_start_may_be_killed_at_each_call() {
    at_each_call("first start", async |stage, lane, at| {
        let name = format!("{}-{at}", lane.state().file_name()?.display());
        let mut life = Life::new(stage, &name);
        let traced = traced(stage, &life, Some((at, Then::Kill))).await;
        let seen = ready_or_hit(&traced).await?;
        let hit = killed(&traced, seen).await;
        life.check_files(stage).await;
        let life = life.finish(stage).await;
        fs::remove_dir_all(life.state()).expect("our own directory");
        Some(hit)
    });
}

#[test]
fn a_later_start_may_be_killed_at_each_call() {
    at_each_call("later start", async |stage, life, at| {
        let traced = traced(stage, life, Some((at, Then::Kill))).await;
        let seen = ready_or_hit(&traced).await?;
        let hit = killed(&traced, seen).await;
        after(stage, life).await;
        Some(hit)
    });
}

#[test]
fn a_rotation_may_be_killed_at_each_call() {
    at_each_call("kms rotate", async |stage, life, at| {
        let server = life.serve(stage).await;
        let mut connection = server.connect().await;
        life.write(&mut connection).await.expect("an answer");
        let rotation = Traced::start(life.rotate_command(stage), Some((at, Then::Kill)));
        let rotation = rotation.expect("it was permitted before");
        let seen = rotation.hit_or_ended().await;
        let hit = match seen.hit {
            Some(_) => Some(killed(&rotation, seen).await),
            None => {
                assert_eq!(seen.end, Some(End::Exit(0)), "{}", rotation.stderr.text());
                None
            }
        };
        life.write(&mut connection).await.expect("an answer");
        assert_eq!(server.get("/readyz").await.status, 200);
        drop(connection);
        server.stop().await;
        after(stage, life).await;
        hit
    });
}

#[test]
fn a_reload_may_be_killed_at_each_call() {
    at_each_call("reload", async |stage, life, at| {
        let (traced, mut connection) = serving(stage, life).await;
        life.write(&mut connection).await.expect("an answer");
        traced.order(at, Then::Kill);
        let hash = life.change_configuration();
        traced.signal(Signal::HUP);
        // A write during the reload; the kill may come first.
        let _ = life.write(&mut connection).await;
        let loaded = until("the file is in use, or the server is killed", async || {
            if traced.seen().hit.is_some() {
                return Some(false);
            }
            traced.stderr.text().contains(&hash).then_some(true)
        })
        .await;
        if loaded {
            traced.release();
        }
        // The kill may come between the message that the file is in use and the release.
        let mut hit = None;
        if loaded && life.write(&mut connection).await.is_ok() {
            traced.signal(Signal::KILL);
            traced.ended().await;
        } else {
            hit = Some(killed(&traced, traced.seen()).await);
        }
        after(stage, life).await;
        hit
    });
}

#[test]
fn a_stop_may_be_killed_at_each_call() {
    at_each_call("stop", async |stage, life, at| {
        let (traced, mut connection) = serving(stage, life).await;
        life.write(&mut connection).await.expect("an answer");
        traced.order(at, Then::Kill);
        traced.signal(Signal::TERM);
        // One more request during the stop; it may find the connection closed.
        let _ = life.write(&mut connection).await;
        drop(connection);
        let end = traced.ended().await;
        let hit = traced.seen().hit;
        if hit.is_none() {
            assert_eq!(end, End::Exit(0), "{}", traced.stderr.text());
        }
        after(stage, life).await;
        hit
    });
}

/// Checks the state after each kill: the files, and a new server that reads and writes.
async fn after(stage: &Stage, life: &mut Life) {
    life.check_files(stage).await;
    let server = life.serve(stage).await;
    life.write_with_new(&server).await;
    server.stop().await;
}
