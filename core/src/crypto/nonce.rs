//! What keeps a nonce from being used twice.

use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use super::entropy::{Entropy, EntropyError};
use super::keys::{INFO_LEN, NONCE_LEN};

/// The counter values that one owner may use with one DEK: `start..end`.
///
/// One instance has [`CounterRange::WHOLE`]. A host that runs several gives each a disjoint part, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CounterRange {
    /// The first value.
    pub start: u64,
    /// The first value that is not in the range.
    pub end: u64,
}

impl CounterRange {
    /// Everything that a new DEK has: the first value used is 1 000 000 001, as upstream's (encrypt/aes/aes.go starts its counter at
    /// one billion and adds before use). The last is 2⁶⁴ − 2, so that the count of the next value never wraps.
    pub const WHOLE: Self = Self {
        start: 1_000_000_001,
        end: u64::MAX,
    };
}

/// The nonces of one DEK: `random[4] ‖ counter[8, little-endian]`.
///
/// The counter alone makes them unique within one process. After a snapshot of it was restored, the counter goes over the same numbers again:
/// then the random part, which must be fresh ([`Entropy`]), keeps two nonces of one number apart but for one case in 2³², and the engine
/// replaces the DEK as soon as it is told ([`Event::Restored`](crate::engine::event::Event::Restored)). Not `Clone`; used
/// through `&self` from any number of threads. Upstream: encrypt/aes/aes.go. Cf. NIST SP 800-38D §8.2.1.
#[derive(Debug)]
pub struct CounterNonces {
    next: AtomicU64,
    end: u64,
}

impl CounterNonces {
    /// The nonces of `range`. The caller guarantees that no other sequence of the same DEK overlaps it.
    pub const fn new(range: CounterRange) -> Self {
        Self {
            next: AtomicU64::new(range.start),
            end: range.end,
        }
    }

    /// Whether every value of the range was given.
    pub fn is_used_up(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.end
    }

    /// Cuts off the next `len` values, which this sequence then never gives. `None`: not so many are left.
    pub fn cut(&self, len: u64) -> Option<CounterRange> {
        let cut = |start: u64| start.checked_add(len).filter(|end| *end <= self.end);
        let start = self
            .next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, cut)
            .ok()?;
        cut(start).map(|end| CounterRange { start, end })
    }

    /// A nonce that this sequence has not given before.
    ///
    /// # Errors
    /// [`NonceError::Exhausted`], for ever, once the range is used up; [`NonceError::Entropy`] when the random part cannot be had.
    pub fn next(&self, entropy: &dyn Entropy) -> Result<[u8; NONCE_LEN], NonceError> {
        let mut nonce = [0; NONCE_LEN];
        let (random, counter) = nonce.split_at_mut(4);
        entropy.fill(random)?;
        // Compare and exchange rather than add: a counter that has reached its end stays there, however often it is asked.
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

/// The nonces of one seed: `info[32] ‖ nonce[12]`, all random. A fresh key is derived from each info. Upstream: aes_extended_nonce.go.
///
/// # Errors
/// [`NonceError::Entropy`].
pub fn extended(entropy: &dyn Entropy) -> Result<[u8; INFO_LEN + NONCE_LEN], NonceError> {
    let mut header = [0; INFO_LEN + NONCE_LEN];
    entropy.fill(&mut header)?;
    Ok(header)
}

/// Why there is no nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NonceError {
    /// Every value of the range was given. The DEK must be replaced.
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

impl core::error::Error for NonceError {}

#[cfg(test)]
mod tests {
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
    fn exhausted_counter_stays_exhausted() {
        let nonces = CounterNonces::new(CounterRange {
            start: u64::MAX - 2,
            end: u64::MAX,
        });
        let given: Vec<_> = core::iter::repeat_with(|| nonces.next(&Counting))
            .take(5)
            .collect();
        assert!(given[0].is_ok() && given[1].is_ok() && given[0] != given[1]);
        assert_eq!(given[2..], [Err(NonceError::Exhausted); 3]);
    }

    #[test]
    fn what_is_cut_off_is_given_to_nobody_else() {
        let nonces = CounterNonces::new(CounterRange { start: 10, end: 20 });
        let counter = || nonces.next(&Counting).map(|nonce| nonce[4]);
        assert_eq!(counter(), Ok(10));
        assert_eq!(nonces.cut(4), Some(CounterRange { start: 11, end: 15 }));
        assert_eq!(counter(), Ok(15));
        // Too long by one, which costs nothing; then all that is left.
        assert_eq!(nonces.cut(5), None);
        assert_eq!(nonces.cut(4), Some(CounterRange { start: 16, end: 20 }));
        assert_eq!(nonces.cut(0), Some(CounterRange { start: 20, end: 20 }));
        assert_eq!(nonces.cut(1), None);
        assert_eq!(nonces.cut(u64::MAX), None);
        assert_eq!(counter(), Err(NonceError::Exhausted));
    }

    #[test]
    fn empty_range_gives_nothing() {
        assert_eq!(
            CounterNonces::new(CounterRange { start: 5, end: 5 }).next(&Counting),
            Err(NonceError::Exhausted)
        );
    }
}
