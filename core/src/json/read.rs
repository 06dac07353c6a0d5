//! Checks whether a text is JSON.

use alloc::vec::Vec;

/// Why and where a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Syntax {
    /// What is wrong, for example `expected value`.
    pub(crate) words: &'static str,
    /// The line, from 1.
    pub(crate) line: usize,
    /// The number of bytes of that line that were read, including the offending byte, if any.
    pub(crate) column: usize,
}

/// Checks that `text` is one JSON value. Each level of nesting takes one byte of heap and no stack.
///
/// The grammar is RFC 8259's. The messages are those of the crate serde_json, which the tests compare with.
///
/// # Errors
/// Returns the first error.
pub(crate) fn check(text: &[u8]) -> Result<(), Syntax> {
    let mut reader = Reader { text, at: 0 };
    reader
        .value()
        .and_then(|()| match reader.peek_after_space() {
            None => Ok(()),
            Some(_) => Err(Fault::ahead("trailing characters")),
        })
        .map_err(|fault| reader.locate(fault))
}

/// An error without its position.
struct Fault {
    words: &'static str,
    /// Whether the error is about the next byte instead of the one just read.
    ahead: bool,
}

impl Fault {
    fn ahead(words: &'static str) -> Self {
        Self { words, ahead: true }
    }

