//! Decodes hex and base64, in pieces.

use alloc::vec::Vec;

use crate::form::Form;
use crate::text;

/// A character is not a digit of the encoding.
pub(crate) struct NotADigit;

/// Decodes hex. White space and the separators that tools print may stand between two bytes, and `0x` or `\x` before each.
#[derive(Clone, Default)]
pub(crate) struct Hex {
    high: Option<u8>,
}

pub(crate) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

impl Hex {
    pub(crate) fn push(&mut self, mut text: &[u8], out: &mut Vec<u8>) -> Result<(), NotADigit> {
        out.reserve(text.len() / 2);
        while let Some((&byte, rest)) = text.split_first() {
            let digit = hex_digit(byte);
            // Most text is digits without separators.
            if let (None, Some(high), Some(low)) =
                (self.high, digit, rest.first().and_then(|byte| hex_digit(*byte)))
            {
                out.push(high << 4 | low);
                text = rest.get(1..).unwrap_or_default();
                continue;
            }
            if let Some(high) = self.high {
                out.push(high << 4 | digit.ok_or(NotADigit)?);
                self.high = None;
                text = rest;
                continue;
            }
            text = match (byte, rest) {
                (b'0' | b'\\', [b'x' | b'X', rest @ ..]) => match rest.first() {
                    Some(next) if hex_digit(*next).is_some() => rest,
                    _ => return Err(NotADigit),
                },
                (b' ' | b'\t' | b',' | b':' | b'-', _) => rest,
                _ => {
                    self.high = Some(digit.ok_or(NotADigit)?);
                    rest
                }
            };
        }
        Ok(())
    }

    /// Whether the digits make whole bytes.
    pub(crate) fn is_whole(&self) -> bool {
        self.high.is_none()
    }
}

/// Decodes base64 of either alphabet, with padding or without.
#[derive(Clone, Default)]
pub(crate) struct Base64 {
    bits: u32,
    /// The characters since the last whole quantum of four.
    count: u8,
    padding: u8,
    url: bool,
}

/// No digit.
const INVALID: u8 = 0xff;
/// `-` or `_`: the alphabet for URLs. The digit is in the lower bits.
const URL: u8 = 0x40;
const DIGITS: [u8; 256] = {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut digits = [INVALID; 256];
    let mut digit = 0;
    while digit < 64 {
        digits[alphabet[digit as usize] as usize] = digit;
        digit += 1;
    }
    digits[b'-' as usize] = URL | 62;
    digits[b'_' as usize] = URL | 63;
    digits
};

fn digit(byte: u8) -> u8 {
    // The table has an element for each byte.
    DIGITS[usize::from(byte)]
}

impl Base64 {
    pub(crate) fn push(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotADigit> {
        out.reserve(text.len() / 4 * 3 + 3);
        let mut quanta = text.chunks_exact(4);
        // Most text is whole quanta of the standard alphabet.
        if self.count == 0 && self.padding == 0 {
            let mut done = 0;
            for quantum in quanta.by_ref() {
                let &[a, b, c, d] = quantum else { break };
                let [a, b, c, d] = [digit(a), digit(b), digit(c), digit(d)];
                if (a | b | c | d) >= URL {
                    break;
                }
                let bits =
                    u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
                let [_, bytes @ ..] = bits.to_be_bytes();
                out.extend_from_slice(&bytes);
                done += 4;
            }
            return self.slowly(text.get(done..).unwrap_or_default(), out);
        }
        self.slowly(text, out)
    }

    fn slowly(&mut self, text: &[u8], out: &mut Vec<u8>) -> Result<(), NotADigit> {
        for &byte in text {
            if byte == b'=' {
                self.padding += 1;
                if self.count < 2 || self.count + self.padding > 4 {
                    return Err(NotADigit);
                }
                continue;
            }
            let digit = digit(byte);
            if digit == INVALID || self.padding > 0 {
                return Err(NotADigit);
            }
            self.url |= digit & URL != 0;
            self.bits = self.bits << 6 | u32::from(digit & 0x3f);
            self.count += 1;
            if self.count == 4 {
                let [_, bytes @ ..] = self.bits.to_be_bytes();
                out.extend_from_slice(&bytes);
                self.bits = 0;
                self.count = 0;
            }
        }
        Ok(())
    }

    /// Whether the text is at a boundary of bytes where it may end or be followed by another value.
    pub(crate) fn is_whole(&self) -> bool {
        match (self.count, self.padding) {
            (0, 0) => true,
            (2, 0 | 2) => self.bits & 0xf == 0,
            (3, 0 | 1) => self.bits & 0x3 == 0,
            _ => false,
        }
    }

    /// Writes the bytes of the last, incomplete quantum.
    pub(crate) fn finish(&self, out: &mut Vec<u8>) -> Result<(), NotADigit> {
        if !self.is_whole() {
            return Err(NotADigit);
        }
        let bits = self.bits << (6 * (4 - u32::from(self.count.min(4))) % 24);
        let [_, bytes @ ..] = bits.to_be_bytes();
        let len = usize::from(self.count.saturating_sub(1));
        out.extend_from_slice(bytes.get(..len).unwrap_or_default());
        Ok(())
    }

    pub(crate) fn is_url(&self) -> bool {
        self.url
    }
}

/// Decodes a text that is base64 and nothing else.
pub(crate) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    whole_base64(text).map(|(bytes, _)| bytes)
}

