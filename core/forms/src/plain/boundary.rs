//! Where a value ends that states no length: before what can only be the next key, value or event.

use super::terminal::prompt_follows;
use super::{Found, Plain};
use crate::ENCRYPTED_PREFIX;
use crate::context::Context;
use crate::text::{self, WATCH_PROGRESS};

impl Plain {
    /// Whether a value or key begins after a line end.
    pub(super) fn boundary(&self, after: &[u8], end: bool, context: &Context) -> Found {
        let more = |possible: bool| if possible && !end { Found::More } else { Found::No };
        // Plaintext objects may contain such a line.
        if self.rest().starts_with(ENCRYPTED_PREFIX) || self.rest().first() == Some(&b'{') {
            match prompt_follows(after, end) {
                Found::No => {}
                found => return found,
            }
        }
        if !self.keyed {
            let heads: [&[u8]; 5] = [
                ENCRYPTED_PREFIX,
                b"k8s\0\n",
                b"k8s\0\r\n",
                b"{\"kind\":\"",
                b"{\"apiVersion\":\"",
            ];
            if heads.iter().any(|head| after.starts_with(head)) {
                return Found::Yes;
            }
            return more(!after.is_empty() && text::may_begin(after, &heads) || after.is_empty());
        }
        if self.watch {
            let heads: [&[u8]; 5] =
                [b"PUT\n/", b"DELETE\n/", b"PUT\r\n/", b"DELETE\r\n/", WATCH_PROGRESS];
            if heads.iter().any(|head| after.starts_with(head)) {
                return Found::Yes;
            }
            if !end && text::may_begin(after, &heads) {
                return Found::More;
            }
        }
        if after.is_empty() {
            return more(true);
        }
        if self.transaction {
            let heads: [&[u8]; 2] = [b"\nOK\n", b"\r\nOK\r\n"];
            if heads.iter().any(|head| after.starts_with(head)) {
                return Found::Yes;
            }
            if !end && text::may_begin(after, &heads) {
                return Found::More;
            }
        }
        let limit = context.limits.key;
        if !after.starts_with(b"/")
            && !text::may_begin(after, &[b"compact_rev_key\n", b"compact_rev_key\r\n"])
            && !after.starts_with(text::COMPACT_REV_KEY)
        {
            return Found::No;
        }
        let Some(len) = after.iter().take(limit.saturating_add(2)).position(|byte| *byte == b'\n')
        else {
            let line = after.strip_suffix(b"\r").unwrap_or(after);
            return more(line.len() <= limit && text::is_graphic(line));
        };
        let (line, value) = after.split_at(len);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !text::is_key(line, limit) {
            return Found::No;
        }
        if line == text::COMPACT_REV_KEY
            || self.root.len() >= text::ROOT_MIN && line.starts_with(&self.root)
        {
            return Found::Yes;
        }
        let value = value.get(1..).unwrap_or_default();
        if text::begins_stored(value) {
            return Found::Yes;
        }
        more(text::may_begin(value, &[ENCRYPTED_PREFIX, b"k8s\0\n"]))
    }
}
