//! The grammar of JSON (RFC 8259), event by event. Any number of values may follow each other, with white space between them or without.

use alloc::vec::Vec;

/// A part of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event<'a> {
    /// The input is used up.
    More,
    /// White space.
    Space,
    /// `,` or `:`.
    Mark,
    Open {
        array: bool,
    },
    Close {
        array: bool,
    },
    /// A string begins.
    Begin {
        /// Whether it is a member's name.
        name: bool,
    },
    /// Bytes of a string.
    Part(&'a [u8]),
    /// A character of a string that was escaped.
    Char(char),
    /// The string ends.
    End {
        /// Whether it is a member's name.
        name: bool,
    },
    /// A part of a number or word was read.
    Scalar,
    /// A number is complete: [`Syntax::number`]. The byte after it was not read.
    Number,
    /// `null`, `true` or `false`.
    Word,
    /// The text is not JSON. Nothing was read.
    Invalid(&'static str),
    /// The text is nested too deep. Nothing was read.
    TooDeep,
}

/// Reads JSON in pieces.
pub(crate) struct Syntax {
    /// For each open bracket, whether it is an array's.
    open: Vec<bool>,
    depth_max: usize,
    state: State,
    number: Vec<u8>,
}

/// A number may have this many characters. JSON sets no limit; a double has at most 25.
const NUMBER_MAX: usize = 400;

#[derive(Clone, Copy)]
enum State {
    /// A value, or `]` or `}` if nothing precedes it.
    Value {
        first: bool,
    },
    Name {
        first: bool,
    },
    Colon,
    Comma,
    /// Between the values of the text.
    Top,
    String {
        name: bool,
    },
    Escape {
        name: bool,
    },
    /// `\u`: digits that are missing, and the code so far.
    Unicode {
        name: bool,
        missing: u8,
        code: u32,
        high: Option<u32>,
    },
    /// After the first half of a surrogate pair: `\` or `u` of the second must follow.
    Low {
        name: bool,
        high: u32,
        slash: bool,
    },
    Number,
    Word(&'static [u8]),
}

impl Syntax {
    pub(crate) fn new(depth_max: usize) -> Self {
        Self { open: Vec::new(), depth_max, state: State::Top, number: Vec::new() }
    }

    /// The number of open brackets.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Whether the innermost open bracket is an array's.
    pub(crate) fn in_array(&self) -> bool {
        self.open.last() == Some(&true)
    }

    /// Whether a `[` of the top was read, and nothing after it.
    pub(crate) fn at_first_element(&self) -> bool {
        self.open.len() == 1
            && self.in_array()
            && matches!(self.state, State::Value { first: true })
    }

    /// Whether the text may end here. A number at the end is complete.
    pub(crate) fn complete(&self) -> bool {
        match self.state {
            State::Top => true,
            State::Number => self.open.is_empty() && is_number(&self.number),
            _ => false,
        }
    }

    /// Whether a member of the outermost object has ended.
    pub(crate) fn after_member(&self) -> bool {
        self.open.len() == 1
            && matches!(self.state, State::Comma | State::Name { first: false } | State::Number)
    }

    /// Whether a text follows that is neither an object, an array, a string nor null. No tool prints other JSON beside values of etcd.
    pub(crate) fn ends_before(&self, input: &[u8]) -> bool {
        let is_json = |byte: &u8| b"{[\"n, \t\r\n\x1e".contains(byte);
        matches!(self.state, State::Top) && !input.first().is_some_and(is_json)
    }

    /// The number of the last [`Event::Number`].
    pub(crate) fn number(&self) -> &[u8] {
        &self.number
    }

    /// Reads one event from `input`, and removes from it what was read.
    pub(crate) fn next<'a>(&mut self, input: &mut &'a [u8]) -> Event<'a> {
        let Some((&byte, rest)) = input.split_first() else {
            return Event::More;
        };
        let event = match self.state {
            State::String { name } => return self.string(name, input),
            State::Number => return self.in_number(input),
            State::Escape { name } => self.escape(name, byte),
            State::Unicode { name, missing, code, high } => {
                self.unicode(name, missing, code, high, byte)
            }
            State::Low { name, high, slash } => match (slash, byte) {
                (true, b'\\') => {
                    self.state = State::Low { name, high, slash: false };
                    Event::Scalar
                }
                (false, b'u') => {
                    self.state = State::Unicode { name, missing: 4, code: 0, high: Some(high) };
                    Event::Scalar
                }
                _ => Event::Invalid("half of a surrogate pair in a JSON string"),
            },
            State::Word(word) => match word.split_first() {
                Some((expected, rest)) if *expected == byte => {
                    self.state = State::Word(rest);
                    if rest.is_empty() {
                        self.after_value();
                        Event::Word
                    } else {
                        Event::Scalar
                    }
                }
                _ => Event::Invalid("not a word of JSON"),
            },
            State::Value { .. } | State::Name { .. } | State::Colon | State::Comma | State::Top => {
                let space = input
                    .iter()
                    .position(|byte| !matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
                    .unwrap_or(input.len());
                if space > 0 {
                    *input = input.get(space..).unwrap_or_default();
                    return Event::Space;
                }
                self.structure(byte)
            }
        };
        match event {
            Event::Invalid(_) | Event::TooDeep => {}
            _ => *input = rest,
        }
        event
    }

    fn structure<'a>(&mut self, byte: u8) -> Event<'a> {
        let array = self.open.last().copied();
        match (self.state, byte) {
            (State::Colon, b':') => {
                self.state = State::Value { first: false };
                Event::Mark
            }
            (State::Colon, _) => Event::Invalid("expected `:` in JSON"),
            (State::Comma, b',') => {
                self.state = if array == Some(true) {
                    State::Value { first: false }
                } else {
                    State::Name { first: false }
                };
                Event::Mark
            }
            (State::Comma | State::Value { first: true }, b']') if array == Some(true) => {
                self.close()
            }
            (State::Comma | State::Name { first: true }, b'}') if array == Some(false) => {
                self.close()
            }
            // RFC 7464 (`jq --seq`) begins each value with a record separator. Objects of an array may be without their array.
            (State::Top, 0x1e | b',') => Event::Mark,
            (State::Comma, _) => Event::Invalid("expected `,` or a closing bracket in JSON"),
            (State::Name { .. }, b'"') => {
                self.state = State::String { name: true };
                Event::Begin { name: true }
            }
            (State::Name { .. }, _) => Event::Invalid("expected a name in JSON"),
            _ => self.value(byte),
        }
    }

    fn value<'a>(&mut self, byte: u8) -> Event<'a> {
        match byte {
            b'{' | b'[' => {
                if self.open.len() >= self.depth_max {
                    return Event::TooDeep;
                }
                let array = byte == b'[';
                self.open.push(array);
                self.state =
                    if array { State::Value { first: true } } else { State::Name { first: true } };
                Event::Open { array }
            }
            b'"' => {
                self.state = State::String { name: false };
                Event::Begin { name: false }
            }
            b'-' | b'0'..=b'9' => {
                self.number.clear();
                self.number.push(byte);
                self.state = State::Number;
                Event::Scalar
            }
            b'n' => self.word(b"ull"),
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            _ => Event::Invalid("expected a value in JSON"),
        }
    }

    fn word<'a>(&mut self, rest: &'static [u8]) -> Event<'a> {
        self.state = State::Word(rest);
        Event::Scalar
    }

    fn close<'a>(&mut self) -> Event<'a> {
        let array = self.open.pop().unwrap_or_default();
        self.after_value();
        Event::Close { array }
    }

    fn after_value(&mut self) {
        self.state = if self.open.is_empty() { State::Top } else { State::Comma };
    }

    fn end<'a>(&mut self, name: bool) -> Event<'a> {
        if name {
            self.state = State::Colon;
        } else {
            self.after_value();
        }
        Event::End { name }
    }

    fn string<'a>(&mut self, name: bool, input: &mut &'a [u8]) -> Event<'a> {
        let plain = input
            .iter()
            .position(|byte| matches!(byte, b'"' | b'\\' | 0..b' '))
            .unwrap_or(input.len());
        if plain > 0 {
            let (part, rest) = input.split_at(plain);
            *input = rest;
            return Event::Part(part);
        }
        let event = match input.first() {
            Some(b'"') => self.end(name),
            Some(b'\\') => {
                self.state = State::Escape { name };
                Event::Scalar
            }
            _ => return Event::Invalid("a control character in a JSON string"),
        };
        *input = input.get(1..).unwrap_or_default();
        event
    }

    fn escape<'a>(&mut self, name: bool, byte: u8) -> Event<'a> {
        let char = match byte {
            b'"' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                self.state = State::Unicode { name, missing: 4, code: 0, high: None };
                return Event::Scalar;
            }
            _ => return Event::Invalid("an invalid escape in a JSON string"),
        };
        self.state = State::String { name };
        Event::Char(char)
    }

    fn unicode<'a>(
        &mut self,
        name: bool,
        missing: u8,
        code: u32,
        high: Option<u32>,
        byte: u8,
    ) -> Event<'a> {
        const HALF: Event<'static> = Event::Invalid("half of a surrogate pair in a JSON string");
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Event::Invalid("an invalid escape in a JSON string");
        };
        let code = code << 4 | digit;
        if missing > 1 {
            self.state = State::Unicode { name, missing: missing - 1, code, high };
            return Event::Scalar;
        }
        match (high, code) {
            (None, 0xd800..0xdc00) => {
                self.state = State::Low { name, high: code, slash: true };
                return Event::Scalar;
            }
            (Some(_), 0..0xdc00 | 0xe000..) => return HALF,
            _ => {}
        }
        let code = high.map_or(code, |high| 0x10000 + ((high - 0xd800) << 10) + (code - 0xdc00));
        let Some(char) = char::from_u32(code) else {
            return HALF;
        };
        self.state = State::String { name };
        Event::Char(char)
    }

    fn in_number<'a>(&mut self, input: &mut &'a [u8]) -> Event<'a> {
        let len = input
            .iter()
            .position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'))
            .unwrap_or(input.len());
        if len > 0 {
            let (part, rest) = input.split_at(len);
            if self.number.len() + len > NUMBER_MAX {
                return Event::Invalid("a number in JSON is too long");
            }
            self.number.extend_from_slice(part);
            *input = rest;
            return Event::Scalar;
        }
        if !is_number(&self.number) {
            return Event::Invalid("an invalid number in JSON");
        }
        self.after_value();
        Event::Number
    }
}

/// Whether the text is a number: `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`.
fn is_number(text: &[u8]) -> bool {
    fn digits(text: &[u8]) -> Option<&[u8]> {
        let len = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
        if len == 0 { None } else { text.get(len..) }
    }
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let rest = match text {
        [b'0', rest @ ..] => Some(rest),
        text => digits(text),
    };
    let Some(rest) = rest else { return false };
    let rest = match rest {
        [b'.', rest @ ..] => digits(rest),
        rest => Some(rest),
    };
    match rest {
        Some([b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..]) => {
            digits(rest).is_some_and(<[u8]>::is_empty)
        }
        Some(rest) => rest.is_empty(),
        None => false,
    }
}
