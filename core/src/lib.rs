//! Kubernetes' encryption at rest as a state machine: no I/O, no clock, no ambient randomness, no `std`.
//!
//! [`Engine`] holds one encryption configuration. It encrypts and decrypts values in kube-apiserver's storage format, byte for byte, and returns the
//! calls to make to KMS plugins as [`Action`]s. [`inspect`] describes a stored value without keys; [`config`] reports what
//! is wrong with a configuration. `ARCHITECTURE.md` in this crate's directory describes the design.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
pub mod crypto;
pub mod engine;
pub mod inspect;
mod json;
mod map;
pub mod provider;
mod sha256;
pub mod time;

pub use config::{Config, Faults};
pub use crypto::entropy::{Entropy, EntropyError};
pub use crypto::keys::{DekSourceType, KeyStore};
pub use crypto::rustcrypto::RustCrypto;
pub use crypto::secret::Secret;
pub use engine::event::{Action, Event, Generation, OpId};
pub use engine::{Engine, Options, ParsedFile};
pub use provider::error::{ErrorKind, TransformError};
pub use provider::transformer::{Transform, Transformer};
pub use provider::value::{Decrypted, Encrypted, Location, ValueState};
pub use time::Timestamp;
