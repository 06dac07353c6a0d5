//! Placeholders of shells and templates that were not filled in.

use alloc::format;
use alloc::string::String;

/// How a placeholder begins and ends.
pub(crate) type Form = (&'static str, &'static str);

/// Forms that may be anywhere in a value.
const INSIDE: [Form; 5] = [("${", "}"), ("$(", ")"), ("{{", "}}"), ("{%", "%}"), ("((", "))")];
/// Forms that are a whole value.
const WHOLE: [Form; 5] = [("<", ">"), ("@", "@"), ("%", "%"), ("`", "`"), ("__", "__")];
/// A variable of a shell without braces.
const VARIABLE: Form = ("$", "");

/// The command that prints a new key.
macro_rules! new_key {
    () => {
        "head -c 32 /dev/urandom | base64"
    };
}
pub(crate) use new_key;

/// Returns the form of the placeholder in a value.
pub(crate) fn in_scalar(text: &str) -> Option<Form> {
    let inside = anywhere(text).map(|(_, form)| form);
    inside.or_else(|| {
        let text = text.trim();
        let is_form = |(start, end): &Form| {
            text.strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end))
                .is_some_and(|name| !name.is_empty())
        };
        WHOLE.into_iter().find(is_form)
    })
}

/// Returns the form and the offset of the placeholder in a line of YAML.
pub(super) fn in_line(line: &str) -> Option<(usize, Form)> {
    anywhere(line).or_else(|| {
        let value = match line.rsplit_once(": ") {
            Some((_, value)) => value,
            None => line.trim_start_matches(['-', ' ']),
        };
        let form = in_scalar(value.trim_end_matches(['}', ']', ',', ' ', '\r']))?;
        Some((line.len() - value.len(), form))
    })
}

fn anywhere(text: &str) -> Option<(usize, Form)> {
    let is_closed = |at: usize, end: &str| text.get(at..).is_some_and(|rest| rest.contains(end));
    let braced = INSIDE.into_iter().find_map(|(start, end)| {
        text.find(start).filter(|at| is_closed(*at, end)).map(|at| (at, (start, end)))
    });
    braced.or_else(|| {
        let is_variable = |(at, _): &(usize, &str)| {
            let name = text.as_bytes().get(at + 1);
            name.is_some_and(|c| c.is_ascii_alphabetic() || *c == b'_')
        };
        text.match_indices('$').find(is_variable).map(|(at, _)| (at, VARIABLE))
    })
}

pub(super) fn message((start, end): Form, is_secret: bool) -> String {
    let new_key = if is_secret { concat!("; this prints a new key: ", new_key!()) } else { "" };
    format!(
        "{start}…{end} is a placeholder that was not filled in: write the value itself here{new_key}"
    )
}
