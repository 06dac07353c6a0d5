//! The annotations that a KMS v2 plugin adds to an encrypted DEK source, and their limits.
//!
//! Upstream: kmsv2/envelope.go, `validateAnnotations`.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::config::quoted;
use crate::map::Names;

/// The maximum total length of all annotation keys and values, 32 KiB: upstream's annotationsMaxSize.
pub const ANNOTATIONS_MAX: usize = 32 * 1024;

/// The annotations that a plugin adds to an encrypted DEK source, sorted by key. Each key occurs once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Vec<(String, Vec<u8>)>);

impl Annotations {
    /// Creates annotations from pairs that are already sorted and have no duplicate keys.
    pub(crate) fn sorted(pairs: Vec<(String, Vec<u8>)>) -> Self {
        debug_assert!(pairs.is_sorted_by(|(a, _), (b, _)| a < b));
        Self(pairs)
    }

    /// Sets the value of a key, and returns its previous value if there was one.
    pub fn insert(&mut self, key: String, value: Vec<u8>) -> Option<Vec<u8>> {
        match self.0.binary_search_by(|(at, _)| at.cmp(&key)) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| core::mem::replace(old, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Iterates over the annotations in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(key, value)| (&**key, &**value))
    }
}

/// Accepts the pairs in any order. If a key occurs more than once, its last value counts, as in a protobuf map.
impl From<Vec<(String, Vec<u8>)>> for Annotations {
    fn from(mut pairs: Vec<(String, Vec<u8>)>) -> Self {
        let mut last = Names::new();
        for (at, (key, _)) in pairs.iter().enumerate() {
            last.insert(Cow::Borrowed(key), at);
        }
        let order: Vec<usize> = last.into_values().collect();
        let take = |at: usize| pairs.get_mut(at).map(core::mem::take);
        Self(order.into_iter().filter_map(take).collect())
    }
}

impl<const N: usize> From<[(String, Vec<u8>); N]> for Annotations {
    fn from(pairs: [(String, Vec<u8>); N]) -> Self {
        Self::from(Vec::from(pairs))
    }
}

impl FromIterator<(String, Vec<u8>)> for Annotations {
    fn from_iter<I: IntoIterator<Item = (String, Vec<u8>)>>(pairs: I) -> Self {
        Self::from(Vec::from_iter(pairs))
    }
}

impl IntoIterator for Annotations {
    type Item = (String, Vec<u8>);
    type IntoIter = alloc::vec::IntoIter<(String, Vec<u8>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Checks the keys and the total length of annotations.
///
/// # Errors
/// Returns [`AnnotationsError::Key`] or [`AnnotationsError::TooLong`].
pub fn validate_annotations<'a>(
    annotations: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> Result<(), AnnotationsError> {
    let mut len = 0usize;
    for (key, value) in annotations {
        if let Err((part, fault)) = validate_annotation_key(key) {
            return Err(AnnotationsError::Key {
                key: part.chars().take(DOMAIN_NAME_MAX).collect(),
                fault,
            });
        }
        len = len.saturating_add(key.len()).saturating_add(value.len());
    }
    if len > ANNOTATIONS_MAX { Err(AnnotationsError::TooLong { len }) } else { Ok(()) }
}

/// The reason why annotations are invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnnotationsError {
    /// A key is not a fully qualified domain name.
    Key {
        /// The invalid part of the key, cut after 253 characters.
        key: String,
        /// The reason why the key is invalid.
        fault: AnnotationKeyFault,
    },
    /// The annotations are longer than [`ANNOTATIONS_MAX`].
    TooLong {
        /// The sum of the lengths of keys and values, in bytes.
        len: usize,
    },
}

impl fmt::Display for AnnotationsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { key: _, fault: fault @ AnnotationKeyFault::Empty } => {
                write!(f, "failed to validate annotations: annotations: {fault}")
            }
            Self::Key { key, fault } => write!(
                f,
                "failed to validate annotations: annotations: Invalid value: {}: {fault}",
                quoted(key)
            ),
            Self::TooLong { len } => write!(
                f,
                "failed to validate annotations: total size of annotations is {len}, which exceeds the max size of {ANNOTATIONS_MAX}"
            ),
        }
    }
}

