//! Nonces that are never used twice.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::entropy::{Entropy, EntropyError};
use super::keys::{INFO_LEN, NONCE_LEN};

/// The counter values that one owner may use with one DEK: `start..end`.
///
/// A single instance has [`CounterRange::WHOLE`]. A host that runs several instances gives each a disjoint part, and gives each part only once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRange {
    /// The first value.
    pub start: u64,
    /// The first value that is not in the range.
    pub end: u64,
}

impl CounterRange {
    /// The whole range of a new DEK. The first value is 1 000 000 001, as upstream's (encrypt/aes/aes.go starts its counter at one billion and adds
    /// before use). The last is 2⁶⁴ − 2, so that the next value never wraps.
    pub const WHOLE: Self = Self { start: 1_000_000_001, end: u64::MAX };
}

/// The nonces of one DEK: `random[4] ‖ counter[8, little-endian]`.
///
/// Within one process, the counter alone makes the nonces unique. After a snapshot of the process is restored, the counter passes through the same
/// values again. Then the random part, which must be fresh ([`Entropy`]), makes two nonces with the same counter value differ, except in one case of
/// 2³²; and the engine replaces the DEK when it receives [`Event::Restored`](crate::engine::event::Event::Restored). Not `Clone`; any number of
/// threads may use it through `&self`. Upstream: encrypt/aes/aes.go. Cf. NIST SP 800-38D §8.2.1.
#[derive(Debug)]
pub struct CounterNonces {
    next: AtomicU64,
    end: u64,
}

impl CounterNonces {
    /// Creates the nonces of `range`. The caller guarantees that no other sequence of the same DEK overlaps it.
    pub const fn new(range: CounterRange) -> Self {
        Self { next: AtomicU64::new(range.start), end: range.end }
    }

    /// Returns whether every value of the range has been used.
    pub fn is_used_up(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.end
    }

    /// Removes the next `len` values from this sequence and returns them. Returns `None` if fewer are left.
    pub fn cut(&self, len: u64) -> Option<CounterRange> {
        let cut = |start: u64| start.checked_add(len).filter(|end| *end <= self.end);
        let start = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut).ok()?;
        cut(start).map(|end| CounterRange { start, end })
    }

    /// Returns a nonce that this sequence has not returned before.
    ///
    /// # Errors
    /// Returns [`NonceError::Exhausted`], now and on every later call, once the range is used up. Returns [`NonceError::Entropy`] if the random part
    /// cannot be obtained.
    pub fn next(&self, entropy: &dyn Entropy) -> Result<[u8; NONCE_LEN], NonceError> {
        let mut nonce = [0; NONCE_LEN];
        let (random, counter) = nonce.split_at_mut(4);
        entropy.fill(random)?;
        // Compare and exchange instead of add: a counter that has reached its end stays there, however often this is called.
        let value = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
                (value < self.end).then(|| value + 1)
            })
            .map_err(|_| NonceError::Exhausted)?;
        counter.copy_from_slice(&value.to_le_bytes());
        Ok(nonce)
    }
}

/// Returns the header of one value of a seed: `info[32] ‖ nonce[12]`, all random. Each info derives a new key. Upstream: aes_extended_nonce.go.
///
/// # Errors
/// Returns [`NonceError::Entropy`] if the random bytes cannot be obtained.
pub fn extended(entropy: &dyn Entropy) -> Result<[u8; INFO_LEN + NONCE_LEN], NonceError> {
    let mut header = [0; INFO_LEN + NONCE_LEN];
    entropy.fill(&mut header)?;
    Ok(header)
}

/// Why there is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceError {
    /// Every value of the range has been used. The DEK must be replaced.
    Exhausted,
    /// The source of randomness failed.
    Entropy(EntropyError),
}

impl From<EntropyError> for NonceError {
    fn from(error: EntropyError) -> Self {
        Self::Entropy(error)
    }
}

impl fmt::Display for NonceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exhausted => f.write_str("the DEK has no nonce left"),
            Self::Entropy(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NonceError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Entropy(error) => Some(error),
            Self::Exhausted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    struct Counting;
    impl Entropy for Counting {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(7);
            Ok(())
        }
    }

    #[test]
    fn first_nonce_of_a_new_dek_counts_from_a_billion_and_one() {
        let nonces = CounterNonces::new(CounterRange::WHOLE);
        let mut expected = [7; 12];
        expected[4..].copy_from_slice(&1_000_000_001u64.to_le_bytes());
        assert_eq!(nonces.next(&Counting), Ok(expected));
    }

    #[test]
    fn only_a_failed_source_of_randomness_is_a_source() {
        let error = NonceError::Entropy(EntropyError);
        assert!(
            core::error::Error::source(&error).is_some_and(|source| source.is::<EntropyError>())
        );
        assert!(core::error::Error::source(&NonceError::Exhausted).is_none());
    }

    #[test]
    fn exhausted_counter_stays_exhausted() {
        let nonces = CounterNonces::new(CounterRange { start: u64::MAX - 2, end: u64::MAX });
        let given: Vec<_> = core::iter::repeat_with(|| nonces.next(&Counting)).take(5).collect();
        assert!(given[0].is_ok() && given[1].is_ok() && given[0] != given[1]);
        assert_eq!(given[2..], [Err(NonceError::Exhausted); 3]);
        assert!(nonces.is_used_up());
    }

    #[test]
    fn counter_values_cut_off_are_not_issued_again() {
        let nonces = CounterNonces::new(CounterRange { start: 10, end: 20 });
        let counter = || nonces.next(&Counting).map(|nonce| nonce[4]);
        assert_eq!(counter(), Ok(10));
        assert_eq!(nonces.cut(4), Some(CounterRange { start: 11, end: 15 }));
        assert_eq!(counter(), Ok(15));
        // Asking for one more value than is left takes nothing. Then take all that are left.
        assert_eq!(nonces.cut(5), None);
        assert!(!nonces.is_used_up());
        assert_eq!(nonces.cut(4), Some(CounterRange { start: 16, end: 20 }));
        assert_eq!(nonces.cut(0), Some(CounterRange { start: 20, end: 20 }));
        assert_eq!(nonces.cut(1), None);
        assert_eq!(nonces.cut(u64::MAX), None);
        assert_eq!(counter(), Err(NonceError::Exhausted));
    }

    #[test]
    fn errors_name_their_cause() {
        let texts = [NonceError::Exhausted, NonceError::Entropy(EntropyError)];
        assert_eq!(
            texts.map(|error| error.to_string()),
            ["the DEK has no nonce left", "the source of randomness failed"]
        );
    }

    #[test]
    fn empty_range_is_exhausted() {
        assert_eq!(
            CounterNonces::new(CounterRange { start: 5, end: 5 }).next(&Counting),
            Err(NonceError::Exhausted)
        );
    }
}
