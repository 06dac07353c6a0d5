//! What a wasmtime host lends to Dekker's accelerated component: the interface `dekker:crypto/keys` of `wasm/wit`.
//!
//! The component counts nonces and decides what is read and written; here is where its keys live and where values are sealed and opened.
//! A store's data holds a [`Keys`] and says so with [`View`]; [`add_to_linker`] does the rest. A component that does not import the interface
//! runs as ever in a linker that has it.
//!
//! Handles live in the store's own [`Keys`]: they end with it, and no other store's component can name them. Key bytes are erased when their
//! handle is dropped. Parameters are read where they lie in the component's memory.

mod interface;

use std::sync::Arc;

use dekker_aead::Key;
use dekker_ciphers::{CbcKey, SecretboxKey};
use wasmtime::component::{Resource, ResourceTable};
use zeroize::{Zeroize, Zeroizing};

pub use interface::{DekSourceType, add_to_linker};

/// 64 KiB: what a buffer may keep when it is emptied. Most values are smaller.
const BUFFER_KEPT: usize = 64 * 1024;

/// About what one key takes, expanded and in its table: enough to say how many fit in some memory.
const KEY_SIZE: usize = 1024;

/// A store's data, with its keys.
pub trait View: 'static {
    /// The keys of this store.
    fn keys(&mut self) -> &mut Keys;

    /// Fills `bytes` with what nobody can guess: a new DEK or seed. From the kernel at this moment (`dekker_aead::random`), not from a buffer or
    /// a generator in this process, which a restored snapshot would have give the same bytes again.
    ///
    /// # Errors
    /// When there is no randomness; the component then traps.
    fn random(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()>;
}

/// The keys of one store.
pub struct Keys {
    table: ResourceTable,
    /// What goes to the component passes through here: the canonical ABI reads it after the call has returned.
    buffer: Arc<Vec<u8>>,
    /// The buffer holds a sealed value, which is no secret and need not be erased.
    is_sealed: bool,
}

/// The resource `opening-key`: opens and nothing else. Outside a table it is a key on its way from one store to another.
pub struct OpeningKey(Arc<Key>);

/// The resource `sealing-key`: seals, and can be exported. Outside a table it is a key on its way from one store to another.
pub struct SealingKey {
    bytes: Zeroizing<Vec<u8>>,
    key: Arc<Key>,
}

impl SealingKey {
    fn share(&self) -> Self {
        Self {
            bytes: self.bytes.clone(),
            key: self.key.clone(),
        }
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

/// A key of the configuration file.
pub(crate) enum LocalKey {
    AesGcm(Key),
    AesCbc(CbcKey),
    Secretbox(SecretboxKey),
}

impl Keys {
    /// No keys yet. No more than fit in about `memory` bytes: how many there are is the component's to say, and it is not trusted with all of
    /// the host's memory. One more key is a trap.
    ///
    /// The store counts the component's handles as well, and stops at 100,000 unless told otherwise: give [`Self::handles_max`] to
    /// `Store::set_max_component_handles`.
    pub fn new(memory: usize) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(memory / KEY_SIZE);
        Self {
            table,
            buffer: Arc::default(),
            is_sealed: false,
        }
    }

    /// How many handles a component with all the keys that fit in `memory` bytes has: its engine and what it borrows during a call are a few more.
    pub fn handles_max(memory: usize) -> usize {
        memory / KEY_SIZE + 64
    }

    /// Erases what the last call left in the buffer, such as a plaintext. Call after each call into the component.
    pub fn erase(&mut self) {
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => {
                wipe(buffer, self.is_sealed);
                if buffer.capacity() > BUFFER_KEPT {
                    *buffer = Vec::new();
                }
            }
            // Still lent, which it cannot be: the canonical ABI gives it back before anything else is called.
            None => self.buffer = Arc::default(),
        }
    }

    /// The buffer, emptied; what is put back with [`Self::lend`] is what the component gets.
    fn take_buffer(&mut self) -> Zeroizing<Vec<u8>> {
        match Arc::get_mut(&mut self.buffer) {
            Some(buffer) => {
                wipe(buffer, self.is_sealed);
                Zeroizing::new(std::mem::take(buffer))
            }
            None => Zeroizing::default(),
        }
    }

    /// As [`Self::lend`], for what anybody may see.
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

    /// Takes out of this table what its component has given away, for another store's.
    ///
    /// # Errors
    /// When there is no such handle, or it is lent.
    pub fn take_sealing(&mut self, key: Resource<SealingKey>) -> wasmtime::Result<SealingKey> {
        Ok(self.table.delete(key)?)
    }

    /// As [`Self::take_sealing`].
    ///
    /// # Errors
    /// As [`Self::take_sealing`].
    pub fn take_opening(&mut self, key: Resource<OpeningKey>) -> wasmtime::Result<OpeningKey> {
        Ok(self.table.delete(key)?)
    }

    /// Puts a key of another store into this table, for its component.
    ///
    /// # Errors
    /// When the table is full.
    pub fn put_sealing(&mut self, key: SealingKey) -> wasmtime::Result<Resource<SealingKey>> {
        self.push(key)
    }

    /// As [`Self::put_sealing`].
    ///
    /// # Errors
    /// As [`Self::put_sealing`].
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

/// Empties a buffer and erases what was in it. Whatever is written there stays in it until then, so that what follows its end is clean.
fn wipe(buffer: &mut Vec<u8>, is_sealed: bool) {
    if !is_sealed {
        // As one block: a `Vec` erases itself element by element, and all that it has room for.
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
