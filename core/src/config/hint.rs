//! Help beside the errors of a file: what its author probably meant. Each hint is a warning at the place of the mistake.

pub(super) mod placeholder;
mod wrapper;

use super::fault::{Finding, Position, element, field};
use super::field_name::shown_in_path;
use super::render::quoted;
use super::tree::{Entry, Node, Value};
use alloc::format;
use alloc::vec::Vec;

/// The most hints for one file, so that a file of placeholders does not fill the memory.
const MAX_HINTS: usize = 50;

/// Returns the hints for a text that could not be parsed.
pub(super) fn of_text(bytes: &[u8]) -> Vec<Finding> {
    let text = core::str::from_utf8(bytes).unwrap_or_default();
    let mut hints = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let line = without_comment(line);
        let (offset, message) = if let Some((offset, form)) = placeholder::in_line(line) {
            (offset, placeholder::message(form, line.contains("secret")))
        } else if let Some((offset, alias)) = unquoted_wildcard(line) {
            (
                offset,
                format!("* begins an alias in YAML: put the name in quotes, {}", quoted(alias)),
            )
        } else {
            continue;
        };
        let column = line.get(..offset).unwrap_or_default().chars().count() + 1;
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let at = Position { line: number(i + 1), column: number(column) };
        hints.push(Finding::file(message, Some(at)));
        if hints.len() == MAX_HINTS {
            break;
        }
    }
    hints
}

/// Returns the hints for a document. `is_config` is whether it is an encryption configuration, perhaps with errors.
pub(super) fn of_tree(root: &Node, is_config: bool) -> Vec<Finding> {
    let wrapped = if is_config { None } else { wrapper::find(root, "") };
    match wrapped {
        Some(hint) => Vec::from([hint]),
        None => {
            let mut hints = Vec::new();
            placeholders(root, "", &mut hints);
            hints
        }
    }
}

fn placeholders(node: &Node, path: &str, hints: &mut Vec<Finding>) {
    if hints.len() == MAX_HINTS {
        return;
    }
    match &node.value {
        Value::String(text) => {
            if let Some(form) = placeholder::in_scalar(text) {
                let message = placeholder::message(form, path.ends_with("secret"));
                hints.push(Finding::new(path, message, node.at));
            }
        }
        Value::List(items) => {
            for (i, item) in items.iter().enumerate() {
                placeholders(item, &element(path, i), hints);
            }
        }
        Value::Mapping(entries) => {
            for Entry { key, at, value } in entries {
                // `{$KEY}` is a mapping with this key.
                match placeholder::in_scalar(key) {
                    Some(form) => {
                        let message = placeholder::message(form, path.ends_with("secret"));
                        hints.push(Finding::new(path, message, *at));
                    }
                    None => placeholders(value, &field(path, shown_in_path(key)), hints),
                }
            }
        }
        Value::Null | Value::Bool | Value::Number(_) => {}
    }
}

/// Removes a comment. A `#` in a quoted text counts as a comment too, which loses no more than a hint.
fn without_comment(line: &str) -> &str {
    let end = match line.starts_with('#') {
        true => Some(0),
        false => line.find(" #"),
    };
    end.and_then(|end| line.get(..end)).unwrap_or(line)
}

/// Returns the name that begins with `*` outside of quotes, which only a list of resources has, and its offset. Names of anchors begin with a letter.
fn unquoted_wildcard(line: &str) -> Option<(usize, &str)> {
    line.match_indices('*').find_map(|(at, _)| {
        let (before, rest) = line.split_at_checked(at)?;
        let trimmed = before.trim_end();
        let begins = trimmed.is_empty() || trimmed.ends_with(['-', '[', ',', ':']);
        // A dash or a colon without a space is part of a word.
        let is_apart =
            trimmed.len() < before.len() || trimmed.is_empty() || trimmed.ends_with(['[', ',']);
        let is_alias = rest.as_bytes().get(1).is_some_and(u8::is_ascii_alphanumeric);
        if !begins || !is_apart || is_alias {
            return None;
        }
        let name = rest.split([',', ']', ' ', '\t', '\r']).next()?;
        Some((at, name))
    })
}
