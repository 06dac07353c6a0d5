//! Dekker's behaviour suite: what the engine does, told once and run against every face of it.
//!
//! [`face`] is the engine as a plain-typed API, with one implementation for each way to reach it. [`sim`] plays an engine against scripted
//! KMS plugins in simulated time. [`behaviours`] is the suite, one table; `tests/behaviour_*.rs` run it, one `#[test]` for each entry.
//! [`restored`] puts a process' memory back and looks for nonces that come again. [`interop`] is what upstream's own code wrote and said, recorded by `tests/interop`.

pub mod behaviours;
pub mod entropy;
pub mod face;
pub mod interop;
pub mod model;
pub mod object;
pub mod plugin;
pub mod recorded;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod restored;
pub mod sim;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub mod snapshot;
