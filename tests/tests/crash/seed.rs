//! The seed of a run: fresh each time, printed, and repeatable with `DEKKER_SEED`.

use std::env;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::Write;
use std::sync::LazyLock;

use dekker_tests::entropy::Seeded;

static SEED: LazyLock<u64> = LazyLock::new(|| {
    let seed = match env::var("DEKKER_SEED") {
        Ok(text) => text.parse().expect("DEKKER_SEED is a whole number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    report(&format!("seed: {seed} (repeat it with DEKKER_SEED={seed})"));
    seed
});

/// Returns choices that depend only on the run's seed and on `name`.
pub(crate) fn choices(name: &str) -> Choices {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    Choices(Seeded::new(*SEED ^ hash))
}

pub(crate) struct Choices(Seeded);

impl Choices {
    /// Returns a number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.0.number() % bound
    }

    /// Returns `true` with a probability of 1 in `n`.
    pub(crate) fn one_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Returns how often a server is killed at a random moment: `DEKKER_KILLS`, or 200 by default.
pub(crate) fn kills() -> u64 {
    env::var("DEKKER_KILLS")
        .map_or(200, |text| text.parse().expect("DEKKER_KILLS is a whole number"))
}

/// Prints a line, bypassing the capture of the test harness; `cargo xtask test crash` collects these lines.
pub(crate) fn report(figures: &str) {
    // One write, so that lines of other tests do not come between.
    let _ = std::io::stdout().write_all(format!("CRASH {figures}\n").as_bytes());
}
