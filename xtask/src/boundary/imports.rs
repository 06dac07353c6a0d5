//! Finds the paths that a source file uses: in `use` declarations, and written out as `crate::…`, `super::…` or `self::…`.

use super::tokens::{Token, is_word, tokens};

/// A path that a file uses.
#[derive(Debug, PartialEq)]
pub(super) struct Import {
    /// Its segments; the last one may be `self`.
    pub path: Vec<String>,
    /// The line of its last segment.
    pub line: usize,
    /// The inline modules around it, the outermost first.
    pub within: Vec<String>,
}

/// What a file uses when it is compiled without `cfg(test)`.
#[derive(Debug, Default)]
pub(super) struct Imports {
    /// The paths, in the order of the file.
    pub all: Vec<Import>,
    /// The modules in other files that are declared only for tests, as paths below this file's module.
    pub test_modules: Vec<Vec<String>>,
    /// Whether the whole file is only for tests.
    pub is_test: bool,
}

impl Imports {
    /// Parses a source file.
    pub(super) fn parse(source: &str) -> Self {
        let mut parser =
            Parser { tokens: tokens(source), at: 0, blocks: Vec::new(), found: Self::default() };
        parser.file();
        parser.found
    }
}

/// The first words of an item or statement. A comma does not end it, unlike a field, a variant or an arm of a match.
const ITEMS: [&str; 20] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "for",
    "if",
    "impl",
    "let",
    "loop",
    "macro_rules",
    "match",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "unsafe",
    "use",
    "while",
];

struct Parser<'t> {
    tokens: Vec<Token<'t>>,
    at: usize,
    /// The open braces. Those of an inline module have its name.
    blocks: Vec<Option<&'t str>>,
    found: Imports,
}

impl<'t> Parser<'t> {
    fn peek(&self, ahead: usize) -> &'t str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }

    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    fn file(&mut self) {
        while let Some(token) = self.next() {
            match token.text {
                "#" => self.attribute(),
                "mod" if self.peek(1) == "{" => {
                    self.blocks.push(Some(self.peek(0)));
                    self.at += 2;
                }
                "{" => self.blocks.push(None),
                "}" => {
                    self.blocks.pop();
                }
                // `use<…>` is a bound.
                "use" if self.peek(0) != "<" => self.tree(&[]),
                "crate" | "self" | "super" if self.peek(0) == "::" => self.path(token.text),
                _ => {}
            }
        }
    }

    /// Reads an attribute after its `#`. If it is a condition that only tests meet, skips what it belongs to.
    fn attribute(&mut self) {
        let is_inner = self.peek(0) == "!";
        if is_inner {
            self.at += 1;
        }
        if self.peek(0) != "[" {
            return;
        }
        let start = self.at;
        self.group();
        let words = self.tokens.get(start..self.at).unwrap_or_default();
        let has = |word| words.iter().any(|token| token.text == word);
        if words.get(1).is_some_and(|token| token.text == "cfg") && has("test") && !has("not") {
            if is_inner {
                self.found.is_test = true;
            } else {
                self.skip();
            }
        }
    }

