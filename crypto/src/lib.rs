//! The ciphers of stored values, in their layouts: [`cbc`] for aescbc, [`secretbox`] for secretbox, and with the feature `ring` [`gcm`] for aesgcm and
//! KMS. The same feature adds [`random`], the kernel's random bytes.
//!
//! dekker-core's backends (the portable one and `dekker-ring`) and the keys that a host provides to the accelerated component (`dekker-keys`) use this
//! crate, so that each cipher exists only once. This crate creates no nonces and counts none: the caller supplies each header, nonce and IV.
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "ring"))]
extern crate std;

pub mod cbc;
#[cfg(feature = "ring")]
pub mod gcm;
pub mod layout;
#[cfg(feature = "ring")]
pub mod random;
pub mod secretbox;

use core::fmt;

pub use cbc::CbcKey;
#[cfg(feature = "ring")]
pub use gcm::GcmKey;
pub use secretbox::SecretboxKey;

/// Why a value could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The value is too short, judged by its length alone.
    TooShort,
    /// The key or the additional data is wrong, or the bytes were altered. The causes are deliberately not distinguished.
    Failed,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooShort => "the stored data was shorter than the required size",
            Self::Failed => "message authentication failed",
        })
    }
}

impl core::error::Error for OpenError {}
