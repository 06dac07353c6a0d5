//! Dekker's host.
#![allow(missing_docs)]
mod guest;
mod host;
