//! What is known of a value that is cut short or damaged.

use alloc::string::String;

use crate::json::Writer;

/// The part of an [`Inspection`](super::Inspection) that is known of a value that is cut short or damaged. Contains no secret and no key ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// `aesgcm`, `aescbc`, `secretbox` or `kms`, if the provider is known.
    pub provider: Option<&'static str>,
    /// `v1` or `v2`; KMS only.
    pub api_version: Option<&'static str>,
    /// The name of the KMS provider, if it is complete; KMS only.
    pub provider_name: Option<String>,
    /// The name of the local provider's key, if it is complete.
    pub key_name: Option<String>,
    /// Whether [`key_name`](Self::key_name) may be only the beginning of the name, or too long.
    pub key_name_is_guessed: bool,
    /// The length of what is there, in bytes.
    pub size: usize,
    /// The number of bytes that are missing at least, if the value is cut short.
    pub missing_at_least: Option<u64>,
}

impl Partial {
    /// Writes what is known as members, with the names that the members of an inspection have.
    pub(super) fn write(&self, json: &mut Writer) {
        let Self {
            provider,
            api_version,
            provider_name,
            key_name,
            key_name_is_guessed,
            size,
            missing_at_least,
        } = self;
        json.text_if("provider", *provider);
        json.text_if("apiVersion", *api_version);
        json.text_if("providerName", provider_name.as_deref());
        json.text_if("keyName", key_name.as_deref());
        if *key_name_is_guessed {
            json.flag("keyNameGuessed", Some(true));
        }
        json.number("size", *size as u64);
        if let Some(missing) = missing_at_least {
            json.number("missingAtLeast", *missing);
        }
    }
}
