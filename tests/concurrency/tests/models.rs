//! Every interleaving, or many of them, of code that threads share. Each model also runs variants of the code with one mistake, and must detect it.
//!
//! Shuttle's atomics are sequentially consistent. The models show that no interleaving breaks a promise; they show nothing about weaker orderings.

#[path = "models/nonces.rs"]
mod nonces;
#[path = "models/pool.rs"]
mod pool;
#[path = "models/shared.rs"]
mod shared;

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// The number of random interleavings of a model.
const RANDOM: usize = 3000;
/// The number of interleavings in which threads are preempted at three places.
const PREEMPTED: usize = 3000;
/// The number of interleavings of each kind in which a mistake must be detected. The rarest one is missed by one run of 50,000 in six.
const WITH_MISTAKE: usize = 500_000;

fn config() -> Config {
    let mut config = Config::default();
    // Orderings weaker than SeqCst are treated as SeqCst: see above.
    config.silence_warnings = true;
    // An engine parses its configuration on a thread's stack.
    config.stack_size = 1 << 20;
    config
}

/// Runs every interleaving, up to `most`, and prints how many there were.
fn in_every_order(name: &str, most: usize, model: impl Fn() + Send + Sync + 'static) {
    let runs = Runner::new(DfsScheduler::new(Some(most), false), config()).run(model);
    let whole = if runs < most { "all" } else { "the first" };
    println!("MODEL {name}: {whole} {runs} interleavings");
}

/// Runs random interleavings, and interleavings with few preemptions.
fn in_many_orders(name: &str, model: impl Fn() + Clone + Send + Sync + 'static) {
    let random = Runner::new(RandomScheduler::new(RANDOM), config()).run(model.clone());
    let preempted = Runner::new(PctScheduler::new(3, PREEMPTED), config()).run(model);
    println!("MODEL {name}: {random} random interleavings, {preempted} with few preemptions");
}

/// Runs a variant with a mistake: some interleaving must break a promise.
fn is_seen(name: &str, model: impl Fn() + Clone + Send + Sync + 'static) {
    let random = model.clone();
    let broken = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(RandomScheduler::new(WITH_MISTAKE), config()).run(random);
        Runner::new(PctScheduler::new(3, WITH_MISTAKE), config()).run(model);
    }));
    assert!(broken.is_err(), "{name}: no interleaving detected the mistake");
}