    /// Skips a group of tokens in brackets.
    fn group(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.next() {
            match token.text {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth == 0 {
                return;
            }
        }
    }

    /// Skips an item, statement, field, variant or arm.
    fn skip(&mut self) {
        while self.peek(0) == "#" {
            self.at += 1;
            self.group();
        }
        if self.peek(0) == "pub" {
            self.at += 1;
            if self.peek(0) == "(" {
                self.group();
            }
        }
        if self.peek(0) == "mod" && self.peek(2) == ";" {
            let mut module = self.within();
            module.push(self.peek(1).to_owned());
            self.found.test_modules.push(module);
        }
        let is_item = ITEMS.contains(&self.peek(0));
        loop {
            match self.peek(0) {
                "" | ")" | "]" | "}" => return,
                "{" => return self.group(),
                "(" | "[" => self.group(),
                end => {
                    self.at += 1;
                    if end == ";" || end == "," && !is_item {
                        return;
                    }
                }
            }
        }
    }

    /// Reads the tree of a `use` declaration.
    fn tree(&mut self, prefix: &[&'t str]) {
        let mut path = prefix.to_vec();
        while let Some(token) = self.next() {
            match token.text {
                "::" => {}
                "{" => {
                    while !matches!(self.peek(0), "" | "}") {
                        if self.peek(0) == "," {
                            self.at += 1;
                        } else {
                            self.tree(&path);
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => return self.add(&path, token.line),
                word if word.starts_with(is_word) => {
                    path.push(word);
                    if self.peek(0) != "::" {
                        if self.peek(0) == "as" {
                            self.at += 2;
                        }
                        return self.add(&path, token.line);
                    }
                }
                _ => return,
            }
        }
    }

    /// Reads a path after its first word.
    fn path(&mut self, first: &'t str) {
        let mut path = vec![first];
        let mut line = 0;
        while self.peek(0) == "::" && self.peek(1).starts_with(is_word) {
            self.at += 1;
            if let Some(token) = self.next() {
                path.push(token.text);
                line = token.line;
            }
        }
        self.add(&path, line);
    }

    fn within(&self) -> Vec<String> {
        self.blocks.iter().flatten().map(|&name| name.to_owned()).collect()
    }

    fn add(&mut self, path: &[&str], line: usize) {
        let path = path.iter().map(|&segment| segment.to_owned()).collect();
        let within = self.within();
        self.found.all.push(Import { path, line, within });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(source: &str) -> Vec<String> {
        let all = Imports::parse(source).all;
        all.iter().map(|import| import.path.join("::")).collect()
    }

    #[test]
    fn used_paths_are_found() {
        let table: &[(&str, &str, &[&str])] = &[
            ("a declaration", "use crate::a::b;", &["crate::a::b"]),
            ("another name", "pub use super::a as b; use self::c;", &["super::a", "self::c"]),
            ("everything", "use super::*;", &["super"]),
            (
                "braces inside braces",
                "use crate::{a::{self, b}, c::*, d as e,};",
                &["crate::a::self", "crate::a::b", "crate::c", "crate::d"],
            ),
            ("a path in an expression", "fn f() { crate::a::g(1) }", &["crate::a::g"]),
            ("a path with arguments", "let a = super::A::<u8>::new();", &["super::A"]),
            ("a path in a macro", "m!(\"{}\", self::a::B);", &["self::a::B"]),
            ("a visibility", "pub(crate) fn f(self) {}", &[]),
            ("a path in a comment and a string", "// crate::a\nlet a = \"crate::b\";", &[]),
            ("a bound", "fn f() -> impl A + use<'_, B> { crate::c() }", &["crate::c"]),
            ("another crate", "use std::fmt; ::core::mem::take(a);", &["std::fmt"]),
        ];
        for (desc, source, expected) in table {
            assert_eq!(paths(source), *expected, "{desc}");
        }
    }

    #[test]
    fn code_for_tests_is_skipped() {
        let table: &[(&str, &str, &[&str])] = &[
            ("a module", "#[cfg(test)] mod tests { use crate::a; } use crate::b;", &["crate::b"]),
            ("a module elsewhere", "#[cfg(test)] mod tests; use crate::b;", &["crate::b"]),
            (
                "a function with parameters",
                "#[cfg(test)] #[inline] pub(super) fn f<A, B>(a: crate::a::A) { crate::a::f() } use crate::b;",
                &["crate::b"],
            ),
            ("a declaration", "#[cfg(test)] use crate::{a, b}; use crate::c;", &["crate::c"]),
            (
                "a statement",
                "fn f() { #[cfg(test)] crate::a::f(); crate::b::f(); }",
                &["crate::b::f"],
            ),
            (
                "a field",
                "struct A { #[cfg(test)] a: crate::a::A, b: crate::b::B }",
                &["crate::b::B"],
            ),
            (
                "the last field",
                "struct A { #[cfg(test)] a: crate::a::A } use crate::b;",
                &["crate::b"],
            ),
            (
                "tests or a feature",
                "#[cfg(any(test, feature = \"fuzz\"))] use crate::a; use crate::b;",
                &["crate::b"],
            ),
            ("no tests", "#[cfg(not(test))] use crate::a;", &["crate::a"]),
            ("a feature", "#[cfg(feature = \"test\")] use crate::a;", &["crate::a"]),
        ];
        for (desc, source, expected) in table {
            assert_eq!(paths(source), *expected, "{desc}");
        }
    }

    #[test]
    fn files_for_tests_are_found() {
        let source = "#[cfg(test)]\nmod tests;\nmod a { #[cfg(any(test, b))] pub(crate) mod c; }";
        let expected = [vec!["tests".to_owned()], vec!["a".to_owned(), "c".to_owned()]];
        assert_eq!(Imports::parse(source).test_modules, expected);
        assert!(Imports::parse("//! Doc.\n#![cfg(test)]\nuse crate::a;").is_test);
        assert!(!Imports::parse("#![forbid(unsafe_code)]").is_test);
    }

    #[test]
    fn a_path_has_its_line_and_its_modules() {
        let source = "mod a {\n    mod b { use super::{\n        c,\n    }; }\n}\nuse crate::d;";
        let import = |path: &[&str], line, within: &[&str]| Import {
            path: path.iter().map(|&segment| segment.into()).collect(),
            line,
            within: within.iter().map(|&name| name.into()).collect(),
        };
        let expected = [import(&["super", "c"], 3, &["a", "b"]), import(&["crate", "d"], 6, &[])];
        assert_eq!(Imports::parse(source).all, expected);
    }
}
