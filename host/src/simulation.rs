//! Runs the whole host in simulated time.
//!
//! ```text
//!  seed ─▶ History ─▶ World ─┬─ FaultyPlugin: Dekker's own plugin behind a layer of moods, over real sockets
//!                            ├─ File: whole, half-written, spoilt, gone, replaced
//!                            ├─ Server: Host, driver, workers, file controller, its part in Dekker's own plugin
//!                            └─ Ledger: what was promised, and whether it was kept
//! ```
//!
//! A history runs on one thread and one runtime. The runtime's clock stands still while any task can run, and then jumps to the next timer.
//! Everything that is simulated is in [`seams`]; the rest is the code that `dekker serve` runs. The seed determines all events. Keys and nonces come
//! from the system's randomness, but no decision depends on them.
//!
//! `DEKKER_SEED=N` plays one history and prints it. `DEKKER_HISTORIES=N` sets the number of histories. With `DEKKER_NEVER=Snapshot,Trap`, no history
//! has these kinds of events.

mod faulty_plugin;
mod history;
mod ledger;
mod matrix;
mod operator;
mod processes;
pub(crate) mod seams;
mod simulated_process;
mod snapshot;
mod stored;
mod world;

use std::time::Instant;

use self::processes::Share;

/// The default number of histories per test run.
const HISTORIES: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// One step of SplitMix64, so that neighbouring numbers give unrelated seeds.
fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[test]
fn histories_keep_every_promise() {
    if let Some(seed) = number("DEKKER_SEED") {
        let report = history::play(seed);
        eprintln!("{}", report.trace.join("\n"));
        if let Some(broken) = report.broken {
            panic!("DEKKER_SEED={seed}: {broken}");
        }
        return;
    }
    let first = number("DEKKER_FIRST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let histories = number("DEKKER_HISTORIES").unwrap_or(HISTORIES);
    if let Some(share) = Share::of_this_process() {
        return share.play(first, histories);
    }
    eprintln!("simulation: {histories} histories from DEKKER_FIRST_SEED={first}");
    let began = Instant::now();
    let (figures, is_whole) = processes::play(first, histories);
    let took = began.elapsed().as_secs_f64();
    eprintln!(
        "simulation: {} histories in {took:.1} s, {:.0} a second; {} simulated hours, {} acknowledged writes, {} operations failed",
        figures.histories,
        figures.histories as f64 / took,
        figures.seconds / 3600,
        figures.writes,
        figures.failures,
    );
    assert!(is_whole, "a promise was broken: see above");
}

#[test]
fn a_seed_plays_the_same_history_each_time() {
    for number in 0..10 {
        let seed = mixed(number);
        let (first, second) = (history::play(seed), history::play(seed));
        assert_eq!(first.trace, second.trace, "DEKKER_SEED={seed}");
    }
}

#[test]
fn histories_that_once_broke_a_promise_keep_it() {
    // Here the controller assumed that the previous file was in use, although another one had been committed without its knowledge.
    for seed in [4514920681319860204, 11730483012526896925] {
        let broken = history::play(seed).broken;
        assert!(broken.is_none(), "DEKKER_SEED={seed}: {broken:?}");
    }
}
