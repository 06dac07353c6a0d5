//! The file as decoded, before defaults and validation, each field with its place.

use super::fault::Position;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// A field of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Field<T> {
    /// Not there, or null: Go's JSON decoding does not tell these apart.
    #[default]
    Absent,
    /// There, but of the wrong type. The fault is recorded; nothing more is said about it.
    Bad,
    /// There.
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

    /// The place of the value, or that of what should hold it.
    pub(super) fn place(&self, holder: Position) -> Position {
        self.given().map_or(holder, |(_, at)| at)
    }
}

impl Field<String> {
    pub(super) fn text(&self) -> Option<(&str, Position)> {
        self.given().map(|(text, at)| (text.as_str(), at))
    }

    /// Go's zero value: absent and empty are the same. `None` if it did not decode.
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
    /// A misspelt provider was reported already: its absence is then no second fault.
    pub(super) has_unknown: bool,
}

impl RawProvider {
    /// The providers that are there, in upstream's order of looking.
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
        f.debug_struct("RawKey")
            .field("name", name)
            .finish_non_exhaustive()
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
