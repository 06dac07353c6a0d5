//! Keys as opaque handles, and the trait that a cipher backend implements.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::any::Any;
use core::fmt;

pub use dekker_crypto::OpenError;

use super::entropy::{Entropy, EntropyError};
use super::secret::{DekBytes, Secret};

/// The kind of a DEK source: the `encryptedDEKSourceType` of a stored KMS v2 value.
///
/// Source: upstream's kmsv2/v2/api.proto.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DekSourceType {
    /// `AES_GCM_KEY = 0`: the AES key itself. A sealed value is `nonce[12] ciphertext tag[16]`.
    AesGcmKey,
    /// `HKDF_SHA256_XNONCE_AES_GCM_SEED = 1`: a seed. A sealed value is `info[32] nonce[12] ciphertext tag[16]`, sealed with the first 32 bytes of
    /// HKDF-Expand-SHA256(seed, info).
    HkdfSha256XnonceAesGcmSeed,
}

impl DekSourceType {
    /// Returns the number that is stored.
    pub const fn number(self) -> u32 {
        match self {
            Self::AesGcmKey => 0,
            Self::HkdfSha256XnonceAesGcmSeed => 1,
        }
    }

    /// Returns upstream's name for the number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AesGcmKey => "AES_GCM_KEY",
            Self::HkdfSha256XnonceAesGcmSeed => "HKDF_SHA256_XNONCE_AES_GCM_SEED",
        }
    }

    /// Returns the length of the header, which precedes the ciphertext: 12 bytes, or 44 for a seed.
    pub const fn header_len(self) -> usize {
        match self {
            Self::AesGcmKey => NONCE_LEN,
            Self::HkdfSha256XnonceAesGcmSeed => INFO_LEN + NONCE_LEN,
        }
    }
}

/// The length of an AES-GCM nonce, 12 bytes. NIST SP 800-38D §5.2.1.1 recommends 96 bits.
pub const NONCE_LEN: usize = 12;
/// The length of an AES-GCM tag, 16 bytes.
pub const TAG_LEN: usize = 16;
/// The length of the key derivation's info, 32 bytes. Upstream: aes_extended_nonce.go.
pub const INFO_LEN: usize = 32;
/// The length of a new DEK or a new seed, 32 bytes.
pub const DEK_SOURCE_LEN: usize = 32;

/// Creates key handles. This is the whole interface between the engine and a cipher library.
pub trait KeyStore: Send + Sync {
    /// Generates a random DEK or seed of [`DEK_SOURCE_LEN`] bytes.
    ///
    /// # Errors
    /// Returns an error if `entropy` or the backend fails.
    fn generate(
        &self,
        source_type: DekSourceType,
        entropy: &dyn Entropy,
    ) -> Result<Box<dyn SealingKey>, KeyError>;

    /// Creates a key from the configuration file.
    ///
    /// # Errors
    /// Returns [`KeyError::LocalLength`] if the cipher does not accept a key of this length.
    fn local(&self, cipher: LocalCipher, bytes: &[u8]) -> Result<Box<dyn LocalKey>, KeyError>;

