//! Implements `wasi:random`. Each call asks the kernel for random bytes.
//!
//! This module has no state, and must not have any; [`dekker_crypto::random`] explains why.

use super::State;
use super::bindings::wasi::random::random::Host;

/// The most random bytes that a guest may request at once, 64 KiB. The guest chooses the number.
const REQUEST_MAX: usize = 64 * 1024;

pub(super) fn fill(bytes: &mut [u8]) -> wasmtime::Result<()> {
    dekker_crypto::random::fill(bytes)
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
            _ => Err(wasmtime::Error::msg(format!("the guest asked for {len} random bytes"))),
        }
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        let mut given = [0; 8];
        fill(&mut given)?;
        Ok(u64::from_le_bytes(given))
    }
}
