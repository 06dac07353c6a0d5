//! The providers of an encryption configuration: how a stored value is told apart, written and read.
//!
//! Every value begins with its provider's prefix, or is plaintext ([`identity`]). A provider that needs no plugin implements
//! [`transformer::LocalTransformer`] and is listed in [`transformer::Transform`]; [`kms`] holds those that do. aesgcm, aescbc and secretbox
//! are [`local`].

pub mod identity;
pub mod kms;
pub mod local;
pub mod routing;
pub mod transformer;

/// What every encrypted value begins with.
pub const ENCRYPTED_PREFIX: &[u8] = b"k8s:enc:";
