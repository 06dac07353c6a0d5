//! The embedded plugin's key-encryption keys, in one file.
//!
//! `keyring.json` in the state directory holds the current key and every older one, so that what an older key encrypted
//! stays readable after a rotation. Whoever can read the file can decrypt all of it: it is for its owner only, and refused otherwise.
//! It is replaced as a whole and never edited in place, under a lock, so that a crash leaves the old or the new file
//! and two processes that rotate at once both keep their key.

mod disk;
mod fault;
mod file;
mod kek;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use disk::{Directory, Stamp};

pub use fault::{Damage, KeyringError};
pub use kek::{Kek, KekId, MAX_PLAINTEXT, OpenError, SealError};

/// The keyring's file in the state directory.
pub const FILE_NAME: &str = "keyring.json";

/// 1 MiB: the largest file that is read or written; about 9,000 keys.
pub const MAX_FILE: usize = 1 << 20;

/// The most keys that a file may hold, however short its entries.
pub const MAX_KEYS: usize = 10_000;

/// The current key-encryption key and the older ones.
///
/// Keys are wiped from memory when it is dropped.
#[derive(Debug)]
pub struct Keyring {
    directory: Directory,
    keys: Keys,
    stamp: Stamp,
}

impl Keyring {
    /// Reads the keyring in `dir`. Where there is none, makes one with a fresh key, and the directory (mode 0700) as well.
    ///
    /// # Errors
    /// When the directory or the file is unsafe, damaged or cannot be read or written.
    pub fn open_or_create(dir: &Path) -> Result<Self, KeyringError> {
        let directory = Directory::open_or_create(dir)?;
        let _lock = directory.lock()?;
        match Self::read(&directory) {
            Err(KeyringError::Missing { .. }) => {}
            read => {
                let (keys, stamp) = read?;
                return Ok(Self {
                    directory,
                    keys,
                    stamp,
                });
            }
        }
        let keys = Keys::new(Kek::generate(now())?);
        let stamp = directory.replace(FILE_NAME, &file::encode(&keys))?;
        Ok(Self {
            directory,
            keys,
            stamp,
        })
    }

    /// Reads the keyring in `dir`.
    ///
    /// # Errors
    /// As [`Keyring::open_or_create`], and when there is none.
    pub fn open(dir: &Path) -> Result<Self, KeyringError> {
        let directory = Directory::open(dir)?;
        let (keys, stamp) = Self::read(&directory)?;
        Ok(Self {
            directory,
            keys,
            stamp,
        })
    }

    /// Adds a fresh key and makes it current; the file is on disk when this returns.
    ///
    /// Starts from what the file holds now, not from what was read earlier: another process may have rotated meanwhile.
    ///
    /// # Errors
    /// As [`Keyring::open`], and when the file is full. The keys in memory stay as they were.
    pub fn rotate(&mut self) -> Result<(), KeyringError> {
        let _lock = self.directory.lock()?;
        let (mut keys, _) = Self::read(&self.directory)?;
        keys.push(Kek::generate(now())?);
        let encoded = file::encode(&keys);
        if keys.all.len() > MAX_KEYS || encoded.len() > MAX_FILE {
            return Err(KeyringError::Full { path: self.path() });
        }
        self.stamp = self.directory.replace(FILE_NAME, &encoded)?;
        self.keys = keys;
        Ok(())
    }

    /// Takes up what another process wrote; `true` if that was something new. Costs one `lstat` while nothing changes.
    ///
    /// # Errors
    /// As [`Keyring::open`]. The keys in memory stay as they were, and the next call looks again.
    pub fn reload_if_changed(&mut self) -> Result<bool, KeyringError> {
        if self.directory.stamp(FILE_NAME)? == self.stamp {
            return Ok(false);
        }
        let (keys, stamp) = Self::read(&self.directory)?;
        self.stamp = stamp;
        let changed = !keys.same_ids(&self.keys);
        self.keys = keys;
        Ok(changed)
    }

    /// The key that encrypts now.
    pub fn current(&self) -> &Kek {
        self.keys.current()
    }

    /// The key with this ID, current or older.
    pub fn find(&self, id: &str) -> Option<&Kek> {
        self.keys
            .all
            .iter()
            .rev()
            .find(|kek| kek.id().as_str() == id)
    }

    /// Every key, in the file's order: oldest first, unless someone edited it.
    pub fn keys(&self) -> &[Kek] {
        &self.keys.all
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.directory.path(FILE_NAME)
    }

    fn read(directory: &Directory) -> Result<(Keys, Stamp), KeyringError> {
        let (bytes, stamp) = directory.read(FILE_NAME, MAX_FILE)?;
        match file::decode(&bytes) {
            Ok(keys) => Ok((keys, stamp)),
            Err(damage) => Err(KeyringError::Damaged {
                path: directory.path(FILE_NAME),
                damage,
            }),
        }
    }
}

/// At least one key, all IDs different, and which of them is current.
#[derive(Debug)]
struct Keys {
    all: Vec<Kek>,
    current: usize,
}

impl Keys {
    fn new(first: Kek) -> Self {
        Self {
            all: vec![first],
            current: 0,
        }
    }

    fn try_from_parts(all: Vec<Kek>, current: &KekId) -> Result<Self, Damage> {
        if all.len() > MAX_KEYS {
            return Err(Damage::TooManyKeys { keys: all.len() });
        }
        let mut ids: Vec<&str> = all.iter().map(|kek| kek.id().as_str()).collect();
        ids.sort_unstable();
        if ids.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Damage::DuplicateKeyId);
        }
        match all.iter().position(|kek| kek.id() == current) {
            Some(current) => Ok(Self { all, current }),
            None => Err(Damage::NoCurrentKey),
        }
    }

    /// `current` is an index that only [`Keys::new`], [`Keys::try_from_parts`] and [`Keys::push`] set, each to a key that is there.
    fn current(&self) -> &Kek {
        &self.all[self.current]
    }

    fn push(&mut self, kek: Kek) {
        self.current = self.all.len();
        self.all.push(kek);
    }

    fn same_ids(&self, other: &Self) -> bool {
        self.current().id() == other.current().id()
            && self
                .all
                .iter()
                .map(Kek::id)
                .eq(other.all.iter().map(Kek::id))
    }
}

/// Seconds since 1970; 0 on a clock that stands before it.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
