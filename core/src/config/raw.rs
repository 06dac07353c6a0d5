//! The decoded file before defaults and validation, with the position of each field.

use super::fault::Position;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// A field of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Field<T> {
    /// The field is missing or null: Go's JSON decoding does not distinguish these.
    #[default]
    Absent,
    /// The field has the wrong type. The error is already recorded and is not reported again.
    Bad,
    /// The field has a value.
    Given(T, Position),
}

impl<T> Field<T> {
    pub(super) fn given(&self) -> Option<(&T, Position)> {
        match self {
            Self::Given(value, at) => Some((value, *at)),
            Self::Absent | Self::Bad => None,
        }
    }

    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Given(..) | Self::Bad => true,
            Self::Absent => false,
        }
    }

    /// Returns the position of the value, or else that of the mapping that should contain it.
    pub(super) fn place(&self, holder: Position) -> Position {
        self.given().map_or(holder, |(_, at)| at)
    }
}

impl Field<String> {
    pub(super) fn text(&self) -> Option<(&str, Position)> {
        self.given().map(|(text, at)| (text.as_str(), at))
    }

    /// Returns the text; an absent field is the same as an empty one (Go's zero value). Returns `None` if the field could not be decoded.
    pub(super) fn or_empty(&self) -> Option<&str> {
        match self {
            Self::Given(text, _) => Some(text),
            Self::Absent => Some(""),
            Self::Bad => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct RawConfig {
    pub(super) resources: Field<Vec<Field<RawRule>>>,
    pub(super) at: Position,
}

#[derive(Debug)]
pub(super) struct RawRule {
    pub(super) resources: Field<Vec<Field<String>>>,
    pub(super) providers: Field<Vec<Field<RawProvider>>>,
    pub(super) at: Position,
}

#[derive(Debug, Default)]
pub(super) struct RawProvider {
    pub(super) kms: Field<RawKms>,
    pub(super) aesgcm: Field<RawKeys>,
    pub(super) aescbc: Field<RawKeys>,
    pub(super) secretbox: Field<RawKeys>,
    pub(super) identity: Field<()>,
    /// Whether there are unknown fields. A misspelt provider has already been reported, so its absence is not a second error.
    pub(super) has_unknown: bool,
}

impl RawProvider {
    /// Returns the names of the providers that are present, in the order in which upstream checks them.
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        [
            ("kms", self.kms.is_there()),
            ("aesgcm", self.aesgcm.is_there()),
            ("aescbc", self.aescbc.is_there()),
            ("secretbox", self.secretbox.is_there()),
            ("identity", self.identity.is_there()),
        ]
        .into_iter()
        .filter_map(|(name, there)| there.then_some(name))
    }
}

#[derive(Debug)]
pub(super) struct RawKeys {
    pub(super) keys: Field<Vec<Field<RawKey>>>,
}

pub(super) struct RawKey {
    pub(super) name: Field<String>,
    pub(super) secret: Field<Zeroizing<String>>,
}

impl core::fmt::Debug for RawKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self { name, secret: _ } = self;
        f.debug_struct("RawKey").field("name", name).finish_non_exhaustive()
    }
}

#[derive(Debug)]
pub(super) struct RawKms {
    pub(super) api_version: Field<String>,
    pub(super) name: Field<String>,
    pub(super) cache_size: Field<i32>,
    pub(super) endpoint: Field<String>,
    /// Nanoseconds.
    pub(super) timeout: Field<i64>,
}
