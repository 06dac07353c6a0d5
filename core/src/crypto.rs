//! The only place that knows key bytes.
//!
//! The rest of core holds keys as opaque handles ([`keys::SealingKey`], [`keys::OpeningKey`]) made by a [`keys::KeyStore`].
//! [`rustcrypto`] is the portable backend; others may keep the key bytes elsewhere, such as in the host.

pub mod entropy;
pub mod keys;
pub mod local;
pub mod nonce;
pub mod rustcrypto;
pub mod secret;
