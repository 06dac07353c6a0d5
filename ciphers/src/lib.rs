//! The ciphers of aescbc and secretbox over RustCrypto, with the layouts of stored values.
//!
//! dekker-core's portable backend and what a host lends to the accelerated component are both this: the check of a padding is not written
//! twice. Nothing here makes a nonce.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cbc;
mod secretbox;

pub use cbc::{BLOCK, CbcKey};
pub use secretbox::{NONCE_LEN as SECRETBOX_NONCE_LEN, SecretboxKey};

/// Why a value did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Too short, by its length alone.
    TooShort,
    /// Wrong key or altered bytes: deliberately not told apart.
    Failed,
}