    /// Imports a DEK or seed that a plugin decrypted. The returned handle can only open.
    ///
    /// The bytes are attacker-controlled in length and content; implementations must not panic.
    ///
    /// # Errors
    /// Returns [`KeyError::Length`] if an AES key is not 16, 24 or 32 bytes long, or a seed is shorter than 32 bytes. Upstream has the same limits.
    fn import(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Arc<dyn OpeningKey>, KeyError>;

    /// As [`Self::import`], for bytes that may be elsewhere. A key store that holds bytes elsewhere overrides this.
    ///
    /// # Errors
    /// As [`Self::import`]. Also returns an error if another key store holds the bytes.
    fn import_dek(
        &self,
        source_type: DekSourceType,
        bytes: &DekBytes,
    ) -> Result<Arc<dyn OpeningKey>, KeyError> {
        match bytes {
            DekBytes::Here(bytes) => self.import(source_type, bytes),
            DekBytes::Held(_) => Err(KeyError::Cipher),
        }
    }

    /// As [`Self::local`], for a DEK whose bytes may be elsewhere. A key store that holds bytes elsewhere overrides this.
    ///
    /// # Errors
    /// As [`Self::local`]. Also returns an error if another key store holds the bytes.
    fn local_dek(
        &self,
        cipher: LocalCipher,
        bytes: &DekBytes,
    ) -> Result<Box<dyn LocalKey>, KeyError> {
        match bytes {
            DekBytes::Here(bytes) => self.local(cipher, bytes.expose()),
            DekBytes::Held(_) => Err(KeyError::Cipher),
        }
    }

    /// Imports a DEK or seed that the caller holds in plaintext, to seal with. The headers already used with this key are unknown, so the caller must
    /// use random ones.
    ///
    /// # Errors
    /// As [`Self::import`].
    fn import_sealing(
        &self,
        source_type: DekSourceType,
        bytes: &Secret,
    ) -> Result<Box<dyn SealingKey>, KeyError>;
}

/// A DEK or seed that can open what was sealed with it, and cannot seal.
pub trait OpeningKey: Any + Send + Sync {
    /// Opens `header ‖ ciphertext ‖ tag[16]`; the header is `nonce[12]`, or `info[32] nonce[12]` for a seed.
    ///
    /// All bytes are attacker-controlled; implementations must not panic.
    ///
    /// # Errors
    /// Returns [`OpenError::TooShort`] if the header is incomplete, and [`OpenError::Failed`] for every other cause, without distinction.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError>;
}

/// The parts of a stored value around its ciphertext: `prefix ‖ start ‖ header ‖ ciphertext ‖ tag[16] ‖ end`.
///
/// The cipher writes all of them, so that a value is assembled where it is sealed and not copied afterwards.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// The prefix of the transformer that wrote the value.
    pub prefix: &'a [u8],
    /// The bytes between the prefix and the header.
    pub start: &'a [u8],
    /// What the cipher needs to open the value: `nonce[12]`, `info[32] nonce[12]` for a seed, or the nonce or IV of a [`LocalCipher`].
    pub header: &'a [u8],
    /// The bytes after the sealed value.
    pub end: &'a [u8],
}

impl Envelope<'_> {
    /// Assembles a stored value. `append` appends what follows the header, `body_len` bytes, to the buffer that it receives. The returned buffer is
    /// the only allocation.
    ///
    /// # Errors
    /// Returns the error of `append`.
    pub fn assemble(
        self,
        body_len: usize,
        append: impl FnOnce(&mut Vec<u8>) -> Result<(), KeyError>,
    ) -> Result<Vec<u8>, KeyError> {
        let Self { prefix, start, header, end } = self;
        let around = prefix.len() + start.len() + header.len() + end.len();
        let mut out = Vec::with_capacity(around + body_len);
        for part in [prefix, start, header] {
            out.extend_from_slice(part);
        }
        append(&mut out)?;
        out.extend_from_slice(end);
        Ok(out)
    }
}

/// A DEK or seed that can seal. Not `Clone`: the owner of its nonces holds the only handle, or divides the nonces when it calls [`Self::share`].
pub trait SealingKey: Any + Send + Sync {
    /// Seals `plaintext` with `aad` and returns the whole stored value, in its envelope. The returned buffer is the only allocation.
    ///
    /// The caller guarantees that no header is used twice with the same key; see [`super::nonce`].
    ///
    /// # Errors
    /// Returns an error if the header's length is not [`DekSourceType::header_len`], or if the plaintext is longer than AES-GCM allows (2³⁶ − 32
    /// bytes, NIST SP 800-38D §5.2.1.1).
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError>;

    /// Returns another handle that seals with the same key. The caller guarantees that no header is used by both: each handle has a separate part of
    /// the nonces.
    ///
    /// # Errors
    /// Returns an error if the backend no longer has the key.
    fn share(&self) -> Result<Box<dyn SealingKey>, KeyError>;

    /// Returns the bytes of the key.
    ///
    /// # Errors
    /// Returns an error if the backend no longer has the key.
    fn export(&self) -> Result<Secret, KeyError>;

