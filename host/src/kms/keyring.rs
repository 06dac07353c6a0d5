//! The embedded plugin's key-encryption keys, in one file.
//!
//! `keyring.json` in the state directory holds the current key and all older ones, so that values encrypted with an older key can still be decrypted
//! after a rotation. A user who can read the file can decrypt all of these values: the file must be accessible to its owner only, and is refused
//! otherwise. It is replaced as a whole under a lock, and never edited in place. So a crash leaves either the old or the new file, and if two
//! processes rotate at the same time, both new keys are kept.
//!
//! If a key is lost, every value that needs it is lost too. So a keyring is created only where there never was one, and no key may disappear:
//! `keyring.ids` beside the file lists the hash of every key's ID, and a keyring that lacks one of these keys, or is gone, is refused. A running
//! process keeps the keys that it has in memory, whatever happens to the file.

mod disk;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod kek;
mod key_file;
mod keyring_error;
mod known;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use disk::{Directory, Stamp};
use known::Known;

pub use kek::{Kek, KekId, MAX_PLAINTEXT, OpenError, SealError};
pub use keyring_error::{Damage, KeyringError};

/// The name of the keyring's file in the state directory.
pub const FILE_NAME: &str = "keyring.json";

/// The name of the configuration that uses Dekker's own plugin, also in the state directory. It is written only after the keyring exists.
pub(crate) const CONFIGURATION_NAME: &str = "encryption-config.yaml";

/// 1 MiB: the maximum size of the file, for reading and writing; about 9,000 keys.
pub const MAX_FILE: usize = 1 << 20;

/// The maximum number of keys in a file, however short its entries are.
pub const MAX_KEYS: usize = 10_000;

/// The current key-encryption key and the older ones.
///
/// Dropping it wipes the keys from memory, unless a snapshot of them still exists.
#[derive(Debug)]
pub struct Keyring {
    directory: Directory,
    keys: Arc<Keys>,
    stamp: Stamp,
    /// The keys of the file while it lacks keys that this process has.
    aside: Option<Arc<Keys>>,
}

/// The keys of a [`Keyring`] at one moment, for code that must not wait for the file.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    keys: Arc<Keys>,
    aside: Option<Arc<Keys>>,
}

impl Snapshot {
    /// Same as [`Keyring::current`].
    pub(crate) fn current(&self) -> &Kek {
        self.keys.current()
    }

    /// Same as [`Keyring::find`].
    pub(crate) fn find(&self, id: &str) -> Option<&Kek> {
        let aside = || self.aside.as_ref()?.find(id);
        self.keys.find(id).or_else(aside)
    }
}

/// How to open a keyring that may have to be created.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Create it only if there never was one.
    Careful,
    /// Give up missing keys.
    Anew,
}

impl Keyring {
    /// Reads the keyring in `dir`. If there never was one, creates it with a new key, and creates the directory with mode 0700 if necessary.
    ///
    /// If the keyring is unchanged, nothing is written and no lock is taken, except to remove a temporary file that a killed process left.
    ///
    /// # Errors
    /// Returns an error if the directory or the file is unsafe, damaged or cannot be read or written. Returns [`KeyringError::Lost`] if there was a
    /// keyring and it is gone, and [`KeyringError::Forgotten`] if it lacks keys that it once had.
    pub fn open_or_create(dir: &Path) -> Result<Self, KeyringError> {
        Self::start(dir, Start::Careful)
    }

    /// Uses the keys that the keyring still has and gives up the missing ones. Creates a keyring with a new key if there is none.
    ///
    /// # Errors
    /// Returns the errors of [`Keyring::open_or_create`], except those for missing keys, and [`KeyringError::Complete`] if no key is missing.
    pub fn init(dir: &Path) -> Result<Self, KeyringError> {
        Self::start(dir, Start::Anew)
    }

