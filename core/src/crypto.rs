//! Keys, ciphers, nonces and randomness.
//!
//! The engine holds keys only as opaque handles ([`keys::SealingKey`], [`keys::OpeningKey`]) that a [`keys::KeyStore`] creates. [`rustcrypto`] is the
//! portable backend. Other backends may keep the key bytes elsewhere, for example in the host.

pub mod appending;
pub mod entropy;
pub mod keys;
pub mod nonce;
pub mod rustcrypto;
pub mod secret;
