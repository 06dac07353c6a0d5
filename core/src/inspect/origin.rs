//! What encrypted a value.

use alloc::string::String;

use crate::json::Writer;

/// The provider of a value and the name of its key, as the beginning of the value states them. Contains no secret and no key ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// `identity`, `aesgcm`, `aescbc`, `secretbox` or `kms`.
    pub provider: &'static str,
    /// `v1` or `v2`; KMS only.
    pub api_version: Option<&'static str>,
    /// The name of the KMS provider; KMS only. `None` if the value is cut short within it.
    pub provider_name: Option<String>,
    /// The name of the local provider's key, which may contain colons. `None` if the value is cut short within it.
    pub key_name: Option<String>,
    /// Whether the value allows other names, of which [`key_name`](Self::key_name) is the most probable. The names of a configuration decide:
    /// [`inspect_with`](super::inspect_with). In a value that is cut short, it may also be only the beginning of the name.
    pub key_name_is_guessed: bool,
}

impl Origin {
    /// Creates the origin of a value whose name is not known or that has none.
    pub(super) fn of_provider(provider: &'static str, api_version: Option<&'static str>) -> Self {
        Self {
            provider,
            api_version,
            provider_name: None,
            key_name: None,
            key_name_is_guessed: false,
        }
    }

    /// Writes the fields as members. Fields that do not apply to the provider are omitted.
    pub(super) fn write(&self, json: &mut Writer) {
        let Self { provider, api_version, provider_name, key_name, key_name_is_guessed } = self;
        json.text("provider", provider);
        json.text_if("apiVersion", *api_version);
        json.text_if("providerName", provider_name.as_deref());
        json.text_if("keyName", key_name.as_deref());
        if *key_name_is_guessed {
            json.flag("keyNameGuessed", Some(true));
        }
    }
}
