//! Randomness that repeats: the same seed gives the same bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use dekker_core::crypto::entropy::{Entropy, EntropyError};

/// SplitMix64 from a seed. Good enough to tell values apart, and to make a failure happen again; no secret may come from it.
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    /// Everything that follows depends on `seed` and on what is asked.
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// The next number.
    pub fn number(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .0
            .fetch_add(GAMMA, Ordering::Relaxed)
            .wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `bytes`; every call begins a new number, so that the same calls on two faces give the same bytes.
    pub fn bytes(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.bytes(bytes);
        Ok(())
    }
}
