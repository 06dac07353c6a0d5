//! The bodies of the fuzz targets: what each does with its bytes, and which promises must hold.
//!
//! Everything that parses bytes from outside has a target. A target panics if a promise is broken; the least promise is that nothing else panics.
//! `tests/fuzz` is the fuzzer, on a nightly toolchain. `tests/corpora.rs` runs the corpora on any toolchain.

pub mod bytes;
pub mod config;
pub mod engine;
pub mod envelope;
pub mod forms;
pub mod inspect;
pub mod json;
pub mod kms_v1;

/// One target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// The target's name, which is also the folder of its corpus in `tests/fuzz/corpus`.
    pub name: &'static str,
    /// Runs the target on any bytes. Panics if a promise is broken.
    pub run: fn(&[u8]),
    /// Returns the initial inputs, each of which covers much of the code.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// The targets of dekker-core and dekker-forms.
pub static CORE: [Target; 7] = [
    Target { name: "config", run: config::run, seeds: config::seeds },
    Target { name: "engine", run: engine::run, seeds: engine::seeds },
    Target { name: "envelope", run: envelope::run, seeds: envelope::seeds },
    Target { name: "forms", run: forms::run, seeds: forms::seeds },
    Target { name: "inspect", run: inspect::run, seeds: inspect::seeds },
    Target { name: "json", run: json::run, seeds: json::seeds },
    Target { name: "kms_v1", run: kms_v1::run, seeds: kms_v1::seeds },
];

/// Returns every target that this library was built with.
pub fn all() -> Vec<Target> {
    #[cfg_attr(not(feature = "host"), allow(unused_mut))]
    let mut all = CORE.to_vec();
    #[cfg(feature = "host")]
    all.extend(dekker_host::fuzz::TARGETS.iter().map(|(name, run, seeds)| Target {
        name,
        run: *run,
        seeds: *seeds,
    }));
    all
}

/// Returns the target with this name.
///
/// # Panics
/// Panics if there is none.
pub fn named(name: &str) -> Target {
    let found = all().into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("there is no target {name}"))
}

/// Writes a target's seeds into the folder that `DEKKER_FUZZ_SEEDS` names, if it is set. A fuzzer does this before it reads its corpus.
///
/// # Panics
/// Panics if the seeds cannot be written.
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
