//! Every interleaving, or many of them, of what threads share. Each model also meets variants of the code with one mistake, and must see it.
//!
//! Shuttle's atomics are sequentially consistent: what is shown is that no interleaving breaks a promise, not that weaker orderings do.

#[path = "models/nonces.rs"]
mod nonces;
#[path = "models/pool.rs"]
mod pool;
#[path = "models/shared.rs"]
mod shared;

use std::panic::{AssertUnwindSafe, catch_unwind};

use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};

/// So many random interleavings of a model.
const RANDOM: usize = 3000;
/// So many in which threads are preempted at three places.
const PREEMPTED: usize = 3000;
/// A mistake must be seen in so many.
const WITH_MISTAKE: usize = 50_000;

fn config() -> Config {
    let mut config = Config::default();
    // Orderings weaker than SeqCst are taken for it: see above.
    config.silence_warnings = true;
    // An engine parses its configuration on a thread's stack.
    config.stack_size = 1 << 20;
    config
}

/// Every interleaving, as long as there are no more than so many. Prints how many there were.
fn in_every_order(name: &str, most: usize, model: impl Fn() + Send + Sync + 'static) {
    let runs = Runner::new(DfsScheduler::new(Some(most), false), config()).run(model);
    let whole = if runs < most { "all" } else { "the first" };
    println!("MODEL {name}: {whole} {runs} interleavings");
}

/// Random interleavings, and those of few preemptions.
fn in_many_orders(name: &str, model: impl Fn() + Clone + Send + Sync + 'static) {
    let random = Runner::new(RandomScheduler::new(RANDOM), config()).run(model.clone());
    let preempted = Runner::new(PctScheduler::new(3, PREEMPTED), config()).run(model);
    println!("MODEL {name}: {random} random interleavings, {preempted} with few preemptions");
}

/// A variant with a mistake: some interleaving breaks a promise.
fn is_seen(name: &str, model: impl Fn() + Clone + Send + Sync + 'static) {
    let random = model.clone();
    let broken = catch_unwind(AssertUnwindSafe(|| {
        Runner::new(RandomScheduler::new(WITH_MISTAKE), config()).run(random);
        Runner::new(PctScheduler::new(3, WITH_MISTAKE), config()).run(model);
    }));
    assert!(broken.is_err(), "{name}: no interleaving saw the mistake");
}