    fn start(dir: &Path, start: Start) -> Result<Self, KeyringError> {
        let directory = Directory::open_or_create(dir)?;
        let new =
            |keys, stamp, directory| Self { directory, keys: Arc::new(keys), stamp, aside: None };
        if start == Start::Careful {
            // The list is read before the keyring, because a rotation writes them in the opposite order.
            let known = Known::read(&directory)?;
            match Self::read(&directory) {
                Ok((keys, stamp)) if known.is(&keys) => {
                    // It contains keys, and without another rotation it would stay.
                    directory.remove_left_behind(FILE_NAME);
                    return Ok(new(keys, stamp, directory));
                }
                Ok(_) | Err(KeyringError::Missing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let _lock = directory.lock()?;
        let known = Known::read(&directory)?;
        let (keys, stamp) = match (Self::read(&directory), start) {
            (Ok(read), start) => {
                let path = directory.path(FILE_NAME);
                match (known.missing_in(&read.0), start) {
                    (0, Start::Anew) => return Err(KeyringError::Complete { path }),
                    (0, Start::Careful) | (_, Start::Anew) => read,
                    (keys, Start::Careful) => return Err(KeyringError::Forgotten { path, keys }),
                }
            }
            (Err(KeyringError::Missing { path }), Start::Careful)
                if !known.is_empty() || directory.path(CONFIGURATION_NAME).exists() =>
            {
                return Err(KeyringError::Lost { path });
            }
            (Err(KeyringError::Missing { .. }), Start::Careful | Start::Anew) => {
                let keys = Keys::new(Kek::generate(now())?);
                let stamp = directory.replace(FILE_NAME, &key_file::encode(&keys))?;
                (keys, stamp)
            }
            (Err(error), Start::Careful | Start::Anew) => return Err(error),
        };
        Known::of(&keys).write(&directory)?;
        Ok(new(keys, stamp, directory))
    }

    /// Reads the keyring in `dir`. Does not check for missing keys.
    ///
    /// # Errors
    /// Returns an error if there is no keyring, or if it is unsafe, damaged or cannot be read.
    pub fn open(dir: &Path) -> Result<Self, KeyringError> {
        let directory = Directory::open(dir)?;
        let (keys, stamp) = Self::read(&directory)?;
        Ok(Self { directory, keys: Arc::new(keys), stamp, aside: None })
    }

    /// Adds a new key and makes it current. The file is on disk when this returns.
    ///
    /// Starts from the current content of the file, not from what was read earlier: another process may have rotated in the meantime.
    ///
    /// # Errors
    /// Returns the errors of [`Keyring::open`]; [`KeyringError::Full`] if there is no room for another key; [`KeyringError::Forgotten`] if the file
    /// lacks keys that it once had, because the new key would be added to an older copy; [`KeyringError::Contradicts`] if the file has another key
    /// under the ID of one in memory; and an error if the file cannot be written or there is no randomness. The keys in memory then stay unchanged.
    pub fn rotate(&mut self) -> Result<(), KeyringError> {
        let _lock = self.directory.lock()?;
        let known = Known::read(&self.directory)?;
        let (mut keys, _) = Self::read(&self.directory)?;
        let missing = known.missing_in(&keys).max(self.missing_in(&keys)?);
        if missing > 0 {
            return Err(self.forgotten(missing));
        }
        keys.push(Kek::generate(now())?);
        let encoded = key_file::encode(&keys);
        if keys.all.len() > MAX_KEYS || encoded.len() > MAX_FILE {
            return Err(KeyringError::Full { path: self.path() });
        }
        self.stamp = self.directory.replace(FILE_NAME, &encoded)?;
        Known::of(&keys).write(&self.directory)?;
        self.keys = Arc::new(keys);
        self.aside = None;
        Ok(())
    }

    /// Reloads the keyring if the file has changed. Returns `true` if the keys or the current key are different now. Costs one `lstat` while the file
    /// is unchanged.
    ///
    /// # Errors
    /// Returns the errors of [`Keyring::open`]; [`KeyringError::Forgotten`] if the file lacks keys that are in memory; and
    /// [`KeyringError::Contradicts`] if it has another key under the ID of one in memory. The keys in memory then stay unchanged, and the next call
    /// reads the file again. After [`KeyringError::Forgotten`], [`Keyring::find`] also finds the file's other keys, but the current key stays the
    /// same.
    pub fn reload_if_changed(&mut self) -> Result<bool, KeyringError> {
        if self.directory.stamp(FILE_NAME)? == self.stamp {
            return Ok(false);
        }
        let (keys, stamp) = Self::read(&self.directory)?;
        let missing = self.missing_in(&keys)?;
        if missing > 0 {
            self.aside = Some(Arc::new(keys));
            return Err(self.forgotten(missing));
        }
        self.stamp = stamp;
        self.aside = None;
        let changed = !keys.same_ids(&self.keys);
        self.keys = Arc::new(keys);
        Ok(changed)
    }

    /// Checks that the current key is in the file. This must hold before the key encrypts anything. Costs one `lstat` while the file is unchanged.
    ///
    /// # Errors
    /// Returns the errors of [`Keyring::open`]; [`KeyringError::Forgotten`] if the file lacks the current key; and [`KeyringError::Contradicts`] if
    /// it has another key under its ID.
    pub fn check_current(&self) -> Result<(), KeyringError> {
        if self.directory.stamp(FILE_NAME)? == self.stamp {
            return Ok(());
        }
        let (keys, _) = Self::read(&self.directory)?;
        match keys.find(self.current().id().as_str()) {
            None => Err(self.forgotten(1)),
            Some(kek) if kek.is_the_same(self.current()) => Ok(()),
            Some(_) => Err(KeyringError::Contradicts { path: self.path() }),
        }
    }

    /// Returns how many keys that are in memory are missing in `keys`.
    fn missing_in(&self, keys: &Keys) -> Result<usize, KeyringError> {
        let mut missing = 0;
        let by_id = keys.by_id();
        for kek in &self.keys.all {
            match by_id.get(kek.id().as_str()) {
                None => missing += 1,
                Some(found) if found.is_the_same(kek) => {}
                Some(_) => return Err(KeyringError::Contradicts { path: self.path() }),
            }
        }
        Ok(missing)
    }

    fn forgotten(&self, keys: usize) -> KeyringError {
        KeyringError::Forgotten { path: self.path(), keys }
    }

    /// Returns the key that encrypts.
    pub fn current(&self) -> &Kek {
        self.keys.current()
    }

    /// Returns the key with this ID, current or older.
    pub fn find(&self, id: &str) -> Option<&Kek> {
        let aside = || self.aside.as_ref()?.find(id);
        self.keys.find(id).or_else(aside)
    }

    /// Returns the keys that are in memory now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot { keys: self.keys.clone(), aside: self.aside.clone() }
    }

    /// Returns all keys in the file's order: oldest first, unless the file was edited.
    pub fn keys(&self) -> &[Kek] {
        &self.keys.all
    }

    /// Returns the path of the file.
    pub fn path(&self) -> PathBuf {
        self.directory.path(FILE_NAME)
    }

    fn read(directory: &Directory) -> Result<(Keys, Stamp), KeyringError> {
        let (bytes, stamp) = directory.read(FILE_NAME, MAX_FILE)?;
        match key_file::decode(&bytes) {
            Ok(keys) => Ok((keys, stamp)),
            Err(damage) => Err(KeyringError::Damaged { path: directory.path(FILE_NAME), damage }),
        }
    }
}

/// One or more keys with distinct IDs, and the index of the current one.
#[derive(Debug)]
struct Keys {
    all: Vec<Kek>,
    current: usize,
}

impl Keys {
    fn new(first: Kek) -> Self {
        Self { all: vec![first], current: 0 }
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

    /// Returns the current key. Only [`Keys::new`], [`Keys::try_from_parts`] and [`Keys::push`] set the index, each to an existing key.
    fn current(&self) -> &Kek {
        &self.all[self.current]
    }

    fn find(&self, id: &str) -> Option<&Kek> {
        self.all.iter().rev().find(|kek| kek.id().as_str() == id)
    }

    fn by_id(&self) -> HashMap<&str, &Kek> {
        let keys = self.all.iter();
        keys.map(|kek| (kek.id().as_str(), kek)).collect()
    }

    fn push(&mut self, kek: Kek) {
        self.current = self.all.len();
        self.all.push(kek);
    }

    fn same_ids(&self, other: &Self) -> bool {
        self.current().id() == other.current().id()
            && self.all.iter().map(Kek::id).eq(other.all.iter().map(Kek::id))
    }
}

/// Returns the time in seconds since 1970, or 0 if the clock is set to an earlier time.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
