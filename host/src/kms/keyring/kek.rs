//! A key-encryption key, and its encryption of DEK sources.

use std::fmt;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The first byte of every ciphertext, the version of the layout that follows.
const LAYOUT: u8 = 1;
const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;

/// 1024 bytes: upstream's maximum length of an encrypted DEK source.
const MAX_CIPHERTEXT: usize = 1024;

/// 995 bytes: the maximum length of a plaintext, so that its ciphertext has at most 1024 bytes.
pub const MAX_PLAINTEXT: usize = MAX_CIPHERTEXT - 1 - NONCE_LEN - TAG_LEN;

/// A key-encryption key's ID: 16 random bytes as 32 lowercase hexadecimal digits.
///
/// It prints as its hash. [`KekId::as_str`] is for the plugin's answers and the file.
#[derive(Clone, PartialEq, Eq)]
pub struct KekId(String);

impl KekId {
    const LEN: usize = 32;

    /// Returns the ID itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns `sha256:<hex>`, which may be logged.
    pub fn hash(&self) -> String {
        crate::kms::key_id_hash(&self.0)
    }

    fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; Self::LEN / 2];
        dekker_crypto::random::fill(&mut bytes)?;
        let mut id = String::with_capacity(Self::LEN);
        crate::kms::push_hex(&mut id, &bytes);
        Ok(Self(id))
    }
}

/// `KekId::parse` returns `None` for anything but 32 lowercase hexadecimal digits.
impl KekId {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        (text.len() == Self::LEN && hex).then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KekId({})", self.hash())
    }
}

/// The 32 bytes of an AES-256 key. Stored in a box, so that a growing vector leaves no copy behind.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct Secret(pub(super) [u8; Self::LEN]);

impl Secret {
    pub(super) const LEN: usize = 32;
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// An AES-256 key-encryption key with its ID and creation time. Wiped when dropped.
///
/// Its nonces are random, so one key must not encrypt more than 2³² times (NIST SP 800-38D §8.3). KMS v2 encrypts once per DEK, and a DEK lasts until
/// the process ends or the key is rotated, so the encryptions are not counted.
#[derive(Debug)]
pub struct Kek {
    id: KekId,
    created: u64,
    secret: Box<Secret>,
}

impl Kek {
    /// Creates a key with random bytes and a random ID.
    pub(super) fn generate(created: u64) -> Result<Self, getrandom::Error> {
        let mut secret = Box::new(Secret([0; Secret::LEN]));
        dekker_crypto::random::fill(&mut secret.0)?;
        Ok(Self { id: KekId::generate()?, created, secret })
    }

    pub(super) fn from_parts(id: KekId, created: u64, secret: Box<Secret>) -> Self {
        Self { id, created, secret }
    }

    /// Returns its ID.
    pub fn id(&self) -> &KekId {
        &self.id
    }

    /// Returns the time of its creation in seconds since 1970.
    pub fn created(&self) -> u64 {
        self.created
    }

    /// Returns whether ID and key are equal. The comparison is not constant-time: both keys are our own, so its timing reveals nothing to a client.
    pub(super) fn is_the_same(&self, other: &Self) -> bool {
        self.id == other.id && self.secret.0 == other.secret.0
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// Encrypts a DEK source to `1 ‖ nonce[12] ‖ ciphertext ‖ tag[16]`: AES-256-GCM with a random nonce. The AAD is the 32 characters of the key ID.
    ///
    /// # Errors
    /// Returns an error if `plaintext` has more than [`MAX_PLAINTEXT`] bytes, or if the system provides no randomness.
    pub fn seal(&self, plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        if plaintext.len() > MAX_PLAINTEXT {
            return Err(SealError::TooLong { len: plaintext.len() });
        }
        let mut nonce = [0; NONCE_LEN];
        dekker_crypto::random::fill(&mut nonce).map_err(SealError::Entropy)?;
        let payload = Payload { msg: plaintext, aad: self.id.0.as_bytes() };
        let sealed =
            self.cipher().encrypt(&Nonce::from(nonce), payload).map_err(|_| SealError::Cipher)?;
        Ok([&[LAYOUT], &nonce[..], &sealed].concat())
    }

    /// Decrypts the result of [`Kek::seal`].
    ///
    /// # Errors
    /// Returns [`OpenError::Layout`] if [`Kek::seal`] cannot have made `ciphertext`; otherwise [`OpenError::Authentication`], which does not reveal
    /// the reason.
    pub fn open(&self, ciphertext: &[u8]) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        let Some((&LAYOUT, rest)) = ciphertext.split_first() else {
            return Err(OpenError::Layout);
        };
        let Some((nonce, sealed)) = rest.split_first_chunk::<NONCE_LEN>() else {
            return Err(OpenError::Layout);
        };
        if sealed.len() < TAG_LEN || ciphertext.len() > MAX_CIPHERTEXT {
            return Err(OpenError::Layout);
        }
        let payload = Payload { msg: sealed, aad: self.id.0.as_bytes() };
        self.cipher()
            .decrypt(&Nonce::from(*nonce), payload)
            .map(Zeroizing::new)
            .map_err(|_| OpenError::Authentication)
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new((&self.secret.0).into())
    }
}

/// Why a plaintext could not be encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SealError {
    /// It is longer than [`MAX_PLAINTEXT`].
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The system provided no randomness.
    Entropy(getrandom::Error),
    /// The cipher failed. This is not expected, because the length is checked first.
    Cipher,
}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len } => write!(
                f,
                "the plaintext has {len} bytes, more than the {MAX_PLAINTEXT} that fit into a {MAX_CIPHERTEXT}-byte ciphertext"
            ),
            Self::Entropy(error) => write!(f, "cannot get random bytes: {error}"),
            Self::Cipher => f.write_str("encryption failed"),
        }
    }
}

impl std::error::Error for SealError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Entropy(error) => Some(error),
            Self::TooLong { .. } | Self::Cipher => None,
        }
    }
}

/// Why a ciphertext could not be decrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenError {
    /// It does not have this plugin's layout.
    Layout,
    /// It was altered, or another key encrypted it.
    Authentication,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Layout => "the ciphertext does not have this plugin's layout",
            Self::Authentication => "decryption failed",
        })
    }
}

impl std::error::Error for OpenError {}

#[cfg(test)]
mod tests;
