//! What a valid configuration consists of: rules, providers and their keys.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::kms_provider::KmsProvider;
use super::resource::GroupResource;

/// A valid configuration: at least one rule, each with at least one resource and one provider.
#[derive(Debug)]
pub struct Config {
    /// One rule for each element of `resources`, in the order of the file. If two rules name the same
    /// resource, the providers of the earlier rule come first.
    pub rules: Vec<Rule>,
}

/// One element of `resources`.
#[derive(Debug)]
pub struct Rule {
    /// The resources that the rule applies to. Wildcards are kept as they are.
    pub resources: Vec<GroupResource>,
    /// The providers, in the order of the file. The first encrypts new values; all of them can decrypt.
    pub providers: Vec<Provider>,
}

/// A provider.
#[derive(Debug)]
pub enum Provider {
    /// A KMS plugin.
    Kms(KmsProvider),
    /// AES-GCM with keys of 16, 24 or 32 bytes.
    AesGcm(Vec<NamedKey>),
    /// AES-CBC with keys of 16, 24 or 32 bytes.
    AesCbc(Vec<NamedKey>),
    /// XSalsa20-Poly1305 with keys of 32 bytes.
    Secretbox(Vec<NamedKey>),
    /// No encryption: values are stored as plaintext.
    Identity,
}

/// A key of a local provider. The first key of a provider encrypts new values.
pub struct NamedKey {
    /// The key's name, which is stored before each value. Not empty.
    pub name: String,
    /// The decoded key. Its length is valid for the provider.
    pub secret: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, secret: _ } = self;
        f.debug_struct("NamedKey").field("name", name).field("secret", &format_args!("..")).finish()
    }
}
