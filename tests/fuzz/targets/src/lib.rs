//! The fuzz targets' bodies: what each does with its bytes, and what must hold.
//!
//! Everything that parses bytes from outside has a target. A target panics when a promise is broken; that nothing else panics is the least
//! of them. `tests/fuzz` is the fuzzer, on a nightly toolchain; `tests/corpora.rs` plays the corpora on any.

pub mod bytes;
pub mod config;
pub mod engine;
pub mod envelope;
pub mod inspect;
pub mod json;
pub mod kms_v1;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and its corpus' folder in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Takes any bytes. Panics when something does not hold.
    pub run: fn(&[u8]),
    /// Inputs to begin with, each of which reaches far.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The targets of dekker-core.
pub static CORE: [Target; 6] = [
    Target {
        name: "config",
        run: config::run,
        seeds: config::seeds,
    },
    Target {
        name: "engine",
        run: engine::run,
        seeds: engine::seeds,
    },
    Target {
        name: "envelope",
        run: envelope::run,
        seeds: envelope::seeds,
    },
    Target {
        name: "inspect",
        run: inspect::run,
        seeds: inspect::seeds,
    },
    Target {
        name: "json",
        run: json::run,
        seeds: json::seeds,
    },
    Target {
        name: "kms_v1",
        run: kms_v1::run,
        seeds: kms_v1::seeds,
    },
];

/// Every target that this library was built with.
pub fn all() -> Vec<Target> {
    #[cfg_attr(not(feature = "host"), allow(unused_mut))]
    let mut all = CORE.to_vec();
    #[cfg(feature = "host")]
    all.extend(
        dekker_host::fuzz::TARGETS
            .iter()
            .map(|(name, run, seeds)| Target {
                name,
                run: *run,
                seeds: *seeds,
            }),
    );
    all
}

/// The target of this name.
///
/// # Panics
/// When there is none.
pub fn named(name: &str) -> Target {
    let found = all().into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}

/// Writes a target's seeds into the folder that `DEKKER_FUZZ_SEEDS` names, if it names one. A fuzzer does so before it reads its corpus.
///
/// # Panics
/// When they cannot be written.
pub fn write_seeds(name: &str) {
    let Some(folder) = std::env::var_os("DEKKER_FUZZ_SEEDS") else {
        return;
    };
    let folder = std::path::PathBuf::from(folder);
    std::fs::create_dir_all(&folder).expect("a folder for seeds");
    for (at, seed) in (named(name).seeds)().iter().enumerate() {
        let file = folder.join(format!("seed-{at:03}"));
        std::fs::write(file, seed).expect("a seed is written");
    }
}