    /// Returns the bytes of the key, for the plugin to encrypt. A key store that holds bytes elsewhere overrides this.
    ///
    /// # Errors
    /// Returns an error if the backend no longer has the key.
    fn to_encrypt(&self) -> Result<DekBytes, KeyError> {
        self.export().map(DekBytes::Here)
    }

    /// Returns whether the bytes of the key are these, in time that does not depend on where they differ. A key store that holds bytes elsewhere
    /// overrides this.
    ///
    /// # Errors
    /// Returns an error if the backend no longer has the key.
    fn is(&self, bytes: &DekBytes) -> Result<bool, KeyError> {
        Ok(match bytes {
            DekBytes::Here(bytes) => self.export()?.ct_eq(bytes),
            DekBytes::Held(_) => false,
        })
    }

    /// Returns a handle to the same key that can only open.
    ///
    /// # Errors
    /// Returns an error if the backend no longer has the key.
    fn opening(&self) -> Result<Arc<dyn OpeningKey>, KeyError>;
}

/// The cipher that a key of the configuration file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalCipher {
    /// AES-GCM with keys of 16, 24 or 32 bytes: `nonce[12] ciphertext tag[16]`, with a random nonce.
    AesGcm,
    /// AES-CBC with PKCS#7 and keys of 16, 24 or 32 bytes: `iv[16] ciphertext`. Not authenticated.
    AesCbc,
    /// XSalsa20-Poly1305 with keys of 32 bytes, as NaCl's secretbox: `nonce[24] tag[16] ciphertext`.
    Secretbox,
}

impl LocalCipher {
    /// Returns the length of the nonce or IV: 12 bytes for AES-GCM, 16 for AES-CBC and 24 for secretbox.
    pub const fn nonce_len(self) -> usize {
        match self {
            Self::AesGcm => NONCE_LEN,
            Self::AesCbc => dekker_crypto::cbc::BLOCK_LEN,
            Self::Secretbox => dekker_crypto::secretbox::NONCE_LEN,
        }
    }
}

/// A key from the configuration file.
pub trait LocalKey: Any + Send + Sync {
    /// Seals `plaintext` and returns the whole stored value, in its envelope. The header is the nonce or IV, of [`LocalCipher::nonce_len`] random
    /// bytes. Ciphers without authenticated data ignore `aad`. The returned buffer is the only allocation.
    ///
    /// # Errors
    /// Returns an error if the header has the wrong length or the cipher fails.
    fn seal(
        &self,
        envelope: Envelope<'_>,
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, KeyError>;

    /// Opens a value. All bytes are attacker-controlled; implementations must not panic.
    ///
    /// # Errors
    /// Returns [`OpenError::TooShort`] based on the length alone, and [`OpenError::Failed`] for every other cause, without distinction, not even by
    /// timing.
    fn open(&self, aad: &[u8], sealed: &[u8]) -> Result<Secret, OpenError>;
}

/// Why a key could not be created or used to seal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The length of a DEK or seed is not valid.
    Length {
        /// What the bytes were to be used as.
        source_type: DekSourceType,
        /// The length, in bytes.
        len: usize,
    },
    /// The length of a key of the configuration file is not valid for its cipher.
    LocalLength {
        /// The key's length, in bytes.
        len: usize,
    },
    /// The source of randomness failed.
    Entropy(EntropyError),
    /// The cipher failed.
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
            Self::Length { source_type: DekSourceType::AesGcmKey, len } => {
                write!(f, "invalid DEK: {len} bytes, expected 16, 24 or 32")
            }
            Self::Length { source_type: DekSourceType::HkdfSha256XnonceAesGcmSeed, len } => {
                write!(f, "invalid seed: {len} bytes, expected at least {DEK_SOURCE_LEN}")
            }
            Self::LocalLength { len } => write!(f, "a key of {len} bytes does not fit its cipher"),
            Self::Entropy(error) => error.fmt(f),
            Self::Cipher => f.write_str("the cipher failed"),
        }
    }
}

impl core::error::Error for KeyError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Entropy(error) => Some(error),
            Self::Length { .. } | Self::LocalLength { .. } | Self::Cipher => None,
        }
    }
}
