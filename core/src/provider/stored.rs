//! A stored value as the engine sees it: all of its bytes, or its first and last bytes.
//!
//! The bytes in between are ciphertext, which only the cipher needs. A caller that keeps values elsewhere, such as the host of a component, passes a
//! window. If a decision needs more, the result is [`Missing`], and the caller tries again with a larger window.

use core::ops::Range;

/// A stored value, or what is left of it after its prefix.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// How many bytes precede it in the whole value.
    offset: usize,
    len: usize,
    head: &'a [u8],
    /// The last bytes; empty if `head` is everything.
    tail: &'a [u8],
}

/// The window is too small to decide. Nothing has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How many of the value's first bytes are needed.
    pub head: usize,
    /// How many of its last bytes are needed.
    pub tail: usize,
}

impl<'a> Stored<'a> {
    /// A value whose bytes are all here.
    pub const fn whole(bytes: &'a [u8]) -> Self {
        Self { offset: 0, len: bytes.len(), head: bytes, tail: &[] }
    }

    /// A value of `len` bytes, of which the first and the last are here. Returns `None` if these are more than `len`.
    pub fn window(len: usize, head: &'a [u8], tail: &'a [u8]) -> Option<Self> {
        let shown = head.len().checked_add(tail.len())?;
        (shown <= len).then_some(Self { offset: 0, len, head, tail })
    }

    /// Returns the length, without what was stripped.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Returns whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the position of a range of these bytes in the whole value.
    pub const fn range(&self, within: Range<usize>) -> Range<usize> {
        self.offset + within.start..self.offset + within.end
    }

    const fn is_whole(&self) -> bool {
        self.head.len() == self.len
    }

    fn needs(&self, head: usize) -> Missing {
        Missing { head: self.offset + head.min(self.len), tail: self.tail.len() }
    }

    /// Returns the first `len` bytes, or all bytes if there are fewer.
    ///
    /// # Errors
    /// Returns an error if they are not all here.
    pub fn first(&self, len: usize) -> Result<&'a [u8], Missing> {
        let len = len.min(self.len);
        self.head.get(..len).ok_or_else(|| self.needs(len))
    }

    /// Returns the visible first bytes, and whether they are all bytes.
    pub(crate) const fn visible(&self) -> (&'a [u8], bool) {
        (self.head, self.is_whole())
    }

    /// Returns whether the value begins with `prefix`.
    ///
    /// # Errors
    /// Returns an error if that depends on bytes that are not here.
    pub fn starts_with(&self, prefix: &[u8]) -> Result<bool, Missing> {
        let shared = prefix.len().min(self.head.len());
        let (head, begin) = (self.head.get(..shared), prefix.get(..shared));
        if !head.zip(begin).is_some_and(|(head, begin)| same(head, begin)) {
            return Ok(false);
        }
        // So far they are equal.
        if shared == prefix.len() || self.is_whole() || self.len < prefix.len() {
            return Ok(shared == prefix.len());
        }
        Err(self.needs(prefix.len()))
    }

    /// Returns what follows `prefix`, or `None` if the value does not begin with it.
    ///
    /// # Errors
    /// Returns an error if that depends on bytes that are not here.
    pub fn strip_prefix(&self, prefix: &[u8]) -> Result<Option<Self>, Missing> {
        Ok(if self.starts_with(prefix)? { self.without_first(prefix.len()) } else { None })
    }

    /// Returns the value without its first `len` bytes. Returns `None` if they are not here.
    pub(crate) fn without_first(&self, len: usize) -> Option<Self> {
        let head = self.head.get(len..)?;
        Some(Self { offset: self.offset + len, len: self.len - len, head, tail: self.tail })
    }

    /// Returns everything from `start` on.
    ///
    /// # Errors
    /// Returns an error if not all of it is here.
    pub(crate) fn from(&self, start: usize) -> Result<&'a [u8], Missing> {
        if self.is_whole() {
            return Ok(self.head.get(start..).unwrap_or_default());
        }
        let len = self.len.saturating_sub(start);
        match self.tail.len().checked_sub(len) {
            Some(at) => Ok(self.tail.get(at..).unwrap_or_default()),
            None => Err(Missing { head: self.offset + self.head.len(), tail: len }),
        }
    }

    /// Returns the error of a decision that needs every byte.
    pub(crate) fn all_missing(&self) -> Missing {
        Missing { head: self.offset + self.len, tail: 0 }
    }
}

/// Returns whether two slices are equal. It compares eight bytes at a time, because every read compares about a hundred bytes and WebAssembly's
/// `memcmp` compares them one by one.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    let (words_a, rest_a) = a.as_chunks::<8>();
    let (words_b, rest_b) = b.as_chunks::<8>();
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes);
    a.len() == b.len() && words_a.iter().map(word).eq(words_b.iter().map(word)) && rest_a == rest_b
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    const VALUE: &[u8] = b"k8s:enc:kms:v2:a:0123456789";

    /// Asks with growing windows until there is an answer, which must be that of the whole value.
    fn asked<T: PartialEq + core::fmt::Debug>(ask: impl Fn(Stored<'_>) -> Result<T, Missing>) {
        let expected = ask(Stored::whole(VALUE)).expect("all bytes are here");
        let mut window = Missing { head: 0, tail: 0 };
        for _ in 0..VALUE.len() {
            let head = window.head.min(VALUE.len());
            let tail = window.tail.min(VALUE.len() - head);
            let (head, rest) = VALUE.split_at(head);
            let tail = &rest[rest.len() - tail..];
            let stored = Stored::window(VALUE.len(), head, tail).expect("within the value");
            match ask(stored) {
                Ok(answer) => return assert_eq!(answer, expected),
                Err(missing) => {
                    assert!(missing.head > head.len() || missing.tail > tail.len(), "more");
                    window = missing;
                }
            }
        }
        panic!("no answer");
    }

    #[test]
    fn a_window_gives_the_answers_of_the_whole_value() {
        for prefix in ["", "k8s:", "k8x:", "k8s:enc:kms:v2:a:", "k8s:enc:kms:v2:a:0123456789 "] {
            asked(|stored| stored.starts_with(prefix.as_bytes()));
            asked(|stored| {
                let rest = stored.strip_prefix(prefix.as_bytes())?;
                rest.map(|rest| Ok((rest.len(), rest.range(0..1), rest.from(3)?.to_vec())))
                    .transpose()
            });
        }
        for len in [0, 5, 100] {
            asked(|stored| stored.first(len).map(<[u8]>::to_vec));
            asked(|stored| stored.from(len).map(<[u8]>::to_vec));
        }
    }

    #[test]
    fn a_window_is_not_longer_than_its_value() {
        assert!(Stored::window(3, b"ab", b"c").is_some());
        assert!(Stored::window(2, b"ab", b"c").is_none());
    }

    #[test]
    fn every_byte_is_compared() {
        let bytes: Vec<u8> = (0..40).collect();
        for len in 0..bytes.len() {
            let part = &bytes[..len];
            assert!(same(part, part), "{len}");
            assert!(!same(part, &bytes[..=len]) && !same(&bytes[..=len], part));
            for at in 0..len {
                let mut other = part.to_vec();
                other[at] ^= 1;
                assert!(!same(part, &other), "byte {at} of {len}");
            }
        }
    }
}
