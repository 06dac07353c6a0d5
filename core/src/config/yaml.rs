//! From bytes to the events that the tree is built from: checks the encoding, and parses YAML and JSON.

use super::fault::{Finding, Position};
use super::tree::{self, Builder, MAX_DEPTH, Node};
use crate::json;
use alloc::format;
use alloc::rc::Rc;
use granit_parser::{ErrorKind, Event, Parser, Span, StrInput};
use zeroize::Zeroizing;

/// The maximum length of a file, 1 MiB. A configuration has a few kilobytes, and etcd refuses larger objects.
pub(super) const MAX_BYTES: usize = 1 << 20;
/// A parsed file.
pub(super) struct Document {
    pub(super) root: Rc<Node>,
    /// Where a second document starts. Upstream reads only the first one, without a warning.
    pub(super) second: Option<Position>,
}

/// Parses the first document of `bytes`.
///
/// A file that starts with `{` must be JSON, as upstream requires. The YAML parser then reads it too, for the positions.
///
/// # Errors
/// Returns the error that ends parsing: an exceeded budget, a syntax error, or a bad alias, key, merge or tag.
pub(super) fn parse(bytes: &[u8]) -> Result<Document, Finding> {
    if bytes.is_empty() {
        return Err(Finding::file("encryption provider configuration file is empty", None));
    }
    if bytes.len() > MAX_BYTES {
        let message =
            format!("the file has {} bytes, more than the {MAX_BYTES} allowed", bytes.len());
        return Err(Finding::file(message, None));
    }
    let text = core::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        Finding::file("the file is not valid UTF-8", Some(end_of(valid)))
    })?;
    if text.trim_start().starts_with('{') {
        return parse_json(text);
    }
    if let Some((offset, c)) = text.char_indices().find(|(_, c)| !yaml_allows(*c)) {
        let at = end_of(text.get(..offset).unwrap_or_default().as_bytes());
        let kind = if c.is_control() && c != '\u{85}' {
            "control characters"
        } else {
            "Unicode line separators"
        };
        let message = format!("yaml: {kind} are not allowed (U+{:04X}): escape it", u32::from(c));
        return Err(Finding::file(message, Some(at)));
    }
    // The parser ignores unknown directives; libyaml refuses them.
    let head = text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate();
    for (i, line) in head.take_while(|(_, line)| line.is_empty() || line.starts_with(['#', '%'])) {
        let name = line.split_whitespace().next().unwrap_or_default();
        if name.starts_with('%') && !matches!(name, "%YAML" | "%TAG") {
            let at = Position { line: small(i + 1), column: 1 };
            return Err(Finding::file("yaml: found unknown directive name", Some(at)));
        }
    }
    build(text, false)
}

fn parse_json(text: &str) -> Result<Document, Finding> {
    json::check(text.as_bytes()).map_err(|error| {
        let at = Position { line: small(error.line), column: small(error.column.max(1)) };
        let message = format!("json: {} (a file that starts with '{{' must be JSON)", error.words);
        Finding::file(message, Some(at))
    })?;
    // In valid JSON, tabs are white space between tokens and never occur inside strings. YAML refuses many of them.
    let text = Zeroizing::new(text.replace('\t', " "));
    build(&text, true)
}

/// Returns whether `c` may occur in a YAML file. Allows what libyaml's reader accepts, except for three characters that end
/// a line for libyaml (YAML 1.1) but not for this parser (YAML 1.2): a file that contains them could be read differently.
fn yaml_allows(c: char) -> bool {
    let separator = matches!(c, '\u{85}' | '\u{2028}' | '\u{2029}');
    !separator
        && matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

fn end_of(before: &[u8]) -> Position {
    let before = core::str::from_utf8(before).unwrap_or_default();
    let line = before.bytes().filter(|c| *c == b'\n').count() + 1;
    let last = before.rsplit('\n').next().unwrap_or_default();
    Position { line: small(line), column: small(last.chars().count() + 1) }
}

fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn place(span: &Span) -> Position {
    Position { line: small(span.start.line()), column: small(span.start.col() + 1) }
}

fn build(text: &str, json: bool) -> Result<Document, Finding> {
    let options = granit_parser::options! {
        emit_comments: false,
        // libyaml's own limit for YAML; JSON has no such limit.
        simple_key_max_lookahead: if json { MAX_BYTES } else { 1024 },
        // The first depth that is too great. The limit also keeps the scanner's own stack small.
        flow_nesting_limit: MAX_DEPTH + 1,
        block_nesting_limit: MAX_DEPTH + 1,
    };
    let mut parser: Parser<'_, StrInput<'_>> = Parser::new_from_str_with_options(text, options);
    let mut builder = Builder::new(json);
    while let Some(next) = parser.next() {
        let (event, span) = next.map_err(|error| {
            let marker = error.marker();
            let at = Position { line: small(marker.line()), column: small(marker.col() + 1) };
            match error.kind() {
                // The scanner is ahead of the events that the builder has counted.
                ErrorKind::RecursionLimitExceeded => tree::too_deep(at),
                kind => Finding::file(format!("yaml: {kind}"), Some(at)),
            }
        })?;
        builder.event(event, place(&span))?;
        if let Some(root) = builder.finished() {
            return Ok(Document { root, second: second_document(&mut parser) });
        }
    }
    Ok(Document { root: Rc::new(Node::null()), second: None })
}

/// Returns where a second document starts, if there is one. It is not parsed further, so its errors are ignored.
fn second_document<'i>(parser: &mut Parser<'i, StrInput<'i>>) -> Option<Position> {
    loop {
        match parser.next() {
            Some(Ok((Event::DocumentStart(..), span))) => return Some(place(&span)),
            Some(Ok((Event::DocumentEnd, _))) => {}
            Some(Ok(_) | Err(_)) | None => return None,
        }
    }
}
