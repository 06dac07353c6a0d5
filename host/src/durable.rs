//! Creates files and directories that survive a crash completely or not at all.
//!
//! A file's bytes, a file's name and a directory's name each need a separate `fsync` to reach the disk: of the file, of its directory, and of the
//! directory's parent.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, linkat};

/// The mode of a new file: only its owner may read and write it.
const MODE: u32 = 0o600;

/// Creates a directory with mode 0700, and its missing parents. When this returns, they are on disk.
///
/// Another process may create them at the same time.
///
/// # Errors
/// Returns an error if a directory cannot be created or synced.
pub(crate) fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    create_directory(&parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        made => made?,
    }
    // Sync even if another process created the directory: this process is about to rely on it.
    sync_directory(&parent)
}

/// Writes a new file with mode 0600. Returns `false` if a file with this name already exists; it is left unchanged.
///
/// The file gets its name only after all its bytes are on disk. So no process sees an incomplete file, a crash leaves nothing behind, and exactly one
/// of several concurrent processes succeeds. When this returns, the name is on disk too.
///
/// # Errors
/// Returns an error if the file cannot be written, linked or synced.
pub(crate) fn publish(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let directory = parent(path);
    let linked = match unnamed(&directory, bytes).and_then(|file| link(&file, path)) {
        // Some file systems do not support unnamed files, and some kernels cannot give them a name.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => publish_by_name(path, bytes),
        linked => linked,
    };
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Another process may have linked the file just now and not yet synced the directory.
            sync_directory(&directory)?;
            Ok(false)
        }
        linked => {
            linked?;
            sync_directory(&directory)?;
            Ok(true)
        }
    }
}

/// Syncs a directory, so that its entries are on disk.
///
/// # Errors
/// Returns an error if the directory cannot be opened or synced.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(test)]
    synced::record(directory);
    File::open(directory)?.sync_all()
}

/// Records for tests which directories were synced, which is otherwise visible only after a crash.
#[cfg(test)]
pub(crate) mod synced {
    use std::cell::RefCell;
    use std::path::{Path, PathBuf};

    thread_local! {
        static DIRECTORIES: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn record(directory: &Path) {
        DIRECTORIES.with_borrow_mut(|all| all.push(directory.to_owned()));
    }

    /// Returns the directories that this thread has synced since the last call.
    pub(crate) fn take() -> Vec<PathBuf> {
        DIRECTORIES.take()
    }
}

fn unnamed(directory: &Path, bytes: &[u8]) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .mode(MODE)
        .custom_flags(OFlags::TMPFILE.bits() as i32)
        .open(directory)?;
    write(file, bytes)
}

fn write(mut file: File, bytes: &[u8]) -> io::Result<File> {
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(file)
}

fn link(file: &File, path: &Path) -> io::Result<()> {
    let own = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, own, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        // `/proc` is not mounted.
        Err(rustix::io::Errno::NOENT) => linkat(file, "", CWD, path, AtFlags::EMPTY_PATH),
        linked => linked,
    }
    .map_err(Into::into)
}

/// Writes the file under a name that no other process uses, and then links it to its final name.
fn publish_by_name(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{:032x}.new", u128::from_ne_bytes(random)));
    let temporary = PathBuf::from(name);
    let linked = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(&temporary)
        .and_then(|file| write(file, bytes))
        .and_then(|_| fs::hard_link(&temporary, path));
    // The result is in `linked`.
    let _ = fs::remove_file(&temporary);
    linked
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) => PathBuf::from("."),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_is_created_with_its_parents_and_only_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b/c");
        for _ in 0..2 {
            create_directory(&path).unwrap();
            for made in ["a", "a/b", "a/b/c"] {
                let mode = fs::metadata(root.path().join(made)).unwrap().permissions().mode();
                assert_eq!(mode & 0o7777, 0o700, "{made}");
            }
        }
        fs::write(path.join("file"), "").unwrap();
        assert!(create_directory(&path.join("file")).is_err());
        assert!(create_directory(&path.join("file/below")).is_err());
    }

    #[test]
    fn one_of_several_writers_publishes_a_file_and_no_other_file_remains() {
        type Publish = fn(&Path, &[u8]) -> io::Result<bool>;
        let by_name: Publish = |path, bytes| match publish_by_name(path, bytes) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        };
        for publish in [publish, by_name] {
            let root = tempfile::tempdir().unwrap();
            let path = root.path().join("file");
            let outcomes: Vec<bool> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..16_u8)
                    .map(|n| {
                        let path = &path;
                        scope.spawn(move || publish(path, &[n; 4096]).unwrap())
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert_eq!(outcomes.iter().filter(|made| **made).count(), 1);
            let bytes = fs::read(&path).unwrap();
            assert_eq!(bytes, [bytes[0]; 4096]);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        }
    }
}
