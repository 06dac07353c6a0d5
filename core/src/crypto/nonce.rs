//! Nonces that are never used twice.

use core::fmt;
use core::ops::Deref;
use core::sync::atomic::{AtomicU64, Ordering};

use dekker_crypto::layout;

use super::entropy::{Entropy, EntropyError};
use super::keys::{INFO_LEN, LocalCipher, NONCE_LEN};

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
    /// Returns an error, now and on every later call, once the range is used up.
    pub fn next(&self) -> Result<Nonce, Exhausted> {
        // Compare and exchange instead of add: a counter that has reached its end stays there, however often this is called.
        let next = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
            (value < self.end).then(|| value + 1)
        });
        next.map(|value| Nonce(Kind::Counted(value))).map_err(|_| Exhausted)
    }
}

/// The nonce of one value, before its random part is obtained. It cannot be copied, and it is used up when the value is sealed.
#[derive(Debug, PartialEq, Eq)]
pub struct Nonce(Kind);

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Counted(u64),
    Random(usize),
}

impl Nonce {
    /// The header of a value of a seed: `info[32] ‖ nonce[12]`, all random. Each info derives a new key. Upstream: aes_extended_nonce.go.
    pub const EXTENDED: Self = Self(Kind::Random(HEADER_MAX));

    /// A random nonce or IV for a key of the configuration.
    pub const fn of_local(cipher: LocalCipher) -> Self {
        Self(Kind::Random(cipher.nonce_len()))
    }

    /// A random nonce of 12 bytes for AES-GCM, for a DEK that seals only this value, or whose used nonces are not known.
    pub const RANDOM: Self = Self(Kind::Random(NONCE_LEN));

    /// Returns the value of the counter, or `None` if the nonce is all random.
    pub const fn counter(&self) -> Option<u64> {
        match self.0 {
            Kind::Counted(value) => Some(value),
            Kind::Random(_) => None,
        }
    }

    /// Returns the length of the header that contains the nonce, in bytes.
    pub const fn header_len(&self) -> usize {
        match self.0 {
            Kind::Counted(_) => NONCE_LEN,
            Kind::Random(len) => len,
        }
    }

    /// Obtains the random part and returns the header.
    ///
    /// # Errors
    /// Returns an error if the random bytes cannot be obtained.
    pub fn header(self, entropy: &dyn Entropy) -> Result<Header, EntropyError> {
        let mut header = Header { bytes: [0; HEADER_MAX], len: self.header_len() };
        match self.0 {
            Kind::Counted(counter) => {
                let mut random = [0; 4];
                entropy.fill(&mut random)?;
                let nonce = layout::counted(random, counter);
                header.bytes.iter_mut().zip(nonce).for_each(|(byte, of_nonce)| *byte = of_nonce);
            }
            Kind::Random(len) => {
                if let Some(random) = header.bytes.get_mut(..len) {
                    entropy.fill(random)?;
                }
            }
        }
        Ok(header)
    }
}

/// The length of the longest header, 44 bytes.
const HEADER_MAX: usize = INFO_LEN + NONCE_LEN;

/// What precedes the ciphertext of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_MAX],
    len: usize,
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// Every value of the range has been used. The DEK must be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the DEK has no nonce left")
    }
}

impl core::error::Error for Exhausted {}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    struct Sevens;
    impl Entropy for Sevens {
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
        let header = nonces.next().unwrap().header(&Sevens).unwrap();
        assert_eq!(*header, expected);
    }

    #[test]
    fn headers_have_the_length_of_their_nonce() {
        let nonces = [
            (Nonce::RANDOM, 12),
            (Nonce::EXTENDED, 44),
            (Nonce::of_local(LocalCipher::AesGcm), 12),
            (Nonce::of_local(LocalCipher::AesCbc), 16),
            (Nonce::of_local(LocalCipher::Secretbox), 24),
        ];
        for (nonce, len) in nonces {
            assert_eq!((nonce.header_len(), nonce.counter()), (len, None));
            assert_eq!(*nonce.header(&Sevens).unwrap(), [7; HEADER_MAX][..len]);
        }
    }

    #[test]
    fn exhausted_counter_stays_exhausted() {
        let nonces = CounterNonces::new(CounterRange { start: u64::MAX - 2, end: u64::MAX });
        let given: Vec<_> = core::iter::repeat_with(|| nonces.next()).take(5).collect();
        assert!(given[0].is_ok() && given[1].is_ok() && given[0] != given[1]);
        assert_eq!(given[2..], [Err(Exhausted), Err(Exhausted), Err(Exhausted)]);
        assert!(nonces.is_used_up());
    }

    #[test]
    fn counter_values_cut_off_are_not_issued_again() {
        let nonces = CounterNonces::new(CounterRange { start: 10, end: 20 });
        let counter = || nonces.next().map(|nonce| nonce.counter().unwrap());
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
        assert_eq!(counter(), Err(Exhausted));
    }

    #[test]
    fn the_error_names_its_cause() {
        assert_eq!(Exhausted.to_string(), "the DEK has no nonce left");
    }

    #[test]
    fn empty_range_is_exhausted() {
        let nonces = CounterNonces::new(CounterRange { start: 5, end: 5 });
        assert_eq!(nonces.next(), Err(Exhausted));
    }
}
