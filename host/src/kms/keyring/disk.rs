//! A directory of files that only their owner may read. Files are replaced atomically.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{Damage, KeyringError};
use crate::durable;

/// The file that a writer locks. It is never removed: if another process had it open, there would then be two locks.
const LOCK_NAME: &str = "keyring.lock";

/// The metadata of a file. It differs after every replacement and after `chmod` or `chown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    mode: u32,
    owner: u32,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            mode: metadata.mode(),
            owner: metadata.uid(),
        }
    }
}

/// A directory in which only its owner can create or replace files.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Creates the directory with mode 0700 if it does not exist, and opens it.
    pub(super) fn open_or_create(path: &Path) -> Result<Self, KeyringError> {
        durable::create_directory(path).map_err(fault("create", path))?;
        Self::open(path)
    }

    pub(super) fn open(path: &Path) -> Result<Self, KeyringError> {
        let metadata = fs::metadata(path).map_err(fault("read", path))?;
        if !metadata.is_dir() {
            return Err(KeyringError::NotAFile { path: path.into() });
        }
        // A directory that belongs to root is accepted: root could change the files in any case.
        if metadata.uid() != 0 {
            check_owner(path, &metadata)?;
        }
        check_mode(path, &metadata, 0o022, "go-w")?;
        Ok(Self(path.into()))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Waits for the writers' lock. Dropping the file releases it.
    pub(super) fn lock(&self) -> Result<File, KeyringError> {
        let path = self.path(LOCK_NAME);
        let lock = open_lock(&path).map_err(fault("open", &path))?;
        lock.lock().map_err(fault("lock", &path))?;
        Ok(lock)
    }

    /// Removes a file's temporary copy, which a writer leaves behind if it is killed. Does nothing while a writer holds the lock. Errors are ignored:
    /// the directory may be read-only, and the next writer tries again.
    pub(super) fn remove_left_behind(&self, name: &str) {
        let temporary = self.temporary(name);
        if fs::symlink_metadata(&temporary).is_err() {
            return;
        }
        if let Ok(lock) = open_lock(&self.path(LOCK_NAME))
            && lock.try_lock().is_ok()
        {
            let removed = fs::remove_file(&temporary);
            tracing::debug!(path = %temporary.display(), ?removed, "a writer was killed and left a temporary file");
        }
    }

    /// Returns the path under which a file is written before it gets its name.
    fn temporary(&self, name: &str) -> PathBuf {
        self.path(&format!("{name}.tmp"))
    }

    pub(super) fn stamp(&self, name: &str) -> Result<Stamp, KeyringError> {
        let path = self.path(name);
        let metadata = fs::symlink_metadata(&path).map_err(fault("read", &path))?;
        Ok(Stamp::of(&metadata))
    }

    /// Reads the whole file. The file must belong to this user, be accessible to no other user, and have at most `max` bytes. The bytes are wiped
    /// when dropped.
    pub(super) fn read(
        &self,
        name: &str,
        max: usize,
    ) -> Result<(Zeroizing<Vec<u8>>, Stamp), KeyringError> {
        let path = self.path(name);
        // Do not block on opening: the path may be a pipe without a writer.
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32)
            .open(&path)
            .map_err(fault("read", &path))?;
        let metadata = file.metadata().map_err(fault("read", &path))?;
        if !metadata.is_file() {
            return Err(KeyringError::NotAFile { path });
        }
        check_owner(&path, &metadata)?;
        check_mode(&path, &metadata, 0o077, "600")?;
        let len = match usize::try_from(metadata.len()) {
            Ok(len) if len <= max => len,
            _ => {
                let len = metadata.len();
                return Err(KeyringError::TooLarge { path, len });
            }
        };
        let mut bytes = Zeroizing::new(vec![0; len]);
        let whole = file.read_exact(&mut bytes).and_then(|()| Ok(file.read(&mut [0])? == 0));
        match whole {
            Ok(true) => Ok((bytes, Stamp::of(&metadata))),
            Ok(false) => Err(changing(path)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(changing(path)),
            Err(error) => Err(fault("read", &path)(error)),
        }
    }

    /// Replaces a file with a new one of mode 0600. When this returns, the new file is on disk; after a crash, either the old or the new file exists.
    /// The caller must hold the lock.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> Result<Stamp, KeyringError> {
        let path = self.path(name);
        let temporary = self.temporary(name);
        // A crash may have left a temporary file. The caller holds the lock, so no process is writing it.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(fault("remove", &temporary)(error));
            }
            _ => {}
        }
        let written = self.write(&temporary, bytes);
        if written.is_err() {
            // The first error is returned. If the temporary file stays, the next writer removes it.
            let _ = fs::remove_file(&temporary);
        }
        let stamp = written?;
        fs::rename(&temporary, &path).map_err(fault("replace", &path))?;
        durable::sync_directory(&self.0).map_err(fault("sync", &self.0))?;
        Ok(stamp)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<Stamp, KeyringError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(fault("create", path))?;
        #[cfg(test)]
        crate::simulation::seams::write_to_disk().map_err(fault("write", path))?;
        file.write_all(bytes).map_err(fault("write", path))?;
        file.sync_all().map_err(fault("write", path))?;
        let metadata = file.metadata().map_err(fault("read", path))?;
        Ok(Stamp::of(&metadata))
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(path)
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), KeyringError> {
    let (owner, expected) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner == expected {
        return Ok(());
    }
    Err(KeyringError::Owner { path: path.into(), owner, expected })
}

fn check_mode(
    path: &Path,
    metadata: &Metadata,
    forbidden: u32,
    remedy: &'static str,
) -> Result<(), KeyringError> {
    if metadata.mode() & forbidden == 0 {
        return Ok(());
    }
    Err(KeyringError::Permissions { path: path.into(), mode: metadata.mode() & 0o7777, remedy })
}

fn changing(path: PathBuf) -> KeyringError {
    KeyringError::Damaged { path, damage: Damage::Changing }
}

fn fault(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> KeyringError {
    move |source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            KeyringError::Missing { path }
        } else if source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) {
            KeyringError::NotAFile { path }
        } else {
            KeyringError::Io { doing, path, source }
        }
    }
}
