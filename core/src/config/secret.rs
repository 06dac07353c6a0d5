//! Key secrets: keeps them out of every message.

use super::fault::Finding;
use super::tree::{Node, Value};
use alloc::collections::BinaryHeap;
use alloc::string::String;
use alloc::vec::Vec;
use zeroize::Zeroizing;

/// The replacement for a secret in messages, as upstream writes it.
pub(super) const REDACTED: &str = "REDACTED";

/// The length of the prefix that identifies a secret. Text that begins with the prefix of a secret is hidden up to the end of the base64 run. Shorter
/// texts cannot be keys.
const KNOWN_BY: usize = 12;

/// The secrets of one file, to keep them out of the messages about it.
///
/// Messages never print a `secret` field. But if a quote is misplaced, a secret may end up in a name or an address, and these are printed. So
/// anything in the text that looks like a secret is hidden too.
pub(super) struct Secrets {
    sorted: Zeroizing<Vec<[u8; KNOWN_BY]>>,
}

impl Secrets {
    /// Collects the base64 runs that directly follow the word `secret`, and those that are padded base64 of 16 bytes or more.
    pub(super) fn of_text(bytes: &[u8]) -> Self {
        let mut secrets = Self { sorted: Zeroizing::default() };
        let mut after_word = false;
        for run in Runs(bytes) {
            let padded = run.len() >= 24 && run.ends_with(b"=");
            if padded || after_word {
                secrets.add(run);
            }
            after_word = run.ends_with(b"secret");
        }
        secrets.sort();
        secrets
    }

    /// Adds the values of all fields named `secret`, in whatever notation they were written.
    pub(super) fn add_tree(&mut self, node: &Node) {
        self.collect(node);
        self.sort();
    }

    fn collect(&mut self, node: &Node) {
        match &node.value {
            Value::List(items) => items.iter().for_each(|item| self.collect(item)),
            Value::Mapping(entries) => {
                for entry in entries {
                    match &entry.value.value {
                        Value::String(text) if entry.key.as_str() == "secret" => {
                            self.add(text.as_bytes())
                        }
                        _ => self.collect(&entry.value),
                    }
                }
            }
            Value::Null | Value::Bool | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn add(&mut self, secret: &[u8]) {
        if let Some(start) = secret.first_chunk() {
            self.sorted.push(*start);
        }
    }

    fn sort(&mut self) {
        // The standard library's sort takes ten times the code of its heap.
        let heap = BinaryHeap::from(core::mem::take(&mut *self.sorted));
        *self.sorted = heap.into_sorted_vec();
        self.sorted.dedup();
    }

    /// Replaces every secret in `text`.
    pub(super) fn hide(&self, text: &mut String) {
        let mut from = 0;
        while let Some(start) = self.find(text.as_bytes(), from) {
            let rest = text.as_bytes().get(start + KNOWN_BY..).unwrap_or_default();
            let mut end =
                start + KNOWN_BY + rest.iter().position(|c| !is_base64(*c)).unwrap_or(rest.len());
            while !text.is_char_boundary(end) {
                end += 1;
            }
            text.replace_range(start..end, REDACTED);
            from = start + REDACTED.len();
        }
    }

    /// Returns the offset of the next secret. It is a character boundary, because secrets are text.
    fn find(&self, text: &[u8], from: usize) -> Option<usize> {
        if self.sorted.is_empty() {
            return None;
        }
        let mut windows = text.get(from..)?.array_windows::<KNOWN_BY>();
        windows.position(|window| self.sorted.binary_search(window).is_ok()).map(|at| from + at)
    }

    pub(super) fn hide_in(&self, findings: &mut [Finding]) {
        for finding in findings {
            self.hide(&mut finding.path);
            self.hide(&mut finding.message);
        }
    }
}

/// Iterates over the runs of base64 characters.
struct Runs<'a>(&'a [u8]);

impl<'a> Iterator for Runs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.0.iter().position(|c| is_base64(*c))?;
        let (_, rest) = self.0.split_at_checked(start)?;
        let end = rest.iter().position(|c| !is_base64(*c)).unwrap_or(rest.len());
        let (run, rest) = rest.split_at_checked(end)?;
        self.0 = rest;
        Some(run)
    }
}

fn is_base64(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'=')
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn secrets_are_hidden_anywhere_in_a_message() {
        let text =
            b"- secret: 'MTIzNDU2Nzg5MDEyMzQ1Ng'\n  other: MTIzNDU2Nzg5MDEyMzQ1Ng==\n  name: fine";
        let secrets = Secrets::of_text(text);
        let mut message = "x MTIzNDU2Nzg5MDEyMzQ1Ng y MTIzNDU2Nzg5MDEyMzQ1Ng== z fine".to_string();
        secrets.hide(&mut message);
        assert!(!message.contains("MTIz"), "{message}");
        assert!(message.contains("fine"));
    }
}
