//! The parts of a stored value.

use alloc::vec::Vec;

/// A part of a stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// `prefix`, `nonce`, `iv`, `info`, `ciphertext`, `tag`, `encryptedDEKSource`, `keyID`, `annotation`, `protobuf`, `plaintext`, …
    pub name: &'static str,
    /// The offset of its first byte from the start of the stored value, in bytes.
    pub offset: usize,
    /// Its length, in bytes.
    pub length: usize,
}

/// A list of parts without gaps, from the start of the value.
#[derive(Default)]
pub(super) struct Layout {
    segments: Vec<Segment>,
    end: usize,
}

impl Layout {
    /// Adds the part that follows, unless it is empty.
    pub(super) fn push(&mut self, name: &'static str, length: usize) {
        if length > 0 {
            self.segments.push(Segment { name, offset: self.end, length });
            self.end += length;
        }
    }

    /// Returns the offset of the next part.
    pub(super) fn end(&self) -> usize {
        self.end
    }

    pub(super) fn into_segments(self) -> Vec<Segment> {
        self.segments
    }
}
