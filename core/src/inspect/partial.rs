//! What is known of a value that is cut short or damaged.

use super::origin::Origin;
use crate::json::Writer;

/// The part of an [`Inspection`](super::Inspection) that is known of a value that is cut short or damaged. Contains no secret and no key ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// The provider and the name of the key, if the provider is known.
    pub origin: Option<Origin>,
    /// The length of what is there, in bytes.
    pub size: usize,
    /// The number of bytes that are missing at least, if the value is cut short.
    pub missing_at_least: Option<u64>,
}

impl Partial {
    /// Writes what is known as members, with the names that the members of an inspection have.
    pub(super) fn write(&self, json: &mut Writer) {
        let Self { origin, size, missing_at_least } = self;
        if let Some(origin) = origin {
            origin.write(json);
        }
        json.number("size", *size as u64);
        if let Some(missing) = missing_at_least {
            json.number("missingAtLeast", *missing);
        }
    }
}
