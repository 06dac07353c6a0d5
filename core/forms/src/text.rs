//! Small questions about text: is it a key, a prompt, the beginning of a value.

use crate::fault::FileKind;
use crate::guard::Guard;
use crate::{ENCRYPTED_PREFIX, PROTOBUF_PREFIX};

/// kine's key for its compaction, which is no object.
pub(crate) const COMPACT_REV_KEY: &[u8] = b"compact_rev_key";

/// The first bytes of every Kubernetes object in CBOR: the tag of self-described CBOR, RFC 8949 section 3.4.6.
pub(crate) const CBOR_PREFIX: &[u8] = &[0xd9, 0xd9, 0xf7];

/// Whether `bytes` begin as a stored value does. A value in protobuf begins with the field 1.
pub(crate) fn begins_stored(bytes: &[u8]) -> bool {
    bytes.starts_with(ENCRYPTED_PREFIX) || begins_protobuf(bytes)
}

pub(crate) fn begins_protobuf(bytes: &[u8]) -> bool {
    bytes.strip_prefix(PROTOBUF_PREFIX).is_some_and(|rest| rest.first() == Some(&b'\n'))
}

/// What `etcdctl watch --progress-notify` prints before the revision.
pub(crate) const WATCH_PROGRESS: &[u8] = b"progress notify: ";

/// A line that etcdctl prints before keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Put,
    Delete,
    Progress,
    /// `OK`, of a put.
    Ok,
    /// `SUCCESS` or `FAILURE`, of a transaction.
    Transaction,
}

impl Word {
    pub(crate) fn of(line: &[u8]) -> Option<Self> {
        Some(match line {
            b"PUT" => Self::Put,
            b"DELETE" => Self::Delete,
            b"OK" => Self::Ok,
            b"SUCCESS" | b"FAILURE" => Self::Transaction,
            line if line.starts_with(WATCH_PROGRESS) => Self::Progress,
            _ => return None,
        })
    }
}

/// Whether `bytes` begin as a Kubernetes object in JSON usually does.
pub(crate) fn begins_json_object(bytes: &[u8]) -> bool {
    bytes.starts_with(b"{\"kind\":\"") || bytes.starts_with(b"{\"apiVersion\":\"")
}

/// Whether a text that begins with `bytes` may begin with one of `heads`, when more of it is known.
pub(crate) fn may_begin(bytes: &[u8], heads: &[&[u8]]) -> bool {
    heads.iter().any(|head| head.starts_with(bytes))
}

/// Whether the line is a storage key: an absolute path of printable characters without spaces, or kine's `compact_rev_key`.
pub(crate) fn is_key(line: &[u8], max: usize) -> bool {
    line == COMPACT_REV_KEY
        || line.len() <= max
            && line.len() > 2
            && line.first() == Some(&b'/')
            && line.get(1) != Some(&b'/')
            && is_graphic(line)
            && core::str::from_utf8(line).is_ok()
}

/// A root of at least this many bytes does not occur by accident.
pub(crate) const ROOT_MIN: usize = 6;

/// The key's path up to its second slash: `/registry/`.
pub(crate) fn root(key: &[u8]) -> &[u8] {
    let slash = key.iter().skip(1).position(|byte| *byte == b'/');
    slash.and_then(|at| key.get(..at + 2)).unwrap_or_default()
}

/// Whether the bytes contain neither white space nor control characters.
pub(crate) fn is_graphic(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte >= 0x80)
}

/// Whether the line comes from a terminal or a document around the output: a prompt, a command, a code fence.
pub(crate) fn is_prompt(line: &[u8]) -> bool {
    const COMMANDS: [&[u8]; 11] = [
        b"etcdctl",
        b"ETCDCTL_",
        b"kubectl ",
        b"hexdump",
        b"xxd",
        b"od -",
        b"psql",
        b"sqlite3",
        b"base64",
        b"curl ",
        b"jq ",
    ];
    let line = line.trim_ascii();
    let has = |part: &[u8]| contains(line, part);
    // Almost every line that is asked about is base64 or hex.
    let is_digits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    if line.len() > 1000 || line.iter().all(is_digits) {
        return false;
    }
    let is_prompt = match line {
        [b'$' | b'#' | b'>' | b'%'] | [b'$' | b'#' | b'>' | b'%', b' ', ..] => true,
        line if line.starts_with(b"Defaulted container ") => true,
        [b'`', b'`', b'`', ..] | [b'~', b'~', b'~', ..] => true,
        // A directory: `/ # `.
        [b'/', ..] if has(b" # ") || has(b" $ ") => true,
        [b'/', rest @ ..] => rest == b" #" || rest == b" $",
        [b'{' | b'"' | b'\\', ..] | [] => false,
        _ => {
            let ends = matches!(line.last(), Some(b'$' | b'#' | b'>' | b'%'));
            let prompt = line.contains(&b'@')
                && (ends || has(b"$ ") || has(b"# ") || has(b"> ") || has(b"% "));
            prompt
                || has_bare_prompt(line)
                || (line.contains(&b' ') && COMMANDS.iter().any(|command| has(command)))
        }
    };
    is_prompt && is_printable(line) && !Guard::finds(line)
}

