//! The providers of an encryption configuration: how stored values are recognized, encrypted and decrypted.
//!
//! Every stored value begins with its provider's prefix, or is plaintext ([`identity`]). A provider that needs no plugin implements
//! [`transformer::LocalTransformer`] and becomes a [`transformer::Transform::Local`]; the providers that need a plugin are in [`kms`]. aesgcm, aescbc
//! and secretbox are in [`local`].

pub mod error;
pub mod identity;
pub mod kms;
pub mod local;
pub mod prefix;
pub mod routing;
pub mod transformer;
pub mod value;