impl core::error::Error for AnnotationsError {}

/// The reason why an annotation key is invalid. Its `Display` output is upstream's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AnnotationKeyFault {
    /// The key is empty.
    Empty,
    /// The key is not a domain name.
    NotADomainName {
        /// Whether the key has more than 253 characters.
        too_long: bool,
        /// Whether a label is empty, begins or ends with `-`, or contains a character other than lower-case letters, digits and `-`.
        malformed: bool,
    },
    /// The key has only one label.
    OneSegment,
    /// A label has more than 63 characters.
    LabelTooLong,
}

impl fmt::Display for AnnotationKeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Required value"),
            Self::NotADomainName { too_long, malformed } => {
                if *too_long {
                    write!(f, "must be no more than {DOMAIN_NAME_MAX} characters")?;
                }
                if *too_long && *malformed {
                    f.write_str(",")?;
                }
                if *malformed {
                    f.write_str(concat!(
                        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and ",
                        "end with an alphanumeric character (e.g. 'example.com', regex used for validation is ",
                        r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
                    ))?;
                }
                Ok(())
            }
            Self::OneSegment => {
                f.write_str("should be a domain with at least two segments separated by dots")
            }
            Self::LabelTooLong => write!(f, "must be no more than {LABEL_MAX} characters"),
        }
    }
}

/// The maximum length of a domain name, 253 characters: upstream's DNS1123SubdomainMaxLength.
const DOMAIN_NAME_MAX: usize = 253;
/// The maximum length of a label, 63 characters: upstream's DNS1123LabelMaxLength.
const LABEL_MAX: usize = 63;

