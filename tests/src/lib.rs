//! Dekker's behaviour suite: one description of what the engine does, run against every face of it.
//!
//! [`face`] is the engine as a plain-typed API, with one implementation for each way to reach it. [`sim`] runs an engine against scripted KMS plugins
//! in simulated time. [`behaviours`] is the suite, one table; `tests/behaviour_*.rs` and `core/tests/behaviour_*.rs` run it, with one `#[test]` for
//! each entry. [`histories`] plays random histories. [`restored`] restores a process' memory and looks for repeated nonces. [`interop`] reads what
//! upstream's own code wrote and reported, recorded by `tests/interop`; [`vectors`] compares its values. [`cases`] has inputs of the command.

pub mod behaviours;
pub mod cases;
pub mod config_cases;
pub mod entropy;
pub mod face;
pub mod histories;
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
pub mod vectors;
