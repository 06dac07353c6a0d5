//! Splits Rust source into words and punctuation. Comments, strings, characters, numbers and lifetimes are left out.

/// A word, `::`, or a single punctuation character.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Token<'t> {
    /// Its text, without the `r#` of a raw identifier.
    pub text: &'t str,
    /// Its line, from 1.
    pub line: usize,
}

/// Whether a piece of source is a token.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    Token,
    Ignored,
}

/// Returns the tokens of `source`. Source that does not compile gives some tokens, and no error.
pub(super) fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let (mut rest, mut line) = (source, 1);
    while let Some(first) = rest.chars().next() {
        let (len, piece) = next(rest, first);
        let (text, after) = rest.split_at(len);
        if piece == Piece::Token {
            found.push(Token { text: text.strip_prefix("r#").unwrap_or(text), line });
        }
        line += text.matches('\n').count();
        rest = after;
    }
    found
}

/// Whether `c` can be part of a word.
pub(super) fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// Returns the length in bytes of the next piece of source. `first` is its first character.
fn next(rest: &str, first: char) -> (usize, Piece) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), Piece::Ignored);
    }
    if rest.starts_with("/*") {
        return (comment(rest), Piece::Ignored);
    }
    if let Some(len) = string(rest) {
        return (len, Piece::Ignored);
    }
    if let Some(after) = rest.strip_prefix('\'') {
        return (1 + character_or_lifetime(after), Piece::Ignored);
    }
    if let Some(raw) = rest.strip_prefix("r#")
        && word(raw) > 0
    {
        return (2 + word(raw), Piece::Token);
    }
    if is_word(first) {
        let piece = if first.is_ascii_digit() { Piece::Ignored } else { Piece::Token };
        return (word(rest), piece);
    }
    if rest.starts_with("::") {
        return (2, Piece::Token);
    }
    let piece = if first.is_whitespace() { Piece::Ignored } else { Piece::Token };
    (first.len_utf8(), piece)
}

/// The length of the word at the start of `rest`.
fn word(rest: &str) -> usize {
    rest.find(|c| !is_word(c)).unwrap_or(rest.len())
}

/// The length of the comment `/* … */` at the start of `rest`, with the comments inside it.
fn comment(rest: &str) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(found) = rest[at..].find(['/', '*']) {
        at += found;
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// The length of the string at the start of `rest`, or `None` if there is none.
fn string(rest: &str) -> Option<usize> {
    let after = rest.strip_prefix(['b', 'c']).unwrap_or(rest);
    if let Some(raw) = after.strip_prefix('r') {
        let quoted = raw.trim_start_matches('#');
        let hashes = &raw[..raw.len() - quoted.len()];
        let body = quoted.strip_prefix('"')?;
        let end = format!("\"{hashes}");
        let len = body.find(&end).map_or(body.len(), |at| at + end.len());
        return Some(rest.len() - body.len() + len);
    }
    let body = after.strip_prefix('"')?;
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == '\\' {
            chars.next();
        } else if c == '"' {
            return Some(rest.len() - body.len() + at + 1);
        }
    }
    Some(rest.len())
}

/// The length of what follows the quote of a character, such as `a'` or `\''`, or of a lifetime.
fn character_or_lifetime(after: &str) -> usize {
    let mut chars = after.chars();
    match (chars.next(), chars.next()) {
        (Some('\\'), Some(escaped)) => {
            let body = 1 + escaped.len_utf8();
            after[body..].find('\'').map_or(after.len(), |at| body + at + 1)
        }
        (Some(one), Some('\'')) => one.len_utf8() + 1,
        _ => word(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_words_and_punctuation_are_tokens() {
        let table: &[(&str, &str, &[&str])] = &[
            ("a path", "a::b", &["a", "::", "b"]),
            ("a line comment", "a // b\nc", &["a", "c"]),
            ("nested comments", "a /* b /* c */ d */ e", &["a", "e"]),
            ("a string with a quote", r#"a "b \" c" d"#, &["a", "d"]),
            ("a raw string", r##"a r#"b " c"# d"##, &["a", "d"]),
            ("strings of bytes", r##"a b"b" br"c" c"d" e"##, &["a", "e"]),
            ("a character", "a 'b' c", &["a", "c"]),
            ("escaped characters", r"a '\'' '\\' '\u{41}' b", &["a", "b"]),
            ("a lifetime", "&'a b", &["&", "b"]),
            ("a raw identifier", "r#type b", &["type", "b"]),
            ("words that begin like a string", "break crate r b", &["break", "crate", "r", "b"]),
            ("numbers", "a[0x1f] 1.5", &["a", "[", "]", "."]),
            ("a string without an end", "a \"b", &["a"]),
            ("a comment without an end", "a /* b", &["a"]),
        ];
        for (desc, source, expected) in table {
            let texts: Vec<_> = tokens(source).into_iter().map(|token| token.text).collect();
            assert_eq!(texts, *expected, "{desc}");
        }
    }

    #[test]
    fn lines_are_counted_in_everything() {
        let source = "a\n/*\n*/ b \"\n\" c\nr\"\n\" d";
        let lines: Vec<_> = tokens(source).iter().map(|token| (token.text, token.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 3), ("c", 4), ("d", 6)]);
    }
}
