//! Providers that keep their keys with a plugin.

pub mod message;
pub mod v2;
