//! The part of Go's net/url that affects a unix socket's endpoint.

use super::render::quoted;
use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Returns the scheme in lower case, and the path with its escapes decoded. Upstream: net/url `Parse`, as of Go 1.26.
pub(super) fn parse(raw: &str) -> Result<(String, Vec<u8>), String> {
    let (address, fragment) = raw.split_once('#').unwrap_or((raw, ""));
    let parsed =
        parse_address(address).map_err(|error| format!("parse {}: {error}", quoted(address)))?;
    unescape(fragment, Part::Other).map_err(|error| format!("parse {}: {error}", quoted(raw)))?;
    Ok(parsed)
}

fn parse_address(raw: &str) -> Result<(String, Vec<u8>), String> {
    if raw.bytes().any(|c| c < b' ' || c == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (scheme, rest) = split_scheme(raw)?;
    let rest = rest.split_once('?').map_or(rest, |(path, _)| path);
    let mut path = rest;
    if !rest.starts_with('/') {
        if !scheme.is_empty() {
            // An opaque URL: it has no path.
            return Ok((scheme, Vec::new()));
        }
        if rest.split('/').next().is_some_and(|segment| segment.contains(':')) {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
    }
    if let Some(authority) = rest.strip_prefix("//")
        && (!scheme.is_empty() || !rest.starts_with("///"))
    {
        let slash = authority.find('/').unwrap_or(authority.len());
        let (authority, rest) = authority.split_at(slash);
        check_authority(authority)?;
        path = rest;
    }
    Ok((scheme, unescape(path, Part::Other)?))
}

fn split_scheme(raw: &str) -> Result<(String, &str), String> {
    for (i, c) in raw.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if i > 0 => {}
            ':' if i == 0 => return Err("missing protocol scheme".to_owned()),
            ':' => {
                let (scheme, rest) = raw.split_at(i);
                return Ok((scheme.to_ascii_lowercase(), rest.strip_prefix(':').unwrap_or(rest)));
            }
            _ => break,
        }
    }
    Ok((String::new(), raw))
}

/// Validates the host and the user. A unix socket has no use for them, but Go refuses an address in which they are malformed.
fn check_authority(authority: &str) -> Result<(), String> {
    let (user, host) = match authority.rsplit_once('@') {
        Some((user, host)) => (Some(user), host),
        None => (None, authority),
    };
    check_host(host)?;
    let Some(user) = user else { return Ok(()) };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:~!$&'()*+,;=%@".contains(c);
    if !user.chars().all(allowed) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    unescape(name, Part::Other)?;
    unescape(password, Part::Other).map(|_| ())
}

fn check_host(host: &str) -> Result<(), String> {
    match host.rfind('[') {
        Some(0) => {
            let Some(close) = host.rfind(']') else {
                return Err("missing ']' in host".to_owned());
            };
            let (literal, port) = host.split_at(close);
            check_port(port.strip_prefix(']').unwrap_or(port))?;
            let literal = literal.strip_prefix('[').unwrap_or(literal);
            let address = literal.split_once("%25").map_or(literal, |(address, _)| address);
            let address = unescape(address, Part::Host)?;
            let address = String::from_utf8_lossy(&address);
            if address.parse::<core::net::Ipv4Addr>().is_ok() {
                return Err("invalid IP-literal".to_owned());
            }
            // Go's message has more detail here; the result is the same.
            let valid = address.parse::<core::net::Ipv6Addr>().is_ok();
            if valid {
                Ok(())
            } else {
                Err(format!("invalid host: ParseAddr({}): unable to parse IP", quoted(&address)))
            }
        }
        Some(_) => Err("invalid IP-literal".to_owned()),
        None => {
            if let Some(colon) = host.rfind(':') {
                check_port(host.split_at(colon).1)?;
            }
            unescape(host, Part::Host).map(|_| ())
        }
    }
}

fn check_port(port: &str) -> Result<(), String> {
    let digits = port.strip_prefix(':');
    if port.is_empty() || digits.is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_digit())) {
        return Ok(());
    }
    Err(format!("invalid port {} after host", quoted(port)))
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Host,
    Other,
}

fn unescape(text: &str, part: Part) -> Result<Vec<u8>, String> {
    let escape_error = |bytes: &[u8]| {
        let bytes = bytes.get(..3).unwrap_or(bytes);
        format!("invalid URL escape {}", quoted(&String::from_utf8_lossy(bytes)))
    };
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&c, after)) = rest.split_first() {
        if c == b'%' {
            let byte = after
                .first_chunk::<2>()
                .and_then(|[high, low]| Some(hex(*high)? << 4 | hex(*low)?));
            let Some(byte) = byte else {
                return Err(escape_error(rest));
            };
            if part == Part::Host && byte < 0x80 && !rest.starts_with(b"%25") {
                return Err(escape_error(rest));
            }
            out.push(byte);
            rest = after.get(2..).unwrap_or_default();
            continue;
        }
        if part == Part::Host
            && c < 0x80
            && !(c.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&c))
        {
            return Err(format!(
                "invalid character {} in host name",
                quoted(&char::from(c).to_string())
            ));
        }
        out.push(c);
        rest = after;
    }
    Ok(out)
}

fn hex(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}
