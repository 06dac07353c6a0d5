//! `wasi:random`, answered by the kernel each time.
//!
//! There is no state here, and there must be none: see [`dekker_aead::random`].

use super::State;
use super::bindings::wasi::random::random::Host;

/// 64 KiB: the most that a guest may ask for at once; the number is the guest's.
const REQUEST_MAX: usize = 64 * 1024;

pub(super) fn fill(bytes: &mut [u8]) -> wasmtime::Result<()> {
    dekker_aead::random::fill(bytes)
        .map_err(|error| wasmtime::Error::msg(format!("no randomness: {error}")))
}

impl Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        match usize::try_from(len) {
            Ok(len) if len <= REQUEST_MAX => {
                let mut given = vec![0; len];
                fill(&mut given)?;
                Ok(given)
            }
            _ => Err(wasmtime::Error::msg(format!(
                "the guest asked for {len} random bytes"
            ))),
        }
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        let mut given = [0; 8];
        fill(&mut given)?;
        Ok(u64::from_le_bytes(given))
    }
}
