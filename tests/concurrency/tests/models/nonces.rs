//! `CounterNonces`: in every order, it never returns a value twice, a value that was leased out, or a value beyond the end.

use std::collections::BTreeSet;

use shuttle::sync::Arc;
use shuttle::thread;

use super::{in_every_order, in_many_orders, is_seen};

macro_rules! model {
    ($variant:ident, $threads:expr, $each:expr, $len:expr) => {
        || {
            use dekker_concurrency::$variant::{CounterNonces, CounterRange};
            const START: u64 = 100;
            let end = START + $len;
            let nonces = Arc::new(CounterNonces::new(CounterRange { start: START, end }));
            let threads: Vec<_> = (0..$threads)
                .map(|number| {
                    let nonces = nonces.clone();
                    thread::spawn(move || {
                        let mut given: Vec<u64> = Vec::new();
                        for _ in 0..$each {
                            if let Ok(nonce) = nonces.next() {
                                given.push(nonce.counter().expect("a counted nonce"));
                            }
                        }
                        // One of the threads takes a lease, and uses all of it.
                        if number == 0
                            && let Some(range) = nonces.cut(2)
                        {
                            given.extend(range.start..range.end);
                        }
                        given
                    })
                })
                .collect();
            let mut seen = BTreeSet::new();
            for thread in threads {
                for value in thread.join().expect("no panic") {
                    assert!((START..end).contains(&value), "past the end");
                    assert!(seen.insert(value), "a nonce came twice");
                }
            }
            if nonces.is_used_up() {
                assert!(nonces.next().is_err(), "one more value from an exhausted range");
            }
        }
    };
}

#[test]
fn no_nonce_repeats_in_any_order_of_two_threads() {
    in_every_order("nonces, 2 threads", 200_000, model!(nonce, 2, 2, 4));
}

#[test]
fn no_nonce_repeats_in_many_orders_of_four_threads() {
    in_many_orders("nonces, 4 threads", model!(nonce, 4, 4, 15));
}

#[test]
fn mistakes_are_detected() {
    is_seen("read, then written", model!(nonce_read_then_write, 2, 2, 6));
    is_seen("cut off in two steps", model!(nonce_cut_apart, 2, 2, 6));
    is_seen("counted past the end", model!(nonce_wraps, 3, 2, 3));
}
