//! The embedded plugin's key-encryption keys, in one file.
//!
//! `keyring.json` in the state directory holds the current key and every older one, so that what an older key encrypted
//! stays readable after a rotation. Whoever can read the file can decrypt all of it: it is for its owner only, and refused otherwise.
//! It is replaced as a whole and never edited in place, under a lock, so that a crash leaves the old or the new file
//! and two processes that rotate at once both keep their key.
//!
//! A key that is lost takes every value with it that needs it. So a key is made only where there never was one, and no key is forgotten:
//! `keyring.ids` beside the file has the hash of every key's ID, and a keyring that lacks one of them is refused, as is one that is gone. What
//! a running process has in memory it keeps, whatever becomes of the file.

mod disk;
mod fault;
mod file;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod kek;
mod known;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use disk::{Directory, Stamp};
use known::Known;

pub use fault::{Damage, KeyringError};
pub use kek::{Kek, KekId, MAX_PLAINTEXT, OpenError, SealError};

/// The keyring's file in the state directory.
pub const FILE_NAME: &str = "keyring.json";

/// The configuration that names Dekker's own plugin, in the state directory as well. It is written once there is a keyring.
pub(crate) const CONFIGURATION_NAME: &str = "encryption-config.yaml";

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
    keys: Arc<Keys>,
    stamp: Stamp,
    /// What the file holds while it lacks keys that this process has.
    aside: Option<Arc<Keys>>,
}

/// The keys of a [`Keyring`] at one moment, for whoever must not wait for its file.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    keys: Arc<Keys>,
    aside: Option<Arc<Keys>>,
}

impl Snapshot {
    /// As [`Keyring::current`].
    pub(crate) fn current(&self) -> &Kek {
        self.keys.current()
    }

    /// As [`Keyring::find`].
    pub(crate) fn find(&self, id: &str) -> Option<&Kek> {
        let aside = || self.aside.as_ref()?.find(id);
        self.keys.find(id).or_else(aside)
    }
}

/// How a keyring is opened that may have to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Only where there never was one.
    Careful,
    /// Although keys are missing.
    Anew,
}

impl Keyring {
    /// Reads the keyring in `dir`. Where there never was one, makes one with a fresh key, and the directory (mode 0700) as well.
    ///
    /// Nothing is written, and no lock is taken, where the keyring is as it was left.
    ///
    /// # Errors
    /// When the directory or the file is unsafe, damaged or cannot be read or written; [`KeyringError::Lost`] when there was one and it is
    /// gone, and [`KeyringError::Forgotten`] when it lacks keys that it once had.
    pub fn open_or_create(dir: &Path) -> Result<Self, KeyringError> {
        Self::start(dir, Start::Careful)
    }

    /// Goes on with the keys that are there, and makes one where there is none: those that are missing are given up.
    ///
    /// # Errors
    /// As [`Keyring::open_or_create`], but for missing keys; [`KeyringError::Complete`] when none is missing.
    pub fn init(dir: &Path) -> Result<Self, KeyringError> {
        Self::start(dir, Start::Anew)
    }

    fn start(dir: &Path, start: Start) -> Result<Self, KeyringError> {
        let directory = Directory::open_or_create(dir)?;
        let new = |keys, stamp, directory| Self {
            directory,
            keys: Arc::new(keys),
            stamp,
            aside: None,
        };
        if start == Start::Careful {
            // In this order: a rotation writes them in the other.
            let known = Known::read(&directory)?;
            match Self::read(&directory) {
                Ok((keys, stamp)) if known.is(&keys) => return Ok(new(keys, stamp, directory)),
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
                let stamp = directory.replace(FILE_NAME, &file::encode(&keys))?;
                (keys, stamp)
            }
            (Err(error), Start::Careful | Start::Anew) => return Err(error),
        };
        Known::of(&keys).write(&directory)?;
        Ok(new(keys, stamp, directory))
    }

    /// Reads the keyring in `dir`, whatever keys it lacks.
    ///
    /// # Errors
    /// When there is none, or it is unsafe, damaged or cannot be read.
    pub fn open(dir: &Path) -> Result<Self, KeyringError> {
        let directory = Directory::open(dir)?;
        let (keys, stamp) = Self::read(&directory)?;
        Ok(Self {
            directory,
            keys: Arc::new(keys),
            stamp,
            aside: None,
        })
    }

    /// Adds a fresh key and makes it current; the file is on disk when this returns.
    ///
    /// Starts from what the file holds now, not from what was read earlier: another process may have rotated meanwhile.
    ///
    /// # Errors
    /// As [`Keyring::open`], when the file is full, and when it lacks keys that it once had: the new one would be made beside an older copy. The
    /// keys in memory stay as they were.
    pub fn rotate(&mut self) -> Result<(), KeyringError> {
        let _lock = self.directory.lock()?;
        let known = Known::read(&self.directory)?;
        let (mut keys, _) = Self::read(&self.directory)?;
        let missing = known.missing_in(&keys).max(self.missing_in(&keys)?);
        if missing > 0 {
            return Err(self.forgotten(missing));
        }
        keys.push(Kek::generate(now())?);
        let encoded = file::encode(&keys);
        if keys.all.len() > MAX_KEYS || encoded.len() > MAX_FILE {
            return Err(KeyringError::Full { path: self.path() });
        }
        self.stamp = self.directory.replace(FILE_NAME, &encoded)?;
        Known::of(&keys).write(&self.directory)?;
        self.keys = Arc::new(keys);
        self.aside = None;
        Ok(())
    }

    /// Takes up what another process wrote; `true` if that was something new. Costs one `lstat` while nothing changes.
    ///
    /// # Errors
    /// As [`Keyring::open`]; when the file lacks keys that are in memory, what it has beside them can be found, but is not current; and when it
    /// has another key under the ID of one in memory. The keys in memory stay as they were, and the next call looks again.
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

    /// Sees that the current key is in the file, as it must be before it encrypts anything. Costs one `lstat` while nothing changes.
    ///
    /// # Errors
    /// As [`Keyring::open`], and when it is not.
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

    /// How many keys in memory these lack.
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
        KeyringError::Forgotten {
            path: self.path(),
            keys,
        }
    }

    /// The key that encrypts now.
    pub fn current(&self) -> &Kek {
        self.keys.current()
    }

    /// The key with this ID, current or older.
    pub fn find(&self, id: &str) -> Option<&Kek> {
        let aside = || self.aside.as_ref()?.find(id);
        self.keys.find(id).or_else(aside)
    }

    /// What is in memory now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            keys: self.keys.clone(),
            aside: self.aside.clone(),
        }
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
