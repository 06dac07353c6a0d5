//! Keys as opaque handles, and the trait that a cipher backend implements.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

use super::entropy::{Entropy, EntropyError};
use super::local::{LocalCipher, LocalKey};
use super::secret::Secret;

/// What a DEK source is: the `encryptedDEKSourceType` of a stored KMS v2 value.
///
/// Source: upstream's kmsv2/v2/api.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DekSourceType {
    /// `AES_GCM_KEY = 0`: the AES key itself. A sealed value is `nonce[12] ciphertext tag[16]`.
    AesGcmKey,
    /// `HKDF_SHA256_XNONCE_AES_GCM_SEED = 1`: a seed. A sealed value is `info[32] nonce[12] ciphertext tag[16]`, sealed with
    /// the first 32 bytes of HKDF-Expand-SHA256(seed, info).
    HkdfSha256XnonceAesGcmSeed,
}

impl DekSourceType {
    /// The number that is stored.
    pub const fn number(self) -> u32 {
        match self {
            Self::AesGcmKey => 0,
            Self::HkdfSha256XnonceAesGcmSeed => 1,
        }
    }

    /// The name that upstream gives the number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesGcmKey => "AES_GCM_KEY",
            Self::HkdfSha256XnonceAesGcmSeed => "HKDF_SHA256_XNONCE_AES_GCM_SEED",
        }
    }

    /// The length of what stands before the ciphertext: 12 bytes, or 44 for a seed.
    pub const fn header_len(self) -> usize {
        match self {
            Self::AesGcmKey => NONCE_LEN,
            Self::HkdfSha256XnonceAesGcmSeed => INFO_LEN + NONCE_LEN,
        }
    }
}

/// 12 bytes: the nonce of AES-GCM. NIST SP 800-38D §5.2.1.1 recommends 96 bits.
pub const NONCE_LEN: usize = 12;
/// 16 bytes: the tag of AES-GCM.
pub const TAG_LEN: usize = 16;
/// 32 bytes: the info of the key derivation. Upstream: aes_extended_nonce.go.
pub const INFO_LEN: usize = 32;
/// 32 bytes: a new DEK, and a new seed.
pub const DEK_SOURCE_LEN: usize = 32;

/// Makes key handles. The engine asks nothing else of a cipher library.
pub trait KeyStore: Send + Sync {
    /// A new random DEK or seed of [`DEK_SOURCE_LEN`] bytes.
    ///
    /// # Errors
    /// When `entropy` fails or the backend does.
    fn generate(
        &self,
        source_type: DekSourceType,
        entropy: &dyn Entropy,
    ) -> Result<Box<dyn SealingKey>, KeyError>;

    /// A key of the configuration file.
    ///
    /// # Errors
    /// [`KeyError::LocalLength`] when the cipher takes no key of this length.
    fn local(&self, cipher: LocalCipher, bytes: &[u8]) -> Result<Box<dyn LocalKey>, KeyError>;

    /// A DEK or seed that a plugin decrypted. What it gives can only open.
    ///
    /// The bytes are attacker-controlled in length and content; this must not panic.
    ///
    /// # Errors
    /// [`KeyError::Length`]: an AES key is 16, 24 or 32 bytes, a seed at least 32 (as upstream accepts them).
    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError>;

    /// A DEK or seed that a person has at hand, to seal with. What headers were used with it is not known: the caller's must be random.
    ///
    /// # Errors
    /// As [`Self::import`].
    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError>;
}

/// A DEK or seed that can open what was sealed with it, and nothing else.
pub trait OpeningKey: Any + Send + Sync {
    /// Opens `header ‖ ciphertext ‖ tag[16]`; the header is `nonce[12]`, or `info[32] nonce[12]` for a seed.
    ///
    /// All bytes are attacker-controlled; this must not panic.
    ///
    /// # Errors
    /// [`OpenError::TooShort`] when not even the header is there; [`OpenError::Failed`] for everything else, told apart in no way.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError>;
}

