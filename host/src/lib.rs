//! Runs Dekker's component under wasmtime: KMS calls over gRPC, polling of the configuration file, health and metrics, and the transform
//! API on a unix socket.
//!
//! [`Host`] is the whole for a Rust program. The `dekker` command is [`cli`]. Nothing here knows a key or a cipher of the stored values: the
//! component is the only way to them. ([`kms::plugin`] is a KMS plugin of its own, as the component sees any other.)

#![cfg_attr(not(feature = "engine"), allow(dead_code, unused_imports))]

#[cfg(feature = "engine")]
pub mod cli;
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub mod fuzz;
pub mod http;
#[cfg(feature = "engine")]
#[doc(hidden)]
pub mod instance;
pub mod kms;
pub mod metrics;

#[cfg(feature = "engine")]
mod clock;
#[cfg(feature = "engine")]
mod config_file;
#[cfg(feature = "engine")]
mod driver;
mod durable;
#[cfg(feature = "engine")]
mod guest;
#[cfg(feature = "engine")]
mod host;
mod model;
#[cfg(feature = "engine")]
mod restore;
mod sha256;
#[cfg(test)]
mod simulation;
mod socket_lock;
#[cfg(feature = "engine")]
mod workers;

#[cfg(feature = "engine")]
pub use driver::{Fault, ReloadError};
#[cfg(feature = "engine")]
pub use host::{BuildError, Host, HostBuilder, KmsCoast, WriteDekSource, default_workers};
pub use model::{
    Check, Decrypted, Encrypted, ErrorKind, HostError, Location, MetricFamily, MetricKind,
    Plaintext, Sample, TransformError,
};