fn whole_base64(text: &[u8]) -> Option<(Vec<u8>, Form)> {
    let mut decoder = Base64::default();
    let mut out = Vec::new();
    // A string of JSON may contain line ends.
    for line in text.split(|byte| *byte == b'\n') {
        decoder.push(line.strip_suffix(b"\r").unwrap_or(line), &mut out).ok()?;
    }
    decoder.finish(&mut out).ok()?;
    Some((out, if decoder.is_url() { Form::Base64Url } else { Form::Base64 }))
}

fn whole_hex(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = Hex::default();
    let mut out = Vec::with_capacity(text.len() / 2);
    decoder.push(text, &mut out).ok()?;
    decoder.is_whole().then_some(out)
}

/// Splits the mark of an encoding of hex from the digits.
pub(crate) fn hex_mark(text: &[u8]) -> (Option<Form>, &[u8]) {
    match text {
        // `\\x`: COPY of Postgres escapes the backslash.
        [b'\\', b'\\', b'x', rest @ ..] => (Some(Form::PostgresHex), rest),
        [b'\\', b'x', _, _, b'\\', b'x', ..] => (Some(Form::EtcdctlHex), text),
        [b'\\', b'x', rest @ ..] => (Some(Form::PostgresHex), rest),
        [b'X' | b'x', b'\'', rest @ .., b'\''] => (Some(Form::SqliteHex), rest),
        [b'0', b'x' | b'X', ..] => (Some(Form::Hex), text),
        _ => (None, text),
    }
}

/// Decodes a text that is one value in hex or base64, with or without quotes. Digits that could be either are hex only if they decode to a stored
/// value or a key.
pub(crate) fn decode(text: &[u8]) -> Option<(Vec<u8>, Form)> {
    let text = text::unquoted(text.trim_ascii());
    let (form, digits) = hex_mark(text);
    if let Some(form) = form {
        return whole_hex(digits).map(|bytes| (bytes, form));
    }
    match whole_hex(text) {
        Some(bytes) if is_plausible(&bytes) => Some((bytes, Form::Hex)),
        _ => whole_base64(text),
    }
}

/// Whether decoded bytes begin as a stored value, a key or JSON does.
pub(crate) fn is_plausible(bytes: &[u8]) -> bool {
    text::begins_stored(bytes)
        || bytes.starts_with(text::CBOR_PREFIX)
        || matches!(bytes, [b'{', b'"' | b'\n' | b' ', ..])
        || text::is_key(bytes, 4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_strict_about_its_end() {
        for (text, bytes) in [
            ("", Some(&b""[..])),
            ("Zg==", Some(b"f")),
            ("Zg", Some(b"f")),
            ("Zm8=", Some(b"fo")),
            ("Zm8", Some(b"fo")),
            ("Zm9v", Some(b"foo")),
            ("Zm9vYg", Some(b"foob")),
            ("_-8", Some(b"\xff\xef")),
            ("/+8=", Some(b"\xff\xef")),
            ("Z", None),
            ("Zg=", None),
            ("Zg===", None),
            ("Zh==", None),
            ("Zm9=", None),
            ("=", None),
            ("Zm9v=", None),
            ("Zg==Zg==", None),
            ("Zm9v Zm9v", None),
            ("Zm9v.", None),
        ] {
            assert_eq!(base64(text.as_bytes()).as_deref(), bytes, "{text}");
        }
    }

    #[test]
    fn pieces_decode_to_the_same_bytes() {
        let bytes: Vec<u8> = (0..=255).collect();
        let text: Vec<u8> = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKiss".into();
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            let mut decoder = Base64::default();
            let mut out = Vec::new();
            assert!(decoder.push(head, &mut out).is_ok() && decoder.push(tail, &mut out).is_ok());
            assert!(decoder.finish(&mut out).is_ok());
            assert_eq!(out, bytes.get(..45).unwrap());
        }
    }
}
