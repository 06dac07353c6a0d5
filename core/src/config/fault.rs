//! Errors and warnings about a file, with their positions.

use crate::map::Names;
use alloc::borrow::Cow;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// A position in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// One error or warning: the field, the message and the position in the file.
///
/// Displays as `<path>: <message>`, as upstream prints a field error. Never contains a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// The path of the field, such as `resources[0].providers[1].kms.endpoint`; empty for the file as a whole.
    pub path: String,
    /// The message, such as `Invalid value: "x": timeout should be a positive value`.
    pub message: String,
    /// The position of the value, of the key if the field is unknown or duplicate, or of the mapping that lacks a required field.
    pub position: Option<Position>,
}

impl Finding {
    /// A finding about the file as a whole, or about its text.
    pub(super) fn file(message: impl Into<String>, position: Option<Position>) -> Self {
        Self { path: String::new(), message: message.into(), position }
    }

    pub(super) fn new(path: impl Into<String>, message: impl Into<String>, at: Position) -> Self {
        Self { path: path.into(), message: message.into(), position: Some(at) }
    }

    /// Upstream's `field.Required`.
    pub(super) fn required(
        path: impl Into<String>,
        detail: impl fmt::Display,
        at: Position,
    ) -> Self {
        Self::new(path, required(&detail), at)
    }

    /// Upstream's `field.Invalid`; `value` is already formatted.
    pub(super) fn invalid(
        path: impl Into<String>,
        value: impl fmt::Display,
        detail: impl fmt::Display,
        at: Position,
    ) -> Self {
        Self::new(path, invalid(&value, &detail), at)
    }
}

// Not generic, so that these are compiled only once and not for every displayed type.

fn required(detail: &dyn fmt::Display) -> String {
    format!("Required value: {detail}")
}

fn invalid(value: &dyn fmt::Display, detail: &dyn fmt::Display) -> String {
    format!("Invalid value: {value}: {detail}")
}

/// Returns the path of a field: `path.name`.
pub(super) fn field(path: &str, name: &str) -> String {
    let dot = if path.is_empty() { "" } else { "." };
    [path, dot, name].concat()
}

/// Returns the path of a list element: `path[index]`.
pub(super) fn element(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.path, self.message)
        }
    }
}

/// All errors in a file; never empty.
///
/// Displays as upstream's aggregate: a single error as itself, several as `[a, b]`, with identical texts only once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Finding>);

impl Faults {
    /// Creates the list from `findings`, which must not be empty.
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        debug_assert!(!findings.is_empty());
        Self(findings)
    }

    /// Returns the errors: first those of the text and its fields, then those of validation, in upstream's order.
    pub fn iter(&self) -> core::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    /// Returns the errors as a list.
    #[must_use]
    pub fn into_vec(self) -> Vec<Finding> {
        self.0
    }
}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Finding;
    type IntoIter = core::slice::Iter<'a, Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        let mut seen = Names::new();
        let mut texts: Vec<&str> = Vec::new();
        for text in &all {
            if seen.insert(Cow::Borrowed(text), 0).is_none() {
                texts.push(text);
            }
        }
        match texts.as_slice() {
            [only] => f.write_str(only),
            many => write!(f, "[{}]", many.join(", ")),
        }
    }
}

impl core::error::Error for Faults {}

/// The result of [`check`](super::check). Errors make the file unusable; warnings do not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The errors, which prevent the file from being loaded.
    pub faults: Vec<Finding>,
    /// Warnings about settings that are allowed but probably unintended.
    pub warnings: Vec<Finding>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn an_aggregate_error_matches_upstreams_text() {
        let at = Position { line: 1, column: 2 };
        let a = || Finding::required("a", "x", at);
        let b = || Finding::invalid("b", 3, "y", at);
        let table = [
            ("one", vec![a()], "a: Required value: x"),
            ("two", vec![a(), b()], "[a: Required value: x, b: Invalid value: 3: y]"),
            ("the same text once", vec![a(), a()], "a: Required value: x"),
        ];
        for (desc, findings, want) in table {
            assert_eq!(Faults::new(findings).to_string(), want, "{desc}");
        }
    }
}
