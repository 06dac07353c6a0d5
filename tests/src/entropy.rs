//! Repeatable randomness: the same seed gives the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dekker_core::crypto::entropy::{Entropy, EntropyError};

/// SplitMix64 from a seed. Good enough to distinguish values and to reproduce a failure; never use it for secrets.
#[derive(Debug)]
pub struct Seeded {
    state: AtomicU64,
    chosen: Mutex<Option<Vec<u8>>>,
}

impl Seeded {
    /// Creates a generator. Its output depends only on `seed` and the calls made.
    pub const fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed), chosen: Mutex::new(None) }
    }

    /// Makes the next call of [`Self::bytes`] return these bytes: the IV of a published vector.
    pub fn choose(&self, bytes: &[u8]) {
        *self.chosen.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes.to_vec());
    }

    /// Returns the next number.
    pub fn number(&self) -> u64 {
        const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
        let mut z = self.state.fetch_add(GAMMA, Ordering::Relaxed).wrapping_add(GAMMA);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Fills `bytes`. Every call begins with a new number, so that the same calls on two faces give the same bytes.
    ///
    /// # Panics
    /// Panics if bytes were chosen and this call asks for a different number of bytes.
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

/// A handle for the engine; the test keeps another one and chooses bytes for it.
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
