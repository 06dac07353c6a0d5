//! What two servers that want one socket's path agree on.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

/// Locks `<path>.lock`, for as long as the file is open: whoever has the lock may remove a socket that nobody serves, and make its own.
///
/// The file stays behind, empty. Removing one that another process has open would give two locks.
///
/// # Errors
/// [`TryLockError::WouldBlock`] when another process, or another part of this one, has it.
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

/// Whether nobody but this user and root can put another file in the place of one of ours.
///
/// # Errors
/// The system's.
pub(crate) fn is_ours_to_fill(directory: &Path) -> io::Result<bool> {
    let found = fs::metadata(directory)?;
    let (mode, owner) = (found.mode(), found.uid());
    // The sticky bit, as on /tmp, lets only a file's owner replace it.
    let others = mode & 0o022 != 0 && mode & 0o1000 == 0;
    Ok(!others && [0, rustix::process::geteuid().as_raw()].contains(&owner))
}
