//! A lock file that ensures that only one server at a time owns the socket at a path.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Locks `<path>.lock` until the returned file is closed. The holder of the lock may remove a socket that no process serves, and create its own.
///
/// The empty lock file is never removed: if it were removed while another process has it open, two processes could hold the lock.
///
/// # Errors
/// Returns [`TryLockError::WouldBlock`] if another process, or another part of this process, holds the lock.
pub(crate) fn lock(path: &Path) -> Result<File, TryLockError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(name)
        .map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

/// Identifies a socket's file, also after another file has taken its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// Returns whether only this user and root can replace files in `directory`.
///
/// # Errors
/// Returns an error if the directory's metadata cannot be read.
pub(crate) fn is_ours_to_fill(directory: &Path) -> io::Result<bool> {
    let found = fs::metadata(directory)?;
    let (mode, owner) = (found.mode(), found.uid());
    // The sticky bit, as on /tmp, allows only a file's owner to replace it.
    let others = mode & 0o022 != 0 && mode & 0o1000 == 0;
    Ok(!others && [0, rustix::process::geteuid().as_raw()].contains(&owner))
}
