//! Query strings: the API's, which are parsed strictly, and Go's, which are parsed leniently.

use std::fmt;

use crate::model::Location;

/// Why the API's query does not name a location. The error texts name the parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum QueryError {
    /// Neither `resource` nor `key`.
    Unknown(String),
    /// Present more than once.
    Repeated(&'static str),
    /// Absent or empty.
    Missing(&'static str),
    /// A `%` that is not followed by two hexadecimal digits.
    BadEscape(String),
    /// Not UTF-8. Only a key may be any bytes.
    NotUtf8(&'static str),
}

impl fmt::Display for QueryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "unknown parameter {name:?}; expected resource and key")
            }
            Self::Repeated(name) => write!(f, "parameter {name:?} is given more than once"),
            Self::Missing(name) => {
                write!(f, "parameter {name:?} is required and must not be empty")
            }
            Self::BadEscape(name) => write!(f, "parameter {name:?} has a bad percent escape"),
            Self::NotUtf8(name) => write!(f, "parameter {name:?} is not UTF-8"),
        }
    }
}

/// Parses `resource=<UTF-8>&key=<bytes>`: in any order, each exactly once, with no other parameter.
///
/// Both values are percent-decoded as in RFC 3986: a `+` is a `+`, not a space as in HTML forms. A storage key may contain a `+`, and a value that is
/// encrypted for the wrong key could not be decrypted at its own.
pub(super) fn location(query: &str) -> Result<Location, QueryError> {
    let (mut resource, mut key) = (None, None);
    for pair in query.split('&').filter(|_| !query.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, slot) = match name {
            "resource" => ("resource", &mut resource),
            "key" => ("key", &mut key),
            other => return Err(QueryError::Unknown(other.to_owned())),
        };
        let value = unescape(value.as_bytes(), false)
            .ok_or_else(|| QueryError::BadEscape(name.to_owned()))?;
        if slot.replace(value).is_some() {
            return Err(QueryError::Repeated(name));
        }
    }
    let given = |value: Option<Vec<u8>>, name| {
        value.filter(|value| !value.is_empty()).ok_or(QueryError::Missing(name))
    };
    let resource = String::from_utf8(given(resource, "resource")?)
        .map_err(|_| QueryError::NotUtf8("resource"))?;
    Ok(Location { resource, key: given(key, "key")? })
}

/// Returns the pairs that Go's `url.URL.Query` finds, in order. A `+` is a space. A pair with a `;` or an invalid escape is skipped.
pub(super) fn go_pairs(query: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.contains(';'))
        .filter_map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((unescape(name.as_bytes(), true)?, unescape(value.as_bytes(), true)?))
        })
        .collect()
}

/// Percent-decodes. Returns `None` if a `%` is not followed by two hexadecimal digits.
pub(super) fn unescape(text: &[u8], plus_is_space: bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'%' => {
                let ([high, low], tail) = rest.split_first_chunk()?;
                let digit = |b: u8| char::from(b).to_digit(16).and_then(|d| u8::try_from(d).ok());
                out.push(digit(*high)? << 4 | digit(*low)?);
                rest = tail;
            }
            b'+' if plus_is_space => out.push(b' '),
            other => out.push(*other),
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn location_is_exact() {
        let at = |resource: &str, key: &[u8]| {
            Ok(Location { resource: resource.to_owned(), key: key.to_vec() })
        };
        let table = [
            (
                "plain",
                "resource=secrets&key=/registry/secrets/ns/a",
                at("secrets", b"/registry/secrets/ns/a"),
            ),
            ("other order", "key=/a&resource=secrets", at("secrets", b"/a")),
            (
                "escaped",
                "resource=deployments%2eapps&key=%2Fa%26b%3dc",
                at("deployments.apps", b"/a&b=c"),
            ),
            ("key of any bytes", "resource=s&key=/%ff%00%80", at("s", b"/\xff\0\x80")),
            ("plus is a plus", "resource=a+b&key=/a+b%20c", at("a+b", b"/a+b c")),
            ("equals sign in a value", "resource=s&key=/a=b", at("s", b"/a=b")),
            ("empty query", "", Err(QueryError::Missing("resource"))),
            ("no key", "resource=secrets", Err(QueryError::Missing("key"))),
            ("no resource", "key=/a", Err(QueryError::Missing("resource"))),
            ("empty key", "resource=s&key=", Err(QueryError::Missing("key"))),
            ("key without a value", "resource=s&key", Err(QueryError::Missing("key"))),
            ("empty resource", "resource=&key=/a", Err(QueryError::Missing("resource"))),
            ("repeated key", "resource=s&key=/a&key=/a", Err(QueryError::Repeated("key"))),
            (
                "repeated resource",
                "resource=s&resource=&key=/a",
                Err(QueryError::Repeated("resource")),
            ),
            (
                "unknown",
                "resource=s&key=/a&namespace=x",
                Err(QueryError::Unknown("namespace".to_owned())),
            ),
            (
                "names are case-sensitive",
                "Resource=s&key=/a",
                Err(QueryError::Unknown("Resource".to_owned())),
            ),
            ("empty name", "resource=s&key=/a&", Err(QueryError::Unknown(String::new()))),
            (
                "escape cut short",
                "resource=s&key=/a%2",
                Err(QueryError::BadEscape("key".to_owned())),
            ),
            (
                "escape of no digits",
                "resource=s&key=%+1",
                Err(QueryError::BadEscape("key".to_owned())),
            ),
            (
                "escape without digits",
                "resource=%zz&key=/a",
                Err(QueryError::BadEscape("resource".to_owned())),
            ),
            ("resource not UTF-8", "resource=%ff&key=/a", Err(QueryError::NotUtf8("resource"))),
        ];
        for (desc, query, expected) in table {
            assert_eq!(location(query), expected, "{desc}");
        }
    }

    #[test]
    fn errors_name_the_parameter() {
        let table = [
            ("namespace=x", "unknown parameter \"namespace\"; expected resource and key"),
            ("key=a&key=b", "parameter \"key\" is given more than once"),
            ("key=a", "parameter \"resource\" is required and must not be empty"),
            ("key=%", "parameter \"key\" has a bad percent escape"),
            ("key=a&resource=%80", "parameter \"resource\" is not UTF-8"),
        ];
        for (query, expected) in table {
            assert_eq!(location(query).unwrap_err().to_string(), expected, "{query}");
        }
    }

    #[test]
    fn go_pairs_skip_malformed_pairs() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(Vec<u8>, Vec<u8>)> {
            pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
        };
        let table = [
            ("empty", "", pairs(&[])),
            ("flag", "verbose", pairs(&[("verbose", "")])),
            ("repeated", "exclude=a&exclude=b", pairs(&[("exclude", "a"), ("exclude", "b")])),
            ("plus and escapes", "ex%63lude=a+b%2Bc", pairs(&[("exclude", "a b+c")])),
            ("semicolon", "exclude=a;b&verbose", pairs(&[("verbose", "")])),
            ("bad escape", "exclude=%zz&%=1&&verbose=1", pairs(&[("verbose", "1")])),
        ];
        for (desc, query, expected) in table {
            assert_eq!(go_pairs(query), expected, "{desc}");
        }
    }
}
