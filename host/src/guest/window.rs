//! The part of a stored value that the component sees.
//!
//! That is ciphertext and what surrounds it. Of a value that is not encrypted, the component sees only that it is not: the bytes up to the first one
//! that differs from `k8s:enc:`.

use wasmtime::component::{ComponentType, Lift, Lower};
use wasmtime::{Error, Result};

/// What every encrypted value begins with.
const ENCRYPTED: &[u8] = b"k8s:enc:";

/// The window of the first value: enough for most prefixes, and for the key ID and the encrypted DEK of most plugins.
pub(super) const FIRST: Missing = Missing { head: 64, tail: 256 };

/// The largest window that is kept for the next values, 4 KiB on each side.
const KEPT_MAX: u32 = 4096;

/// How often a component may ask for more of one value: for the prefix, the name of the key, the fields after the ciphertext, and everything.
pub(super) const TIMES_MAX: u32 = 8;

/// The WIT record `window`.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(super) struct Window<'a> {
    pub(super) length: u32,
    pub(super) bytes: &'a [u8],
    pub(super) head: u32,
}

/// The WIT record `missing`: how many first and last bytes are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(record)]
pub(super) struct Missing {
    head: u32,
    tail: u32,
}

impl Missing {
    /// Returns a window that has these bytes, too. Each step must show more, so that a component cannot ask forever.
    ///
    /// # Errors
    /// Returns an error if this window has them already.
    pub(super) fn wider(self, missing: Self, len: usize) -> Result<Self> {
        let wider = Self { head: self.head.max(missing.head), tail: self.tail.max(missing.tail) };
        if wider == self || self.head as usize >= len {
            return Err(Error::msg("the component asks for bytes that it has seen"));
        }
        Ok(wider)
    }

    /// Returns the window with which to show the next values.
    pub(super) fn at_least(self, missing: Self) -> Self {
        Self {
            head: self.head.max(missing.head.min(KEPT_MAX)),
            tail: self.tail.max(missing.tail.min(KEPT_MAX)),
        }
    }
}

/// Returns the window of a value. `buffer` is used if the parts are not adjacent.
pub(super) fn of<'a>(
    stored: &'a [u8],
    window: Missing,
    buffer: &'a mut Vec<u8>,
) -> Result<Window<'a>> {
    let length = u32::try_from(stored.len())?;
    let same = stored.iter().zip(ENCRYPTED).take_while(|(a, b)| a == b).count();
    if same < ENCRYPTED.len() {
        // The byte that differs, if there is one.
        let shown = stored.get(..same + 1).unwrap_or(stored);
        return Ok(Window { length, bytes: shown, head: shown.len() as u32 });
    }
    let (head, tail) = (window.head as usize, window.tail as usize);
    if head.saturating_add(tail) >= stored.len() {
        return Ok(Window { length, bytes: stored, head: length });
    }
    buffer.clear();
    buffer.extend_from_slice(&stored[..head]);
    buffer.extend_from_slice(&stored[stored.len() - tail..]);
    Ok(Window { length, bytes: buffer, head: window.head })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stored: &[u8], window: Missing) -> (Vec<u8>, u32) {
        let mut buffer = Vec::new();
        let window = of(stored, window, &mut buffer).unwrap();
        assert_eq!(window.length as usize, stored.len());
        (window.bytes.to_vec(), window.head)
    }

    #[test]
    fn only_the_ends_of_an_encrypted_value_are_shown() {
        let stored = [ENCRYPTED, &[7; 100], b"end"].concat();
        let ends = [ENCRYPTED, &[7, 7], b"end"].concat();
        assert_eq!(shown(&stored, Missing { head: 10, tail: 3 }), (ends, 10));
        assert_eq!(shown(&stored, Missing { head: 100, tail: 11 }), (stored.clone(), 111));
        assert_eq!(shown(&stored, Missing { head: 0, tail: 0 }), (vec![], 0));
        let much = Missing { head: u32::MAX, tail: u32::MAX };
        assert_eq!(shown(&stored, much), (stored, 111));
    }

    #[test]
    fn plaintext_is_shown_up_to_the_byte_that_makes_it_plaintext() {
        for (stored, expected) in [
            ("", ""),
            ("k8s", "k8s"),
            ("hunter2", "h"),
            ("k8s\0plaintext", "k8s\0"),
            ("k8s:enc;plaintext", "k8s:enc;"),
        ] {
            let (bytes, head) = shown(stored.as_bytes(), FIRST);
            assert_eq!((bytes.as_slice(), head as usize), (expected.as_bytes(), expected.len()));
        }
    }

    #[test]
    fn a_component_cannot_ask_for_the_same_bytes_again() {
        let window = Missing { head: 10, tail: 5 };
        assert!(window.wider(Missing { head: 10, tail: 5 }, 100).is_err());
        assert!(window.wider(Missing { head: 3, tail: 1 }, 100).is_err());
        let wider = window.wider(Missing { head: 3, tail: 9 }, 100).unwrap();
        assert_eq!(wider, Missing { head: 10, tail: 9 });
        assert!(wider.wider(Missing { head: 10, tail: 100 }, 10).is_err(), "it was shown whole");
        let kept = window.at_least(Missing { head: u32::MAX, tail: 1 });
        assert_eq!(kept, Missing { head: KEPT_MAX, tail: 5 });
    }
}
