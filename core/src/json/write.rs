//! Writes JSON: objects, arrays, strings and whole numbers.

use alloc::string::String;
use core::fmt::Write as _;

/// Writes one value without white space. The caller opens and closes nested objects and arrays; the writer adds the commas.
#[derive(Default)]
pub(crate) struct Writer {
    out: String,
}

impl Writer {
    /// Returns the text written.
    pub(crate) fn finish(self) -> String {
        self.out
    }

    /// Writes `{` or `[`, as an element.
    pub(crate) fn open(&mut self, bracket: char) {
        self.separate();
        self.out.push(bracket);
    }

    /// Writes `}` or `]`.
    pub(crate) fn close(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    /// Writes `"name":{` or `"name":[`.
    pub(crate) fn open_member(&mut self, name: &str, bracket: char) {
        self.name(name);
        self.out.push(bracket);
    }

    /// Writes `"name":"text"`.
    pub(crate) fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        push_text(&mut self.out, text, "");
    }

    /// Writes `"text"`, as an element.
    pub(crate) fn element(&mut self, text: &str) {
        self.separate();
        push_text(&mut self.out, text, "");
    }

    /// Writes `"name":"text"` or `"name":null`.
    pub(crate) fn text_or_null(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some(text) => self.text(name, text),
            None => self.word(name, "null"),
        }
    }

    /// Like [`Self::text`], but writes nothing for `None`.
    pub(crate) fn text_if(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    /// Writes `"name":number`.
    pub(crate) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "{number}");
    }

    /// Writes `"name":true`, `"name":false` or `"name":null`.
    pub(crate) fn flag(&mut self, name: &str, flag: Option<bool>) {
        self.word(
            name,
            match flag {
                Some(true) => "true",
                Some(false) => "false",
                None => "null",
            },
        );
    }

    /// Writes `"name":null`.
    pub(crate) fn null(&mut self, name: &str) {
        self.word(name, "null");
    }

    fn word(&mut self, name: &str, word: &str) {
        self.name(name);
        self.out.push_str(word);
    }

    fn name(&mut self, name: &str) {
        self.separate();
        push_text(&mut self.out, name, "");
        self.out.push(':');
    }

    /// Writes a comma unless a bracket has just been opened. Strings end with a quote, so a bracket as the last byte is always structural.
    fn separate(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[')) {
            self.out.push(',');
        }
    }
}

/// Appends `text` as a JSON string. Escapes what JSON requires and the characters of `also`.
pub(crate) fn push_text(out: &mut String, text: &str, also: &str) {
    out.push('"');
    for c in text.chars() {
        let short = match c {
            '"' | '\\' => c,
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            c if c < ' ' || also.chars().any(|other| other == c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
                continue;
            }
            c => {
                out.push(c);
                continue;
            }
        };
        out.push('\\');
        out.push(short);
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn written_text_is_valid_json() {
        let mut json = Writer::default();
        json.open('[');
        json.open('{');
        json.text("a", "[");
        json.text_or_null("b", None);
        json.text_if("c", None);
        json.number("d", u64::MAX);
        json.flag("e", Some(true));
        json.open_member("f", '[');
        json.close(']');
        json.open_member("g", '{');
        json.null("h");
        json.close('}');
        json.close('}');
        json.open('{');
        json.close('}');
        json.close(']');
        assert_eq!(
            json.finish(),
            r#"[{"a":"[","b":null,"d":18446744073709551615,"e":true,"f":[],"g":{"h":null}},{}]"#
        );
    }

    proptest! {
        #[test]
        fn texts_are_escaped_as_serde_escapes_them(text in "(\\PC|[\\x00-\\x7f<>&\u{2028}])*") {
            let mut out = String::new();
            push_text(&mut out, &text, "");
            prop_assert_eq!(out, serde_json::to_string(&text).unwrap());
        }
    }
}
