//! The host side of the interface `dekker:crypto/keys` of `wasm/wit`, which a wasmtime host provides to Dekker's accelerated component.
//!
//! The component counts nonces and decides what to encrypt and decrypt. This crate holds its keys, and seals and opens its values. A store's data
//! contains a [`Keys`] and provides it through [`View`]; [`add_to_linker`] does the rest. A component that does not import the interface runs
//! unchanged in a linker that has it.
//!
//! Handles belong to the store's own [`Keys`]: they end with it, and the component of another store cannot use them. Key bytes are erased when their
//! handle is dropped. Parameters are read directly from the component's memory.

mod interface;
mod sealer;

use std::sync::Arc;

use dekker_crypto::{CbcKey, GcmKey, SecretboxKey, cbc, secretbox};
use subtle::ConstantTimeEq;
use wasmtime::component::{Resource, ResourceTable};
use zeroize::{Zeroize, Zeroizing};

pub use interface::{DekSourceType, OpenError, add_to_linker};
pub use sealer::NotSealed;

use sealer::Sealer;

/// 64 KiB: the capacity that a buffer may keep when it is emptied. Most values are smaller.
const BUFFER_KEPT: usize = 64 * 1024;

/// 1 KiB: the approximate size of one key, expanded and with its table entry. Used to compute how many keys fit in some memory.
const KEY_SIZE: usize = 1024;

/// A store's data, with its keys.
pub trait View: 'static {
    /// Returns the keys of this store.
    fn keys(&mut self) -> &mut Keys;

    /// Fills `bytes` with unpredictable bytes for a new DEK or seed. They must come from the kernel at the time of the call (`dekker_crypto::random`),
    /// not from a buffer or a generator in this process: after a snapshot is restored, those would return the same bytes again.
    ///
    /// # Errors
    /// Returns an error if there is no randomness; the component then traps.
    fn random(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()>;
}

/// The keys of one store.
pub struct Keys {
    table: ResourceTable,
    /// The buffer for results. The canonical ABI reads a result only after the function has returned it.
    buffer: Arc<Vec<u8>>,
    /// Whether the buffer holds a sealed value, which is not secret and need not be erased.
    is_sealed: bool,
}

/// The resource `opening-key`, which can only open. Outside a table, it is a key that moves from one store to another.
pub struct OpeningKey(Arc<GcmKey>);

/// The resource `secret`: a DEK or seed in plaintext.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    fn is(&self, bytes: &[u8]) -> bool {
        self.0.as_slice().ct_eq(bytes).into()
    }
}

/// The resource `sealing-key`, which can seal and be exported. Outside a table, it is a key that moves from one store to another.
pub struct SealingKey {
    bytes: Zeroizing<Vec<u8>>,
    key: Arc<GcmKey>,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl SealingKey {
    fn share(&self) -> Self {
        Self { bytes: self.bytes.clone(), key: self.key.clone() }
    }
}

impl OpeningKey {
    /// Returns another handle to the same key.
    #[must_use]
    pub fn share(&self) -> Self {
        Self(self.0.clone())
    }
}

impl std::fmt::Debug for OpeningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OpeningKey(..)")
    }
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

/// A key from the configuration file.
pub(crate) enum LocalKey {
    AesGcm(GcmKey),
    AesCbc(CbcKey),
    Secretbox(SecretboxKey),
}

impl LocalKey {
    /// Returns the length of the nonce or IV.
    const fn header_len(&self) -> usize {
        match self {
            Self::AesGcm(key) => key.header_len(),
            Self::AesCbc(_) => cbc::BLOCK_LEN,
            Self::Secretbox(_) => secretbox::NONCE_LEN,
        }
    }

    /// Returns the length of what [`Self::seal`] appends.
    const fn sealed_len(&self, len: usize) -> usize {
        match self {
            Self::AesGcm(_) => len + dekker_crypto::gcm::TAG_LEN,
            Self::AesCbc(_) => CbcKey::sealed_len(len),
            Self::Secretbox(_) => secretbox::TAG_LEN + len,
        }
    }

    /// Appends what follows the header. Returns `None` if the header has the wrong length or the cipher fails.
    fn seal(&self, header: &[u8], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::AesGcm(key) => key.seal(header, aad, plaintext, out).ok(),
            Self::AesCbc(key) => {
                key.seal(header.try_into().ok()?, plaintext, out);
                Some(())
            }
            Self::Secretbox(key) => key.seal(header.try_into().ok()?, plaintext, out),
        }
    }

    fn open(
        &self,
        aad: &[u8],
        sealed: &[u8],
        buffer: &mut Zeroizing<Vec<u8>>,
    ) -> Result<(), dekker_crypto::OpenError> {
        match self {
            Self::AesGcm(key) => return key.open(aad, sealed, buffer),
            Self::AesCbc(key) => *buffer = key.open(sealed)?,
            Self::Secretbox(key) => *buffer = key.open(sealed)?,
        }
        Ok(())
    }
}

impl Keys {
    /// Creates an empty table, for as many keys as fit in about `memory` bytes. The component decides how many keys it creates, and it is not trusted
    /// with all of the host's memory: one key too many is a trap.
    ///
    /// The store also counts the component's handles, with a default limit of 100,000: pass [`Self::handles_max`] to
    /// `Store::set_max_component_handles`.
    pub fn new(memory: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(memory / KEY_SIZE);
        Self { table, buffer: Arc::default(), is_sealed: false }
    }

    /// Returns the number of handles that a component with all the keys that fit in `memory` bytes may have: one for each key, and a few for its
    /// engine and for what it borrows during a call.
    pub fn handles_max(memory: usize) -> usize {
        memory / KEY_SIZE + 64
    }