/// What a stored value has around its ciphertext: `prefix ‖ start ‖ header ‖ ciphertext ‖ tag[16] ‖ end`.
///
/// The cipher writes all of it, so that a value is put together where it is sealed and not copied afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Which transformer wrote it.
    pub prefix: &'a [u8],
    /// What else comes before the header.
    pub start: &'a [u8],
    /// `nonce[12]`, or `info[32] nonce[12]` for a seed.
    pub header: &'a [u8],
    /// What comes after the tag.
    pub end: &'a [u8],
}

impl Envelope<'_> {
    /// Everything before the ciphertext, with room for the rest.
    pub fn begin(&self, plaintext_len: usize) -> Vec<u8> {
        let before = self.prefix.len() + self.start.len() + self.header.len();
        let mut out = Vec::with_capacity(before + plaintext_len + TAG_LEN + self.end.len());
        for part in [self.prefix, self.start, self.header] {
            out.extend_from_slice(part);
        }
        out
    }
}

/// A DEK or seed that can seal. Not `Clone`: what seals is held once, by the owner of its nonces.
pub trait SealingKey: Any + Send + Sync {
    /// A whole stored value: `plaintext`, sealed with `aad`, in its envelope. It is the only allocation.
    ///
    /// The caller guarantees that no header is ever used twice with one key; see [`super::nonce`].
    ///
    /// # Errors
    /// When the header does not have [`DekSourceType::header_len`] bytes, or the plaintext is longer than AES-GCM allows
    /// (2³⁶ − 32 bytes, NIST SP 800-38D §5.2.1.1).
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError>;

    /// Another handle that seals with the same key. The caller guarantees that no header is ever used by both: each has a part of the nonces
    /// of its own.
    ///
    /// # Errors
    /// When the backend no longer has the key.
    fn share(&self) -> Result<Box<dyn SealingKey>, KeyError>;

    /// The bytes of the key, for the plugin to encrypt.
    ///
    /// # Errors
    /// When the backend no longer has the key.
    fn export(&self) -> Result<Secret, KeyError>;

    /// A handle on the same key that can only open.
    ///
    /// # Errors
    /// When the backend no longer has the key.
    fn opening(&self) -> Result<Arc<dyn OpeningKey>, KeyError>;
}

/// Why a key could not be made or used to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// A key of this length cannot be used.
    Length {
        /// What the key was to be.
        source_type: DekSourceType,
        /// Its length in bytes.
        len: usize,
    },
    /// A key of the configuration file has a length that its cipher does not take.
    LocalLength {
        /// Its length in bytes.
        len: usize,
    },
    /// The source of randomness failed.
    Entropy(EntropyError),
    /// The cipher refused.
    Cipher,
}

impl From<EntropyError> for KeyError {
    fn from(error: EntropyError) -> Self {
        Self::Entropy(error)
    }
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length {
                source_type: DekSourceType::AesGcmKey,
                len,
            } => write!(f, "invalid DEK: {len} bytes, expected 16, 24 or 32"),
            Self::Length {
                source_type: DekSourceType::HkdfSha256XnonceAesGcmSeed,
                len,
            } => {
                write!(
                    f,
                    "invalid seed: {len} bytes, expected at least {DEK_SOURCE_LEN}"
                )
            }
            Self::LocalLength { len } => write!(f, "a key of {len} bytes does not fit its cipher"),
            Self::Entropy(error) => error.fmt(f),
            Self::Cipher => f.write_str("the cipher failed"),
        }
    }
}

impl core::error::Error for KeyError {}

/// Why a value did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// Shorter than its header.
    TooShort,
    /// Wrong key, wrong AAD, or altered bytes: deliberately not told apart.
    Failed,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort => f.write_str("the stored data was shorter than the required size"),
            Self::Failed => f.write_str("message authentication failed"),
        }
    }
}

impl core::error::Error for OpenError {}
