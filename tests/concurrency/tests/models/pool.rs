//! The host's worker pool: no instance runs twice at the same time, no nonce is used twice, no value is written under a file or a DEK older than the
//! published one, and every worker is back at the end.

use std::collections::BTreeSet;

use dekker_concurrency::stand_in::{Component, ControlInstance, Encrypted};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

use super::{in_many_orders, is_seen};

macro_rules! model {
    ($variant:ident, $workers:expr, $traps:expr) => {
        || {
            use dekker_concurrency::$variant::Pool;
            let control = ControlInstance::default();
            let pool = Arc::new(Pool::new($workers, Component::new($traps)));
            // The file and DEK published before a value began: the oldest that it may use.
            let published = Arc::new(Mutex::new((1, 1)));
            control.turn(1);
            pool.publish(1, 1);
            // One worker has a lease from the start, and has not used it up.
            let first = pool.write(&control);
            let mut seen = BTreeSet::new();
            if let Ok(Some(done)) = first {
                seen.insert((done.dek, done.nonce));
            }
            let writers: Vec<_> = (0..2)
                .map(|_| {
                    let (pool, control) = (pool.clone(), control.clone());
                    let published = published.clone();
                    thread::spawn(move || {
                        let mut written: Vec<Encrypted> = Vec::new();
                        for _ in 0..3 {
                            let (epoch, dek) = *published.lock().expect("no panic");
                            if let Ok(Some(done)) = pool.write(&control) {
                                assert!(done.epoch >= epoch, "an old file");
                                assert!(done.dek >= dek, "an old DEK");
                                written.push(done);
                            }
                        }
                        written
                    })
                })
                .collect();
            let hasty = {
                let (pool, control) = (pool.clone(), control.clone());
                thread::spawn(move || {
                    pool.begin(&control);
                    pool.metrics();
                })
            };
            // In the driver's order: first the control instance, then the state for the workers.
            for (epoch, dek) in [(1, 2), (2, 2), (2, 3)] {
                control.turn(dek);
                pool.publish(epoch, dek);
                *published.lock().expect("no panic") = (epoch, dek);
                for _ in 0..3 {
                    thread::yield_now();
                }
            }
            hasty.join().expect("no panic");
            for writer in writers {
                for done in writer.join().expect("no panic") {
                    assert!(seen.insert((done.dek, done.nonce)), "a nonce came twice");
                }
            }
            assert!(pool.is_idle(), "a worker is lost");
        }
    };
}

#[test]
fn workers_use_the_published_state_and_repeat_no_nonce() {
    in_many_orders("pool, 1 worker", model!(workers, 1, 0));
    in_many_orders("pool, 2 workers", model!(workers, 2, 0));
}

#[test]
fn a_trap_loses_no_worker_and_repeats_no_nonce() {
    in_many_orders("pool, 2 workers, one traps", model!(workers, 2, 3));
}

#[test]
fn mistakes_are_detected() {
    is_seen("counted before it is published", model!(workers_counted_before_published, 2, 0));
    is_seen("the version is read late", model!(workers_version_read_late, 1, 0));
    is_seen("a caller waits without looking again", model!(workers_waits_without_a_look, 1, 0));
    is_seen("an old lease is kept", model!(workers_lease_kept, 1, 0));
}