    fn here(words: &'static str) -> Self {
        Self { words, ahead: false }
    }
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Reader<'t> {
    fn locate(&self, fault: Fault) -> Syntax {
        let at = self.at + usize::from(fault.ahead);
        let before = self.text.get(..at).unwrap_or(self.text);
        let mut lines = before.split(|byte| *byte == b'\n');
        Syntax {
            words: fault.words,
            column: lines.next_back().map_or(0, <[u8]>::len),
            line: lines.count() + 1,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn peek_after_space(&mut self) -> Option<u8> {
        loop {
            match self.peek()? {
                b' ' | b'\n' | b'\t' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    /// Skips one value, and checks it.
    fn value(&mut self) -> Result<(), Fault> {
        // The open brackets, from the outside in.
        let mut open = Vec::new();
        loop {
            let Some(first) = self.peek_after_space() else {
                return Err(Fault::ahead("EOF while parsing a value"));
            };
            let opened = matches!(first, b'[' | b'{');
            match first {
                b'[' | b'{' => {
                    self.at += 1;
                    open.push(first);
                }
                b'"' => self.string()?,
                b'-' | b'0'..=b'9' => self.number()?,
                b'n' => self.word(b"null")?,
                b't' => self.word(b"true")?,
                b'f' => self.word(b"false")?,
                _ => return Err(Fault::ahead("expected value")),
            }
            let mut complete = !opened;
            // What comes next: another value, or the end of one or more open brackets.
            let list = loop {
                let Some(&bracket) = open.last() else {
                    return Ok(());
                };
                let list = bracket == b'[';
                match (self.peek_after_space(), list) {
                    (Some(b','), _) if complete => {
                        self.at += 1;
                        break list;
                    }
                    (Some(b']'), true) | (Some(b'}'), false) => {
                        self.at += 1;
                        open.pop();
                        complete = true;
                    }
                    (Some(_), _) if !complete => break list,
                    (Some(_), true) => return Err(Fault::ahead("expected `,` or `]`")),
                    (Some(_), false) => return Err(Fault::ahead("expected `,` or `}`")),
                    (None, true) => return Err(Fault::ahead("EOF while parsing a list")),
                    (None, false) => return Err(Fault::ahead("EOF while parsing an object")),
                }
            };
            if !list {
                self.name()?;
            }
        }
    }

    /// Skips a member's name and the colon.
    fn name(&mut self) -> Result<(), Fault> {
        match self.peek_after_space() {
            Some(b'"') => self.string()?,
            Some(_) => return Err(Fault::ahead("key must be a string")),
            None => return Err(Fault::ahead("EOF while parsing an object")),
        }
        match self.peek_after_space() {
            Some(b':') => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(Fault::ahead("expected `:`")),
            None => Err(Fault::ahead("EOF while parsing an object")),
        }
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Fault> {
        for expected in word {
            match self.next() {
                None => return Err(Fault::here("EOF while parsing a value")),
                Some(byte) if byte != *expected => return Err(Fault::here("expected ident")),
                Some(_) => {}
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        let end = || Fault::here("EOF while parsing a string");
        self.at += 1;
        loop {
            match self.peek().ok_or_else(end)? {
                b'"' => {
                    self.at += 1;
                    return Ok(());
                }
                b'\\' => {
                    self.at += 1;
                    match self.next().ok_or_else(end)? {
                        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                        b'u' => {
                            let Some(digits) = self.text.get(self.at..self.at + 4) else {
                                self.at = self.text.len();
                                return Err(end());
                            };
                            self.at += 4;
                            if !digits.iter().all(u8::is_ascii_hexdigit) {
                                return Err(Fault::here("invalid escape"));
                            }
                        }
                        _ => return Err(Fault::here("invalid escape")),
                    }
                }
                0..b' ' => {
                    return Err(Fault::here(
                        "control character (\\u0000-\\u001F) found while parsing a string",
                    ));
                }
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> Result<(), Fault> {
        const INVALID: &str = "invalid number";
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.next() {
            Some(b'0') => {
                if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
                    return Err(Fault::ahead(INVALID));
                }
            }
            Some(b'1'..=b'9') => self.digits(),
            _ => return Err(Fault::here(INVALID)),
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            let start = self.at;
            self.digits();
            if self.at == start {
                return Err(Fault::ahead(INVALID));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            match self.next() {
                Some(b'0'..=b'9') => self.digits(),
                _ => return Err(Fault::here(INVALID)),
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::borrow::ToOwned;
    use alloc::string::String;
    use alloc::string::ToString;
    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    fn serdes_verdict(text: &str) -> Result<(), (String, usize, usize)> {
        match serde_json::from_str::<serde::de::IgnoredAny>(text) {
            Ok(_) => Ok(()),
            Err(error) => {
                let words = error.to_string();
                let words = words.split(" at line ").next().unwrap_or_default();
                Err((words.to_owned(), error.line(), error.column()))
            }
        }
    }

    fn ours(text: &str) -> Result<(), (String, usize, usize)> {
        check(text.as_bytes())
            .map_err(|Syntax { words, line, column }| (words.to_string(), line, column))
    }

    #[test]
    fn verdicts_match_serde_on_hand_picked_texts() {
        for text in [
            "",
            " ",
            "\n\n",
            "nul",
            "nulL",
            "null",
            "truex",
            "tru\n",
            "-",
            "-\n",
            "01",
            "0\n1",
            "1.",
            "1.\n",
            "1.5e",
            "1e+",
            "1e+\n",
            "1E5",
            "\"",
            "\"\\",
            "\"\\u12",
            "\"\\u12g4\"",
            "\"\\x\"",
            "\"\n\"",
            "\"\u{7f}\"",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[1 2]",
            "[,1]",
            "{",
            "{\"a\"",
            "{\"a\" 1}",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{1:2}",
            "{\"a\":1]",
            "[}",
            "]",
            "}",
            "1 2",
            "[[[[]]]]",
            "{\"a\":{\"b\":[{}]}}",
            "\u{feff}1",
            "1\n}",
            "[1\n\n,\n x]",
            "{\"é\": ü}",
            "\"\\ud800\"",
            "{\"a\":\n",
            "[[],[",
            "[\n\n",
        ] {
            assert_eq!(ours(text), serdes_verdict(text), "{text:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(ours(&deep), serdes_verdict(&deep));
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = select(alloc::vec![
            "null",
            "true",
            "false",
            "0",
            "-1.5e+10",
            "12",
            "\"\"",
            "\"a\\u00e9\\n\"",
            "[]",
            "{}",
            "\" x \"",
        ])
        .prop_map(ToOwned::to_owned);
        leaf.prop_recursive(4, 32, 4, |inner| {
            let list = proptest::collection::vec(inner.clone(), 0..4);
            let object = proptest::collection::vec(("[a-z\\\\n\"]{0,3}", inner), 0..4);
            prop_oneof![
                list.prop_map(|items| alloc::format!("[{}]", items.join(" ,\n"))),
                object.prop_map(|items| {
                    let items: Vec<String> = items
                        .iter()
                        .map(|(name, value)| {
                            alloc::format!("{}\t:{value}", serde_json::to_string(name).unwrap())
                        })
                        .collect();
                    alloc::format!("{{ {} }}", items.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn verdicts_match_serde(
            text in json(),
            edits in proptest::collection::vec((any::<Index>(), "[\\[\\]{}:,\"\\\\u0-9.e+\\-n tf\n\u{1}é]{0,2}", 0..2usize), 0..3),
        ) {
            let mut text: Vec<char> = text.chars().collect();
            for (at, new, removed) in edits {
                let at = at.index(text.len() + 1);
                let end = (at + removed).min(text.len());
                text.splice(at..end, new.chars());
            }
            let text: String = text.into_iter().collect();
            prop_assert_eq!(ours(&text), serdes_verdict(&text));
        }
    }
}