/// Whether the line is such a prompt, with a command or without.
fn has_bare_prompt(line: &[u8]) -> bool {
    let end = line.windows(2).position(|pair| matches!(pair, [b'$' | b'#' | b'>' | b'%', b' ']));
    is_bare_prompt(end.and_then(|end| line.get(..=end)).unwrap_or(line))
}

/// Whether the line is what psql prints after a table: `(2 rows)`.
pub(crate) fn is_row_count(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    let count = line
        .strip_prefix(b"(")
        .and_then(|line| line.strip_suffix(b" row)").or_else(|| line.strip_suffix(b" rows)")));
    count.and_then(number).is_some()
}

/// Whether the line is a prompt of a shell or database without a command: `sh-5.1#`, `~ $`, `PS C:\>`, `mysql>`, `kine=#`.
fn is_bare_prompt(line: &[u8]) -> bool {
    let Some((mark @ (b'$' | b'#' | b'>' | b'%'), before)) = line.split_last() else {
        return false;
    };
    // zsh prints `%` after output without a line end, and `cat -A` prints `$` at the end of a line: they follow digits.
    let is_marked = match mark {
        b'%' => before.ends_with(b" "),
        b'>' => true,
        _ => before.iter().any(|byte| b" :.~[]()\\".contains(byte)) || before.ends_with(b"="),
    };
    is_marked && line.len() <= 100
}

/// Whether the bytes are ASCII that a terminal shows, and line ends.
pub(crate) fn is_printable_ascii(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t'))
}

/// Whether the line is of etcdctl's log, which it writes beside its output.
pub(crate) fn is_log(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"{\"level\":\"") && !Guard::finds(line)
}

/// Whether the line is text without control characters.
pub(crate) fn is_printable(line: &[u8]) -> bool {
    !line.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t')
        && core::str::from_utf8(line).is_ok()
}

/// Returns the kind of file that begins with `bytes`.
pub(crate) fn file_kind(bytes: &[u8]) -> Option<FileKind> {
    /// Offset, magic number, kind.
    const MAGIC: [(usize, &[u8], FileKind); 11] = [
        // bbolt: the first page's header is 16 bytes long. Pages of 4 KiB, if the first is damaged.
        (16, &[0xed, 0xda, 0x0c, 0xed], FileKind::EtcdDatabase),
        (4096 + 16, &[0xed, 0xda, 0x0c, 0xed], FileKind::EtcdDatabase),
        (0, b"SQLite format 3\0", FileKind::Sqlite),
        (0, b"PGDMP", FileKind::PostgresDump),
        (0, &[0x1f, 0x8b, 8], FileKind::Gzip),
        (0, &[0x28, 0xb5, 0x2f, 0xfd], FileKind::Zstd),
        (0, &[0xfd, b'7', b'z', b'X', b'Z', 0], FileKind::Xz),
        (0, b"BZh91AY", FileKind::Bzip2),
        (0, b"PK\x03\x04", FileKind::Zip),
        (257, b"ustar\0", FileKind::Tar),
        (257, b"ustar  ", FileKind::Tar),
    ];
    MAGIC
        .iter()
        .find(|(offset, magic, _)| bytes.get(*offset..).is_some_and(|at| at.starts_with(magic)))
        .map(|(_, _, kind)| *kind)
}

/// Removes one pair of quotes around the text.
pub(crate) fn unquoted(text: &[u8]) -> &[u8] {
    match text {
        [b'"', inner @ .., b'"'] | [b'\'', inner @ .., b'\''] => inner,
        other => other,
    }
}

/// Whether the name is one that kine uses for its bookkeeping.
pub(crate) fn is_bookkeeping(name: &[u8]) -> bool {
    name == COMPACT_REV_KEY || name.starts_with(b"gap-")
}

/// Reads a number without a sign.
pub(crate) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 1 && text.first() == Some(&b'0') {
        return None;
    }
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// Whether `part` occurs in the text.
pub(crate) fn contains(text: &[u8], part: &[u8]) -> bool {
    find(text, part).is_some()
}

/// Returns where `part` occurs first in the text.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    let first = part.first()?;
    let mut from = 0;
    loop {
        let rest = text.get(from..)?;
        from += rest.iter().position(|byte| byte == first)?;
        if text.get(from..).is_some_and(|rest| rest.starts_with(part)) {
            return Some(from);
        }
        from += 1;
    }
}
