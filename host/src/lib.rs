//! Runs Dekker's component under wasmtime. Provides KMS calls over gRPC, polling of the configuration file, health checks, metrics, and the transform
//! API on a unix socket.
//!
//! [`Host`] is the entry point for Rust programs. [`cli`] is the `dekker` command. The code in this crate has no key or cipher of the stored values:
//! only the component encrypts and decrypts them. ([`kms::plugin`] is a separate KMS plugin; to the component it is like any other plugin.)

#![cfg_attr(not(feature = "engine"), allow(dead_code, unused_imports))]

#[cfg(feature = "engine")]
pub mod cli;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
#[cfg(feature = "instance")]
#[doc(hidden)]
pub mod instance;
pub mod kms;

#[cfg(feature = "engine")]
mod clock;
#[cfg(feature = "engine")]
mod config_file;
#[cfg(feature = "engine")]
mod driver;
mod durable;
#[cfg(feature = "engine")]
mod fault;
#[cfg(feature = "engine")]
mod guest;
#[cfg(feature = "engine")]
mod heap;
#[cfg(feature = "engine")]
mod host;
mod http;
mod metrics;
mod model;
#[cfg(feature = "engine")]
mod restore;
mod sha256;
#[cfg(test)]
mod simulation;
mod socket_lock;
mod thread_number;
#[cfg(feature = "engine")]
mod workers;

#[cfg(feature = "engine")]
pub use fault::{Fault, ReloadError};
#[cfg(feature = "engine")]
pub use host::{BuildError, Host, HostBuilder, KmsCoast, WriteDekSource, default_workers};
pub use metrics::Metrics;
pub use model::{
    Check, Decrypted, Encrypted, ErrorKind, HostError, Location, MetricFamily, MetricKind,
    Plaintext, Sample, TransformError, ValueState,
};
