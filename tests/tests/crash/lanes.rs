//! Runs several lives at the same time, each on its own thread with its own runtime.

use std::panic::resume_unwind;
use std::thread;

/// Runs `lane` for 0, 1, … `count` − 1 at the same time.
///
/// # Panics
/// Panics if a lane panics, after all lanes have ended.
pub(crate) fn side_by_side(count: usize, lane: impl AsyncFn(usize) + Sync) {
    thread::scope(|scope| {
        let lane = &lane;
        let lanes: Vec<_> = (0..count).map(|at| scope.spawn(move || alone(lane(at)))).collect();
        let ends: Vec<_> = lanes.into_iter().map(|lane| lane.join()).collect();
        for end in ends {
            end.unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

fn alone(lane: impl Future<Output = ()>) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(lane);
}
