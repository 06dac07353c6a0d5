//! The engine, driven by bytes: writes, reads, reloads, time, restored snapshots, workers, and plugins that answer late, wrongly or twice.
//!
//! No key seals with a nonce twice, and no key made before a snapshot was restored seals after the restore. What was written reads back, here and in
//! a new process, as far as the plugin answered truthfully. Nothing is written with a DEK whose plugin has not been healthy for three minutes. Every
//! operation ends exactly once. No text contains a key ID.

mod files;
mod plugin;
mod watch;
mod worker;
mod world;

pub use watch::Counting;

use self::world::World;
use crate::bytes::Bytes;

/// The maximum number of steps in a history.
const STEPS_MAX: usize = 200;

/// Treats any bytes as a history: first the options, then a step for every few bytes.
///
/// # Panics
/// Panics if a promise is broken.
pub fn run(input: &[u8]) {
    let mut input = Bytes::new(input);
    let mut world = World::new(&mut input);
    for _ in 0..STEPS_MAX {
        if input.is_empty() {
            break;
        }
        world.step(&mut input);
    }
    world.end();
}

/// Returns histories that cover much of the engine: a quiet one, and one for each kind of step.
pub fn seeds() -> Vec<Vec<u8>> {
    use world::step::{
        ALTERED, ANSWER, CANCEL, ENTROPY, HEALTH, READ, RELOAD, RESTORE, SETTLE, SLEEP, TURN, WAIT,
        WORKER_READ, WORKER_WRITE, WRITE, WRONG,
    };
    let mut seeds = Vec::new();
    // Both kinds of DEK source, both coast modes, with and without reload.
    for options in [0, 1, 2, 4, 7] {
        let mut history = vec![options, 0, 3];
        for resource in 0..4 {
            history.extend([WRITE, resource, 1, 3, b'a', b'b', b'c', SETTLE]);
        }
        history.extend([READ, 0, READ, 1, READ, 2, SETTLE, HEALTH, SETTLE]);
        history.extend([TURN, 1, WAIT, 60, WAIT, 60, SETTLE, WRITE, 0, 2, 0]);
        history.extend([WORKER_WRITE, 0, 0, 1, 1, b'x', WORKER_READ, 0, 0, ALTERED, 0, 30, 1]);
        history.extend([RELOAD, 2, SETTLE, WAIT, 2, RELOAD, 7, RELOAD, 4, WAIT, 1, SETTLE]);
        history.extend([WORKER_WRITE, 1, 0, 1, 1, b'y', RESTORE, WORKER_WRITE, 1, 0, 1, 0]);
        history.extend([SETTLE, WORKER_WRITE, 1, 0, 1, 0, SLEEP, 200, WRITE, 0, 0, 0, SETTLE]);
        seeds.push(history);
    }
    for wrong in 0..6 {
        let mut history = vec![0, 0, 1, WRONG, 0, wrong, 3, b'a', b'.', b'b', 1, 9];
        history.extend([WAIT, 10, ANSWER, 0, WRONG, 0, wrong, 2, 0, WAIT, 10, ANSWER, 0]);
        history.extend([ANSWER, 0, WRONG, 0, wrong, 1, WRITE, 2, 0, 0, WRONG, 0, wrong, 1, 1]);
        history.extend([SETTLE, WRITE, 0, 0, 1, b'z', SETTLE, READ, 0, SETTLE]);
        seeds.push(history);
    }
    let mut broken = vec![0, 1, 0, ENTROPY, 1, SETTLE, WRITE, 0, 0, 0, WRITE, 1, 0, 0, CANCEL, 0];
    broken.extend([ENTROPY, 0, WAIT, 20, SETTLE, WRITE, 0, 0, 0, RELOAD, 3, CANCEL, 0, WAIT, 90]);
    seeds.push(broken);
    seeds
}
