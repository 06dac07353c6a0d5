//! Runs Dekker's component under wasmtime: KMS calls over gRPC, polling of the configuration file, health and metrics, and the transform
//! API on a unix socket.
//!
//! [`Host`] is the whole for a Rust program. The `dekker` command is [`cli`]. Nothing here knows a key or a cipher of the stored values: the
//! component is the only way to them. ([`kms::plugin`] is a KMS plugin of its own, as the component sees any other.)

pub mod cli;
pub mod http;
#[doc(hidden)]
pub mod instance;
pub mod kms;
pub mod metrics;

mod clock;
mod config_file;
mod driver;
mod durable;
mod guest;
mod host;
mod model;
mod restore;
mod sha256;
#[cfg(test)]
mod simulation;
mod socket_lock;
mod workers;

pub use driver::{Fault, ReloadError};
pub use host::{BuildError, Host, HostBuilder, KmsCoast, WriteDekSource, default_workers};
pub use model::{
    Check, Decrypted, Encrypted, ErrorKind, HostError, Location, MetricFamily, MetricKind,
    Plaintext, Sample, TransformError,
};
