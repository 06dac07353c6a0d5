//! The providers of an encryption configuration: how stored values are recognized, encrypted and decrypted.
//!
//! Every stored value begins with its provider's prefix, or is plaintext ([`identity`]). aesgcm, aescbc and secretbox are in [`local`]; the providers
//! that need a plugin are in [`kms`]. A provider does not touch values: it sees a window of a stored value ([`stored`]) and returns how to encrypt or
//! decrypt it ([`plan`]).

pub mod error;
pub mod frame;
pub mod identity;
pub mod kms;
pub mod local;
pub mod plan;
pub mod prefix;
pub mod routing;
pub mod stored;
pub mod transformer;
pub mod value;