/// Checks that a name is a fully qualified domain name: at least two labels of RFC 1123 (lower-case letters, digits, and `-` inside), at most 253
/// characters in total and 63 in a label, with an optional trailing dot. The error contains the invalid part.
///
/// Upstream: apimachinery's util/validation `IsFullyQualifiedDomainName`.
fn validate_annotation_key(name: &str) -> Result<(), (&str, AnnotationKeyFault)> {
    if name.is_empty() {
        return Err((name, AnnotationKeyFault::Empty));
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let bytes = label.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
        bytes.iter().all(inner)
            && bytes.first().is_some_and(|b| *b != b'-')
            && bytes.last().is_some_and(|b| *b != b'-')
    };
    let too_long = name.len() > DOMAIN_NAME_MAX;
    let malformed = !name.split('.').all(is_label);
    if too_long || malformed {
        return Err((name, AnnotationKeyFault::NotADomainName { too_long, malformed }));
    }
    if !name.as_bytes().contains(&b'.') {
        return Err((name, AnnotationKeyFault::OneSegment));
    }
    match name.split('.').find(|label| label.len() > LABEL_MAX) {
        Some(label) => Err((label, AnnotationKeyFault::LabelTooLong)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn annotations_are_sorted_and_the_last_of_a_key_wins() {
        let pair = |key: &str, value: u8| (key.to_string(), Vec::from([value]));
        let annotations =
            Annotations::from([pair("c.d", 1), pair("a.b", 2), pair("c.d", 3), pair("", 4)]);
        let sorted: Vec<_> = annotations.iter().collect();
        assert_eq!(sorted, [("", &[4][..]), ("a.b", &[2]), ("c.d", &[3])]);
        let owned: Vec<_> = annotations.clone().into_iter().collect();
        assert_eq!(owned, [pair("", 4), pair("a.b", 2), pair("c.d", 3)]);
        let mut annotations = annotations;
        assert_eq!(annotations.insert("c.d".to_string(), Vec::new()), Some([3].into()));
        assert_eq!(annotations.insert("b.c".to_string(), Vec::new()), None);
        let keys: Vec<_> = annotations.iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["", "a.b", "b.c", "c.d"]);
    }

    #[test]
    fn the_limit_of_annotations_holds_to_the_byte() {
        let table = [
            (
                "the largest annotations",
                validate_annotations([("a.b", &[0; 32765][..])].into_iter()),
                Ok(()),
            ),
            (
                "one byte more",
                validate_annotations([("a.b", &[0; 32766][..])].into_iter()),
                Err(AnnotationsError::TooLong { len: 32769 }),
            ),
        ];
        for (desc, given, expected) in table {
            assert_eq!(given, expected, "{desc}");
        }
    }

    #[test]
    fn annotation_keys_are_domain_names() {
        let label = "a".repeat(63);
        let longest = [&*label, &label, &label, &label[2..]].join(".");
        let table = [
            ("two labels", "encrypted.kms", true),
            ("a trailing dot", "version.encryption.remote.io.", true),
            ("one label", "kms", false),
            ("nothing", "", false),
            ("only a dot", ".", false),
            ("capitals", "A.b", false),
            ("an empty label", "a..b", false),
            ("a dash at the edge", "-a.b", false),
            ("a dash inside", "a-1.b", true),
            ("63 characters in a label", &alloc::format!("{label}.b"), true),
            ("64 characters in a label", &alloc::format!("{label}a.b"), false),
            ("not ASCII", "ä.b", false),
            ("253 characters", &longest, true),
            ("253 characters and a dot at the end", &alloc::format!("{longest}."), true),
            ("254 characters", &alloc::format!("a{longest}"), false),
        ];
        for (desc, key, expected) in table {
            assert_eq!(validate_annotation_key(key).is_ok(), expected, "{desc}");
        }
    }

    /// Expects the errors that upstream's `validateAnnotations` (v0.37.2) returns for the same keys.
    #[test]
    fn annotation_errors_have_upstreams_text() {
        const NOT_A_NAME: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
        const ONE_SEGMENT: &str = "should be a domain with at least two segments separated by dots";
        let label = "a".repeat(64);
        let name = alloc::format!(
            "{}.{}.{}.{}.k8s.io",
            "a".repeat(63),
            "b".repeat(63),
            "c".repeat(63),
            "d".repeat(55)
        );
        let long = "A".repeat(254);
        // The key, the part of it that the error contains, and the error.
        let table = [
            (".", "", NOT_A_NAME),
            ("...", "..", NOT_A_NAME),
            (".io", ".io", NOT_A_NAME),
            ("com", "com", ONE_SEGMENT),
            ("Dev.k8s.io", "Dev.k8s.io", NOT_A_NAME),
            ("*.example.com", "*.example.com", NOT_A_NAME),
            ("underscores_are_bad.k8s.io", "underscores_are_bad.k8s.io", NOT_A_NAME),
            ("http://foo.example.com", "http://foo.example.com", NOT_A_NAME),
            (&alloc::format!("{label}.k8s.io"), &label, "must be no more than 63 characters"),
            // Dekker cuts the key in these two errors.
            (&name, &name[..253], "must be no more than 253 characters"),
            (
                &long,
                &long[..253],
                &alloc::format!("must be no more than 253 characters,{NOT_A_NAME}"),
            ),
        ];
        for (key, shown, fault) in table {
            let error = validate_annotations([(key, &[][..])].into_iter()).unwrap_err();
            assert_eq!(
                error.to_string(),
                alloc::format!(
                    "failed to validate annotations: annotations: Invalid value: \"{shown}\": {fault}"
                )
            );
        }
        let error = validate_annotations([("", &[][..])].into_iter()).unwrap_err();
        let text = "failed to validate annotations: annotations: Required value";
        assert_eq!(error.to_string(), text);
        let error = validate_annotations([("simple.com", &[0; 32 << 10][..])].into_iter());
        let text = "failed to validate annotations: total size of annotations is 32778, which exceeds the max size of 32768";
        assert_eq!(error.unwrap_err().to_string(), text);
    }
}
