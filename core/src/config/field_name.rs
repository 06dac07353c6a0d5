//! Names of unknown fields.

use alloc::string::String;

/// The longest name of an unknown field that a message repeats.
const MAX_NAME: usize = 20;

/// Returns `key` if it looks like a name, and a placeholder otherwise: a secret may be where a name should be.
pub(super) fn shown(key: &str) -> &str {
    let name = key.len() <= MAX_NAME
        && key.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_./ ".contains(&c));
    if name && !key.is_empty() { key } else { "(unprintable)" }
}

/// The longest name of a field in a path, if it has only letters and the characters between words: no key in base64 has only these.
const MAX_WORDS: usize = 48;

/// Returns `key` if it looks like a name, which may be longer than in [`shown`], and a placeholder otherwise.
pub(super) fn shown_in_path(key: &str) -> &str {
    let is_words = key.len() <= MAX_WORDS
        && key.bytes().all(|c| c.is_ascii_alphabetic() || b"-_.".contains(&c));
    if is_words && !key.is_empty() { key } else { shown(key) }
}

/// Returns whether the names are equal without regard to case and punctuation, or differ only by one character at the end.
pub(super) fn similar(name: &str, key: &str) -> bool {
    let plain = |text: &str| {
        text.chars()
            .filter(char::is_ascii_alphanumeric)
            .map(|c| c.to_ascii_lowercase())
            .collect::<String>()
    };
    let (name, key) = (plain(name), plain(key));
    let near = |long: &str, short: &str| long.len() == short.len() + 1 && long.starts_with(short);
    name == key || near(&name, &key) || near(&key, &name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_similar_name_suggests_the_field() {
        let table = [
            ("aescbc", "aesCBC", true),
            ("cachesize", "cache_size", true),
            ("keys", "key", true),
            ("name", "names", true),
            ("kms", "identity", false),
        ];
        for (name, key, want) in table {
            assert_eq!(similar(name, key), want, "{key}");
        }
    }

    #[test]
    fn only_name_like_keys_are_shown_in_messages() {
        assert_eq!(shown("aesCBC"), "aesCBC");
        assert_eq!(shown("MDEyMzQ1Njc4OWFiY2RlZg=="), "(unprintable)");
        assert_eq!(shown(""), "(unprintable)");
        assert_eq!(shown("encryption-configuration.yaml"), "(unprintable)");
        assert_eq!(shown_in_path("encryption-configuration.yaml"), "encryption-configuration.yaml");
        assert_eq!(shown_in_path("MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3"), "(unprintable)");
    }
}
