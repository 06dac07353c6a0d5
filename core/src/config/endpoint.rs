//! The address that a KMS plugin listens on: Go's `url.Parse` and k8s.io/kms's `ParseEndpoint`, for `unix` only.

use super::render::quoted;
use super::url;
use crate::config::kms_provider::SocketAddress;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};

/// `sun_path` has 108 bytes, one of which is the NUL that ends a path or starts an abstract name.
const MAX_ADDRESS: usize = 107;

/// Returns the socket address that `endpoint` names.
///
/// # Errors
/// Returns upstream's message for what upstream refuses, and Dekker's own message for an address that can never be dialled.
pub(super) fn parse(endpoint: &str) -> Result<SocketAddress, String> {
    let (scheme, path) = url::parse(endpoint)
        .map_err(|error| format!("invalid endpoint for kms provider, error: {error}"))?;
    if scheme != "unix" {
        return Err(format!(
            "unsupported scheme {} for KMS provider, only unix is supported",
            quoted(&scheme)
        ));
    }
    let path = String::from_utf8(path)
        .map_err(|_| "the socket's address is not valid UTF-8".to_string())?;
    let (address, length) = match path.strip_prefix("/@") {
        Some(name) => (SocketAddress::Abstract(name.to_owned()), name.len()),
        None => (SocketAddress::Path(path.clone()), path.len()),
    };
    if length == 0 {
        // MUST DIFFER: upstream accepts these endpoints but can never dial them.
        return Err("the endpoint has no address to dial: write unix:///path/of.sock, or unix:///@name for an abstract socket".to_string());
    }
    if path.contains('\0') {
        return Err("the socket's address contains a NUL byte".to_string());
    }
    if length > MAX_ADDRESS {
        return Err(format!(
            "the socket's address has {length} bytes, more than the {MAX_ADDRESS} allowed"
        ));
    }
    Ok(address)
}

/// Returns whether the endpoint has parts that are parsed but not used: a host, a query or a fragment.
pub(super) fn has_unused_parts(endpoint: &str) -> bool {
    let rest = endpoint.split_once(':').map_or("", |(_, rest)| rest);
    let host = rest.strip_prefix("//").is_some_and(|rest| !rest.starts_with('/'));
    host || rest.contains(['?', '#'])
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;

    #[test]
    fn endpoints_read_as_gos_parser_reads_them() {
        let path = |text: &str| Ok(SocketAddress::Path(text.to_string()));
        let name = |text: &str| Ok(SocketAddress::Abstract(text.to_string()));
        let invalid =
            |text: &str| Err(format!("invalid endpoint for kms provider, error: parse {text}"));
        let scheme = |text: &str| {
            Err(format!("unsupported scheme {text} for KMS provider, only unix is supported"))
        };
        let nowhere = || {
            Err("the endpoint has no address to dial: write unix:///path/of.sock, or unix:///@name for an abstract socket".to_string())
        };
        let long = "x".repeat(107);
        let table: Vec<(&str, String, Result<SocketAddress, String>)> = [
            ("path", "unix:///run/kms.sock", path("/run/kms.sock")),
            ("one slash", "unix:/run/kms.sock", path("/run/kms.sock")),
            ("four slashes", "unix:////run", path("//run")),
            ("scheme in capitals", "UNIX:///run", path("/run")),
            ("escapes are decoded", "unix:///a%20b", path("/a b")),
            ("plus stays", "unix:///a+b", path("/a+b")),
            ("a host is dropped", "unix://host/run", path("/run")),
            ("a host with port is dropped", "unix://host:80/run", path("/run")),
            ("a user is dropped", "unix://u:p@h/run", path("/run")),
            ("query and fragment are dropped", "unix:///run?a#b", path("/run")),
            ("abstract", "unix:///@kms", name("kms")),
            ("abstract by escape", "unix:///%40kms", name("kms")),
            ("at sign further in", "unix:////@kms", path("//@kms")),
            ("IPv6 host", "unix://[::1]/run", path("/run")),
            ("relative", "unix:rel.sock", nowhere()),
            ("only a host", "unix://@kms", nowhere()),
            ("only a host", "unix://kms", nowhere()),
            ("nothing", "unix:", nowhere()),
            ("empty abstract name", "unix:///@", nowhere()),
            ("no scheme", "/run/kms.sock", scheme("\"\"")),
            ("other scheme", "tcp://localhost", scheme("\"tcp\"")),
            ("other scheme, opaque", "http:x", scheme("\"http\"")),
            ("missing scheme", "://x", invalid("\"://x\": missing protocol scheme")),
            ("bad escape", "unix:///%zz", invalid("\"unix:///%zz\": invalid URL escape \"%zz\"")),
            ("short escape", "unix:///%4", invalid("\"unix:///%4\": invalid URL escape \"%4\"")),
            (
                "bad escape in fragment",
                "unix:///a#%z",
                invalid("\"unix:///a#%z\": invalid URL escape \"%z\""),
            ),
            (
                "colon in first segment",
                "a_b:c",
                invalid("\"a_b:c\": first path segment in URL cannot contain colon"),
            ),
            (
                "control",
                "unix:///\u{7f}",
                invalid("\"unix:///\\x7f\": net/url: invalid control character in URL"),
            ),
            (
                "host",
                "unix://a b/",
                invalid("\"unix://a b/\": invalid character \" \" in host name"),
            ),
            ("port", "unix://a:b/", invalid("\"unix://a:b/\": invalid port \":b\" after host")),
            ("bracket", "unix://[::1/", invalid("\"unix://[::1/\": missing ']' in host")),
            ("userinfo", "unix://a<@b/", invalid("\"unix://a<@b/\": net/url: invalid userinfo")),
            ("NUL", "unix:///a%00", Err("the socket's address contains a NUL byte".to_string())),
            (
                "not UTF-8",
                "unix:///%ff",
                Err("the socket's address is not valid UTF-8".to_string()),
            ),
        ]
        .map(|(desc, endpoint, want)| (desc, endpoint.to_string(), want))
        .into_iter()
        .chain([
            ("longest name", format!("unix:///@{long}"), name(&long)),
            (
                "too long",
                format!("unix:///{long}"),
                Err("the socket's address has 108 bytes, more than the 107 allowed".to_string()),
            ),
        ])
        .collect();
        for (desc, endpoint, want) in table {
            assert_eq!(parse(&endpoint), want, "{desc}: {endpoint}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_panic(text in "(unix:)?/{0,4}\\PC*") {
            let _ = parse(&text);
            let _ = has_unused_parts(&text);
        }
    }
}
