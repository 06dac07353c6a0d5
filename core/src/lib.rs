//! Kubernetes' encryption at rest as a state machine: no I/O, no clock, no ambient randomness, no `std`.
//!
//! [`engine::Engine`] holds one encryption configuration. It reads and writes byte for byte what kube-apiserver stores, and says in
//! [`engine::event::Action`]s what its KMS plugins must be asked. [`inspect`] tells what a stored value is, without keys; [`config`] tells
//! what is wrong with a configuration. `ARCHITECTURE.md` beside this crate draws the whole.
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
pub mod time;
