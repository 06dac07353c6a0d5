//! The prefix that the values of a key have.

use alloc::format;
use alloc::string::String;

use crate::prefix::{KeyName, Stored, split};

impl<'n> KeyName<'n> {
    /// Returns the prefix of the values that have this name.
    ///
    /// ```
    /// use dekker_forms::{KeyName, Provider};
    ///
    /// let name = KeyName { provider: Provider::AesCbc, name: "a:b" };
    /// assert_eq!(name.value_prefix(), "k8s:enc:aescbc:v1:a:b:");
    /// assert_eq!(KeyName::of_value_prefix("k8s:enc:aescbc:v1:a:b:"), Some(name));
    /// ```
    pub fn value_prefix(&self) -> String {
        format!("{}{}:", self.provider.prefix(), self.name)
    }

    /// Returns the name in a prefix that [`value_prefix`](Self::value_prefix) returned; `None` for any other text.
    pub fn of_value_prefix(prefix: &'n str) -> Option<Self> {
        let (Stored::Value { provider, .. } | Stored::NoName { provider, .. }) =
            split(prefix.as_bytes(), &[])
        else {
            return None;
        };
        let name = prefix.strip_prefix(provider.prefix())?.strip_suffix(':')?;
        (!name.is_empty()).then_some(Self { provider, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Provider;

    #[test]
    fn every_name_is_found_in_its_prefix() {
        for provider in [
            Provider::AesGcm,
            Provider::AesCbc,
            Provider::Secretbox,
            Provider::KmsV1,
            Provider::KmsV2,
        ] {
            for name in
                ["key1", "aescbckey-2026-03-09T09:46:54+01:00", "a:", ":", "a b", "schlüssel"]
            {
                let name = KeyName { provider, name };
                assert_eq!(KeyName::of_value_prefix(&name.value_prefix()), Some(name));
            }
        }
        for text in [
            "",
            "key1",
            "k8s:enc:",
            "k8s:enc:aescbc:v1:",
            "k8s:enc:aescbc:v1::",
            "k8s:enc:aescbc:v1:key1",
            "k8s:enc:rot13:v1:key1:",
            "k8s:enc:kms:v3:key1:",
        ] {
            assert_eq!(KeyName::of_value_prefix(text), None, "{text}");
        }
    }
}
