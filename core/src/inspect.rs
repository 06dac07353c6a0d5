//! Describes a stored value without any key.
//!
//! A value that is cut short or damaged is an [`InspectError`], which has what is known of the value: provider, name, and how much is missing.

mod error;
mod formats;
mod found;
mod identity;
mod incomplete;
mod inspection;
mod key_names;
mod kms_v1;
mod kms_v2;
mod layout;
mod local;
mod origin;
mod partial;
#[cfg(test)]
mod tests;

use alloc::string::String;

use dekker_forms::{Stored, split};

pub use self::error::{InspectError, InspectFault};
use self::formats::format_of;
use self::found::Found;
pub use self::inspection::{Annotation, Inspection};
pub use self::key_names::{KeyName, key_names, value_prefixes};
pub use self::layout::Segment;
pub use self::origin::Origin;
pub use self::partial::Partial;
use crate::json::Writer;
use crate::provider::prefix;

/// Describes a stored value. The bytes are attacker-controlled; this function does not panic.
///
/// ```
/// let value = [b"k8s:enc:aesgcm:v1:key1:".as_slice(), &[0; 12 + 3 + 16]].concat();
/// let seen = dekker_core::inspect::inspect(&value).unwrap();
/// assert_eq!((seen.origin.provider, seen.origin.key_name.as_deref()), ("aesgcm", Some("key1")));
/// assert_eq!(seen.plaintext_size, 3);
/// ```
///
/// A name may contain colons: k3s and RKE2 name a rotated key `aescbckey-2026-03-09T09:46:54+01:00`. Without the names of a configuration, the most
/// probable name is reported, and [`key_name_is_guessed`](Origin::key_name_is_guessed) if another one is possible.
///
/// # Errors
/// Returns an error if the bytes are not a value of the provider that their prefix names.
pub fn inspect(stored: &[u8]) -> Result<Inspection, InspectError> {
    inspect_with(stored, &[])
}

/// Describes a stored value as [`inspect`] does. The names of a configuration decide where the name in the value ends.
///
/// ```
/// use dekker_core::Config;
/// use dekker_core::inspect::{inspect, inspect_with, key_names};
///
/// let file = b"
/// apiVersion: apiserver.config.k8s.io/v1
/// kind: EncryptionConfiguration
/// resources:
/// - resources: [secrets]
///   providers:
///   - aesgcm: {keys: [{name: 'a:bc', secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}
/// ";
/// let config = Config::load(file, false).unwrap();
/// let value = [b"k8s:enc:aesgcm:v1:a:bc:de:".as_slice(), &[0; 12 + 3 + 16]].concat();
/// let seen = inspect_with(&value, &key_names(&config)).unwrap().origin;
/// assert_eq!((seen.key_name.as_deref(), seen.key_name_is_guessed), (Some("a:bc"), false));
/// let seen = inspect(&value).unwrap().origin;
/// assert_eq!((seen.key_name.as_deref(), seen.key_name_is_guessed), (Some("a:bc:de"), true));
/// ```
///
/// # Errors
/// As for [`inspect`].
pub fn inspect_with(stored: &[u8], names: &[KeyName<'_>]) -> Result<Inspection, InspectError> {
    let size = stored.len();
    let unknown = |fault| InspectError::new(fault, Partial { size, ..Partial::default() });
    if stored.is_empty() {
        return Err(unknown(InspectFault::Empty));
    }
    if let Some(error) = incomplete::prefix(stored) {
        return Err(error);
    }
    if !stored.starts_with(prefix::ENCRYPTED.as_bytes()) {
        return Ok(identity::identity(stored));
    }
    // Both types are non-exhaustive. Whatever else they may hold later: what begins with `k8s:enc:` is never plaintext.
    let other = || unknown(InspectFault::UnknownProvider { similar: None });
    match split(stored, names) {
        Stored::Value { provider, name, payload, certain, well_formed: _ } => {
            let (format, read) = format_of(provider).ok_or_else(other)?;
            // The head of a value may be well-formed with a part of its name.
            let may_go_on = !names.contains(&KeyName { provider, name })
                && !format.is_kms()
                && incomplete::may_go_on(payload);
            let is_name_guessed = !certain || may_go_on;
            read(&Found { format, name, is_name_guessed, body: payload, size })
        }
        Stored::NoName { provider, rest } => {
            let (format, _) = format_of(provider).ok_or_else(other)?;
            Err(incomplete::name(format, rest, size))
        }
        Stored::UnknownProvider { similar, .. } => {
            let similar = similar.and_then(format_of).map(|(format, _)| format.title);
            Err(unknown(InspectFault::UnknownProvider { similar }))
        }
        _ => Err(other()),
    }
}

/// Returns [`inspect`]'s result as a JSON object.
///
/// # Errors
/// Returns the [`InspectError`] as a JSON object too, if [`inspect`] fails: its message is the member `error`, and what is known of the value follows
/// with the names that it has in an inspection.
pub fn inspect_json(stored: &[u8]) -> Result<String, String> {
    inspect_json_with(stored, &[])
}

/// Returns [`inspect_with`]'s result as a JSON object.
///
/// # Errors
/// As for [`inspect_json`].
pub fn inspect_json_with(stored: &[u8], names: &[KeyName<'_>]) -> Result<String, String> {
    match inspect_with(stored, names) {
        Ok(seen) => Ok(object(|json| seen.write(json))),
        Err(error) => Err(object(|json| error.write(json))),
    }
}

/// Writes an object.
fn object(members: impl FnOnce(&mut Writer)) -> String {
    let mut json = Writer::default();
    json.open('{');
    members(&mut json);
    json.close('}');
    json.finish()
}