    /// Seals a value as a plan of `dekker:transformer/plans` describes it, and returns the whole stored value. `aad` is the storage key. `random` must
    /// come from the kernel, as for [`View::random`].
    ///
    /// # Errors
    /// The outer error means that the component named a sealer that it does not have. The inner error means that the cipher or `random` failed.
    pub fn seal(
        &self,
        sealer: u32,
        counter: Option<u64>,
        aad: &[u8],
        plaintext: &[u8],
        random: impl FnOnce(&mut [u8]) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<Result<Vec<u8>, NotSealed>> {
        let sealer = self.table.get(&Resource::<Sealer>::new_borrow(sealer))?;
        Ok(sealer.seal(counter, aad, plaintext, random))
    }

    /// Opens a part of a value as a plan of `dekker:transformer/plans` describes it. `aad` is the storage key. The plaintext is a secret.
    ///
    /// # Errors
    /// The outer error means that the component named a key that it does not have. The inner error means that the key does not open the value.
    pub fn open(
        &self,
        opener: u32,
        aad: &[u8],
        sealed: &[u8],
    ) -> wasmtime::Result<Result<Zeroizing<Vec<u8>>, OpenError>> {
        let mut plaintext = Zeroizing::default();
        let opened = match self.table.get(&Resource::<OpeningKey>::new_borrow(opener)) {
            Ok(key) => key.0.open(aad, sealed, &mut plaintext),
            Err(_) => {
                let key = self.table.get(&Resource::<Arc<LocalKey>>::new_borrow(opener))?;
                key.open(aad, sealed, &mut plaintext)
            }
        };
        Ok(opened.map(|()| plaintext).map_err(Into::into))
    }

    /// Returns the key that a plan names as its opener, for another store. Returns `None` if it is a key of the configuration.
    pub fn opener(&self, opener: u32) -> Option<OpeningKey> {
        let key = self.table.get(&Resource::<OpeningKey>::new_borrow(opener)).ok()?;
        Some(OpeningKey(key.0.clone()))
    }

    /// Removes from this table a secret that its component has given away.
    ///
    /// # Errors
    /// Returns an error if there is no such handle, or if it is borrowed.
    pub fn take_secret(
        &mut self,
        secret: Resource<Secret>,
    ) -> wasmtime::Result<Zeroizing<Vec<u8>>> {
        Ok(self.table.delete(secret)?.0)
    }

    /// Puts a secret into this table, for this store's component.
    ///
    /// # Errors
    /// Returns an error if the table is full.
    pub fn put_secret(&mut self, bytes: Zeroizing<Vec<u8>>) -> wasmtime::Result<Resource<Secret>> {
        self.push(Secret(bytes))
    }

    /// Erases the content that the last call left in the buffer, such as a plaintext. Call this after each call into the component.
    pub fn erase(&mut self) {
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => {
                wipe(buffer, self.is_sealed);
                if buffer.capacity() > BUFFER_KEPT {
                    *buffer = Vec::new();
                }
            }
            // The buffer is still shared. This cannot happen: the canonical ABI drops its reference before another function is called.
            None => self.buffer = Arc::default(),
        }
    }

    /// Takes the buffer and empties it. What is then passed to [`Self::lend`] goes to the component.
    fn take_buffer(&mut self) -> Zeroizing<Vec<u8>> {
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => {
                wipe(buffer, self.is_sealed);
                Zeroizing::new(std::mem::take(buffer))
            }
            None => Zeroizing::default(),
        }
    }

    /// Like [`Self::lend`], for content that is not secret.
    fn lend_sealed(&mut self, buffer: Zeroizing<Vec<u8>>) -> Arc<Vec<u8>> {
        let lent = self.lend(buffer);
        self.is_sealed = true;
        lent
    }

    fn lend(&mut self, mut buffer: Zeroizing<Vec<u8>>) -> Arc<Vec<u8>> {
        self.is_sealed = false;
        let lent = std::mem::take(&mut *buffer);
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => *buffer = lent,
            None => self.buffer = Arc::new(lent),
        }
        self.buffer.clone()
    }

    /// Removes from this table a key that its component has given away, so that it can be put into another store's table.
    ///
    /// # Errors
    /// Returns an error if there is no such handle, or if it is borrowed.
    pub fn take_sealing(&mut self, key: Resource<SealingKey>) -> wasmtime::Result<SealingKey> {
        Ok(self.table.delete(key)?)
    }

    /// Puts a key of another store into this table, for this store's component.
    ///
    /// # Errors
    /// Returns an error if the table is full.
    pub fn put_sealing(&mut self, key: SealingKey) -> wasmtime::Result<Resource<SealingKey>> {
        self.push(key)
    }

    /// Like [`Self::put_sealing`], for an opening key.
    ///
    /// # Errors
    /// Same as [`Self::put_sealing`].
    pub fn put_opening(&mut self, key: OpeningKey) -> wasmtime::Result<Resource<OpeningKey>> {
        self.push(key)
    }

    fn push<K: Send + 'static>(&mut self, key: K) -> wasmtime::Result<Resource<K>> {
        Ok(self.table.push(key)?)
    }

    fn drop_key<K: 'static>(&mut self, rep: u32) -> wasmtime::Result<()> {
        self.table.delete(Resource::<K>::new_own(rep))?;
        Ok(())
    }
}

/// Erases the content of a buffer and empties it. The content is shortened in no other way, so the memory beyond the buffer's length holds no secret.
fn wipe(buffer: &mut Vec<u8>, is_sealed: bool) {
    if !is_sealed {
        // Erase the content as one block. A `Vec` would erase itself element by element, up to its capacity.
        buffer.as_mut_slice().zeroize();
    }
    buffer.clear();
}

impl Drop for Keys {
    fn drop(&mut self) {
        self.erase();
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

#[cfg(test)]
mod tests;
