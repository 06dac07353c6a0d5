//! Randomness, as the caller supplies it.

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
pub(crate) fn uuid(entropy: &dyn Entropy) -> Result<alloc::string::String, EntropyError> {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes)?;
    let mut number = u128::from_be_bytes(bytes);
    number = number & !(0xf << 76) | 0x4 << 76; // version 4
    number = number & !(0b11 << 62) | 0b10 << 62; // the variant of RFC 9562
    let hex = alloc::format!("{number:032x}");
    Ok(alloc::format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ones;
    impl Entropy for Ones {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
            bytes.fill(0xff);
            Ok(())
        }
    }

    #[test]
    fn uuid_carries_its_version_and_variant() {
        assert_eq!(uuid(&Ones).unwrap(), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    }
}
