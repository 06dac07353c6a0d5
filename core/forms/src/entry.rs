//! A value that was found.

use alloc::vec::Vec;

use crate::form::Form;
use crate::resource::{Resource, resource};

/// A value that was found in an input.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The storage key, if the input contains it.
    pub key: Option<Vec<u8>>,
    /// The revision of the value (`mod_revision`, or kine's `id`), if the input contains it.
    pub revision: Option<u64>,
    /// The stored bytes.
    pub bytes: Vec<u8>,
    /// Where the value begins: its key, its first byte, its first line.
    pub place: Place,
    /// The form that contains the value.
    pub form: Form,
    /// The forms around it, from the outside in: `[HexdumpC]` for `etcdctl get | hexdump -C`.
    pub within: Vec<Form>,
    /// What the first bytes say that the value is.
    pub content: Content,
    /// Whether a line end may follow the value, or was removed.
    pub line_end: LineEnd,
    /// Whether the input ends before the value does, for example in a dump without its last line.
    pub cut_short: bool,
    /// Whether each `\r\n` in the value was read as `\n`, because the key line ended with `\r\n`: the output went through a terminal
    /// (`kubectl exec -t`). If the value does not decrypt, it is damaged.
    pub crlf_undone: bool,
}

impl core::fmt::Debug for Entry {
    /// Omits the value's bytes, which may be a plaintext Secret.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key.as_deref().map(alloc::string::String::from_utf8_lossy))
            .field("revision", &self.revision)
            .field("len", &self.bytes.len())
            .field("place", &self.place)
            .field("form", &self.form)
            .field("within", &self.within)
            .field("content", &self.content)
            .field("line_end", &self.line_end)
            .field("cut_short", &self.cut_short)
            .field("crlf_undone", &self.crlf_undone)
            .finish()
    }
}

impl Entry {
    /// The outermost form: the one that the user sees.
    pub fn seen(&self) -> Form {
        self.within.first().copied().unwrap_or(self.form)
    }

    /// The resource of the value, if the key is known and names one.
    pub fn resource(&self) -> Option<Resource<'_>> {
        self.key.as_deref().and_then(resource)
    }

    /// The readings of the value, the most probable first: without the line end that may have been added, without its `\n` only if it is `\r\n`, and
    /// as it is. [`probable_readings`](Self::probable_readings) also considers the structure of the value.
    ///
    /// There is only one unless [`line_end`](Self::line_end) is [`LineEnd::MaybeAdded`].
    pub fn readings(&self) -> impl Iterator<Item = &[u8]> {
        let most = match self.line_end {
            LineEnd::MaybeAdded { len } => len,
            LineEnd::Absent | LineEnd::Removed => 0,
        };
        let len = self.bytes.len();
        (0..=usize::from(most))
            .rev()
            .filter_map(move |less| self.bytes.get(..len.checked_sub(less)?))
    }

    /// Returns the value without the line end that a tool may have added. Returns `None` if there is no such line end.
    pub fn without_line_end(&self) -> Option<&[u8]> {
        match self.line_end {
            LineEnd::MaybeAdded { len } => {
                self.bytes.get(..self.bytes.len().checked_sub(len.into())?)
            }
            LineEnd::Absent | LineEnd::Removed => None,
        }
    }
}

/// A position in the input.
///
/// In UTF-16 input, the offset counts the bytes of the same text in UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The bytes before the position.
    pub offset: u64,
    /// The line, from 1.
    pub line: u64,
}

/// What a value is, according to its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Content {
    /// It begins with `k8s:enc:`.
    Encrypted,
    /// A Kubernetes object in protobuf, plaintext.
    Protobuf,
    /// A Kubernetes object in JSON, plaintext.
    Json,
    /// A Kubernetes object in CBOR, plaintext.
    Cbor,
    /// Not a stored value of Kubernetes, under a key outside of Kubernetes' prefixes. Only in forms that state the exact bounds of the value and its key.
    Other,
}

/// The line end after a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// No line end follows.
    Absent,
    /// The form adds a line end to every value. It was removed.
    Removed,
    /// The value's last bytes are a line end, which may be part of the value or was added by a tool: see [`Entry::readings`].
    MaybeAdded {
        /// The length: 1 for `\n`, 2 for `\r\n`, two line ends, or a line end and NUL.
        len: u8,
    },
}

impl LineEnd {
    /// The line end that may have been added to `bytes`.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        match bytes {
            // A tool added one line end, and another tool a second one, or the end of a string of C.
            [.., b'\r' | b'\n', b'\n'] | [.., b'\n', 0] => Self::MaybeAdded { len: 2 },
            [.., b'\n'] => Self::MaybeAdded { len: 1 },
            _ => Self::Absent,
        }
    }
}
