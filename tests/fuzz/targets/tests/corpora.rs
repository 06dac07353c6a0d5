//! Runs the corpora and the seeds of the fuzzers without a fuzzer: every promise must hold, within a memory limit.

#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::Path;

/// 64 MiB: no target may need more, whatever the input.
const MEMORY_MAX: usize = 64 << 20;

/// An allocator that counts how much this thread holds, and the most that it held.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn grow(bytes: usize) {
    // Allocations while the thread ends are not counted.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        let now = now + bytes;
        held.set((now, most.max(now)));
    });
}

fn shrink(bytes: usize) {
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        // Memory that another thread allocated may be freed here.
        held.set((now.saturating_sub(bytes), most));
    });
}

// SAFETY: every method forwards to `System`.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grow(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        shrink(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static HEAP: Counting = Counting;

fn play(name: &str) {
    let target = dekker_fuzz_targets::named(name);
    let mut inputs: Vec<(String, Vec<u8>)> = (target.seeds)()
        .into_iter()
        .enumerate()
        .map(|(at, seed)| (format!("seed {at}"), seed))
        .collect();
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(name);
    for entry in fs::read_dir(&corpus).expect("a corpus") {
        let path = entry.expect("an entry").path();
        inputs.push((path.display().to_string(), fs::read(&path).expect("a file")));
    }
    for (from, input) in inputs {
        let (before, _) = HELD.get();
        HELD.set((before, before));
        // The output is shown if the test fails.
        println!("{from}");
        (target.run)(&input);
        let (_, most) = HELD.get();
        let most = most - before;
        assert!(most <= MEMORY_MAX, "{from}: {most} bytes at once");
    }
}

macro_rules! corpora {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                play(stringify!($name));
            }
        )*

        #[test]
        fn every_target_has_a_test() {
            let tested = [$(stringify!($name)),*];
            let targets = dekker_fuzz_targets::CORE.map(|target| target.name);
            assert_eq!(tested.as_slice(), targets);
        }
    };
}

corpora!(config, engine, envelope, forms, inspect, json, kms_v1);
