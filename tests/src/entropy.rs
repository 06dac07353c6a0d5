//! Randomness that repeats: the same seed gives the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dekker_core::crypto::entropy::{Entropy, EntropyError};

/// SplitMix64 from a seed. Good enough to tell values apart, and to make a failure happen again; no secret may come from it.
#[derive(Debug)]
pub struct Seeded {
    state: AtomicU64,
    chosen: Mutex<Option<Vec<u8>>>,
}

impl Seeded {
    /// Everything that follows depends on `seed` and on what is asked.
    pub const fn new(seed: u64) -> Self {
        Self {
            state: AtomicU64::new(seed),
            chosen: Mutex::new(None),
        }
    }

    /// The next call of [`Self::bytes`] returns these: the IV of a published vector.
    pub fn choose(&self, bytes: &[u8]) {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.to_vec());
    }

    /// The next number.
    pub fn number(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self
            .state
            .fetch_add(GAMMA, Ordering::Relaxed)
            .wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `bytes`; every call begins a new number, so that the same calls on two faces give the same bytes.
    ///
    /// # Panics
    /// When bytes were chosen and this call asks for more or fewer.
    pub fn bytes(&self, bytes: &mut [u8]) {
        let mut chosen = self.chosen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chosen) = chosen.take() {
            bytes.copy_from_slice(&chosen);
            return;
        }
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.number().to_le_bytes()[..chunk.len()]);
        }
    }
}

/// What an engine owns while the test still chooses bytes for it.
#[derive(Clone, Debug)]
pub struct SharedSeeded(pub Arc<Seeded>);

impl Entropy for SharedSeeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.0.bytes(bytes);
        Ok(())
    }
}

impl Entropy for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        self.bytes(bytes);
        Ok(())
    }
}
