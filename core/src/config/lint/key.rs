//! Mistakes in the secrets of keys.

use super::super::base64;
use super::super::hint::placeholder::{self, new_key};
use super::super::secret::REDACTED;
use zeroize::Zeroizing;

const SHOWN: &str = "the secret was redacted when this file was printed: write the key itself here";
const HEX: &str = "the secret is hex, but it is read as base64: convert it with xxd -r -p | base64";
const CHARACTERS: &str =
    "the secret is read as base64: if its characters are the key itself, encode them with base64";
const SHORTER: &str = "the secret is read as base64, so the key has 24 bytes: if the 32 characters are the key itself, encode them with base64";
const WORDS: &str = concat!(
    "this looks like a placeholder: write the key itself here; this prints a new key: ",
    new_key!()
);
const PUBLISHED: &str = concat!(
    "this is an example key of the documentation of Kubernetes, which everyone knows: make your own with ",
    new_key!()
);

/// The keys in the documentation of Kubernetes: encrypt-data.md, and the third in storage-version-migration.md.
const EXAMPLES: [&[u8]; 4] = [
    b"secret is secure",
    b"this is password",
    b"secret is secure, is it?",
    b"abcdefghijklmnopqrstuvwxyz123456",
];

/// Parts of placeholders in capitals or small letters, such as `YOUR_BASE64_KEY`.
const PARTS: [&str; 8] = ["key", "secret", "base64", "change", "replace", "your", "xxx", "..."];

/// A probable mistake.
pub(super) struct Mistake {
    pub(super) message: &'static str,
    /// Whether upstream accepts the secret, so that stored values may have been encrypted with it.
    pub(super) is_accepted: bool,
}

/// Returns what is probably wrong with a secret. `sizes` are the valid lengths of the key.
pub(super) fn mistake(secret: &str, sizes: &[usize]) -> Option<Mistake> {
    if placeholder::in_scalar(secret).is_some() {
        return None;
    }
    let fits = |bytes: &[u8]| sizes.contains(&bytes.len());
    let decoded = base64::decode(secret);
    let is_accepted = decoded.as_deref().is_some_and(|bytes| fits(bytes));
    let text = secret.trim();
    let message = match decoded {
        _ if text == REDACTED => SHOWN,
        _ if is_hex(text) => HEX,
        Some(bytes) if is_accepted => {
            if EXAMPLES.contains(&bytes.as_slice()) {
                PUBLISHED
            // A key that was encoded has these characters in two of three cases.
            } else if text.len() == 32 && !text.contains(['+', '/', '\n']) {
                SHORTER
            } else {
                return None;
            }
        }
        _ if fits(text.as_bytes()) => CHARACTERS,
        Some(_) | None => words(text)?,
    };
    Some(Mistake { message, is_accepted })
}

/// Whether the text is hex of 16 bytes or more, perhaps with `0x`.
fn is_hex(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    digits.len() >= 32
        && digits.len().is_multiple_of(2)
        && digits.bytes().all(|c| c.is_ascii_hexdigit())
}

fn words(text: &str) -> Option<&'static str> {
    let lower = Zeroizing::new(text.to_ascii_lowercase());
    PARTS.iter().any(|part| lower.contains(part)).then_some(WORDS)
}
