//! `wasi:random`, answered from the operating system.

use zeroize::Zeroize;

use super::State;
use super::bindings::wasi::random::random::Host;

/// 64 KiB: the most that a guest may ask for at once; the number is the guest's.
const REQUEST_MAX: usize = 64 * 1024;
/// 256 bytes: one system call costs more than sealing 1 KiB, and a write needs four bytes.
const BLOCK: usize = 256;

/// Random bytes fetched ahead, each given once and erased when given.
///
/// It lives and dies with one instance in one process: Dekker does not fork, and a restored snapshot of the whole machine repeats at most the
/// four random bytes of a nonce whose counter guards it, or a DEK that no one has stored anything with twice.
pub(super) struct RandomBlock {
    bytes: [u8; BLOCK],
    used: usize,
}

impl Default for RandomBlock {
    fn default() -> Self {
        Self {
            bytes: [0; BLOCK],
            used: BLOCK,
        }
    }
}

impl RandomBlock {
    fn take(&mut self, given: &mut [u8]) -> wasmtime::Result<()> {
        let len = given.len();
        // A key is never taken from what lay in memory: only what is as short as a nonce's random part.
        if len > 16 {
            return fill(given);
        }
        if BLOCK - self.used < len {
            fill(&mut self.bytes)?;
            self.used = 0;
        }
        let block = &mut self.bytes[self.used..self.used + len];
        given.copy_from_slice(block);
        block.zeroize();
        self.used += len;
        Ok(())
    }
}

impl Drop for RandomBlock {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

pub(super) fn fill(bytes: &mut [u8]) -> wasmtime::Result<()> {
    getrandom::fill(bytes).map_err(|error| wasmtime::Error::msg(format!("no randomness: {error}")))
}

impl Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        match usize::try_from(len) {
            Ok(len) if len <= REQUEST_MAX => {
                let mut given = vec![0; len];
                self.random.take(&mut given)?;
                Ok(given)
            }
            _ => Err(wasmtime::Error::msg(format!(
                "the guest asked for {len} random bytes"
            ))),
        }
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        let mut given = [0; 8];
        self.random.take(&mut given)?;
        Ok(u64::from_le_bytes(given))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_byte_is_given_twice_nor_kept() {
        let mut block = RandomBlock::default();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..1000 {
            let mut given = [0; 12];
            block.take(&mut given).unwrap();
            assert!(seen.insert(given));
            assert!(block.bytes[..block.used].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn a_key_does_not_come_from_the_block() {
        let mut block = RandomBlock::default();
        block.take(&mut [0; 32]).unwrap();
        assert_eq!(block.used, BLOCK);
    }
}
