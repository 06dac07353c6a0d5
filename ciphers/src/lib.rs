//! The ciphers of aescbc and secretbox, on RustCrypto, with the layouts of stored values.
//!
//! Both dekker-core's portable backend and the ciphers that a host provides to the accelerated component use this crate, so that the padding check
//! exists only once. This crate creates no nonces.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod cbc;
mod secretbox;

pub use cbc::{BLOCK, CbcKey};
pub use secretbox::{NONCE_LEN as SECRETBOX_NONCE_LEN, SecretboxKey};

/// Why a value could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The value is too short, judged by its length alone.
    TooShort,
    /// The key is wrong or the bytes were altered. The causes are deliberately not distinguished.
    Failed,
}
