//! Randomness, as the caller supplies it.

use alloc::string::String;
use core::fmt;

/// A cryptographically secure source of random bytes.
///
/// DEKs, seeds and nonces come from this source: an implementation that repeats its output exposes every secret. Each call must ask the kernel for
/// exactly these bytes. A buffer that is filled ahead, or a generator in this process' memory (a seeded one, OpenSSL's, the vDSO's), returns the same
/// bytes again after a fork or a restored snapshot.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`.
    ///
    /// # Errors
    /// Returns an error if the source fails; `bytes` must then not be used.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError>;
}

/// The source of randomness failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntropyError;

impl fmt::Display for EntropyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the source of randomness failed")
    }
}

impl core::error::Error for EntropyError {}

/// Returns a random UUID (RFC 9562 version 4), for the `uid` of a KMS request.
pub(crate) fn uuid(entropy: &dyn Entropy) -> Result<String, EntropyError> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes)?;
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    let mut text = uuid::Uuid::encode_buffer();
    Ok(String::from(&*uuid.hyphenated().encode_lower(&mut text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes([u8; 16]);
    impl Entropy for Bytes {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.copy_from_slice(&self.0);
            Ok(())
        }
    }

    #[test]
    fn uuid_carries_its_version_and_variant() {
        let ones = Bytes([0xff; 16]);
        assert_eq!(uuid(&ones).unwrap(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        let counted = Bytes(core::array::from_fn(|at| at as u8));
        assert_eq!(uuid(&counted).unwrap(), "00010203-0405-4607-8809-0a0b0c0d0e0f");
    }
}
