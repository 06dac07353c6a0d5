//! A unix socket that only permitted users can connect to. A file left by a crash does not prevent the next bind.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tokio::net::UnixListener;

use crate::socket_lock::{self, FileIdentity};

/// Connections that may wait to be accepted. The kernel's limit (`net.core.somaxconn`) may be lower.
const BACKLOG: i32 = 1024;

/// The permissions of a socket's file. Connecting requires write permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// The permission bits of the socket's file.
    pub(crate) mode: u32,
    /// The file's group; `None` keeps the group that the system sets.
    pub(crate) group: Option<u32>,
}

impl Access {
    /// Access for the owner and root only.
    pub(crate) const OWNER: Self = Self { mode: 0o600, group: None };
}

/// A listening unix socket. Dropping it removes its file.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    listener: UnixListener,
    /// Held only for their `Drop`, in this order: the file is removed before the lock is released.
    _file: SocketFile,
    _lock: File,
}

impl UnixSocket {
    /// Listens on `path`, whose directory must exist. The file has the group and the mode in `access` before the first connection, regardless of the
    /// umask.
    ///
    /// The socket's own mode is narrowed before `bind`, and Linux copies it to the file. So the file is never more accessible than intended, and the
    /// process-wide umask, which other threads use, is not changed. Group and mode are set before `listen`: until then the kernel refuses every
    /// connection.
    ///
    /// A socket file on which no server answers was left by a crash and is replaced. If several servers find it at the same time, one of them wins:
    /// `<path>.lock` is locked for as long as the socket lives. The lock file stays behind, empty.
    ///
    /// # Errors
    ///
    /// Returns [`BindError::InUse`] if a server holds the lock or answers on the socket, and [`BindError::NotASocket`] if another kind of file exists
    /// at `path`; neither is changed. Returns [`BindError::OpenDirectory`] if other users could put their own socket there, and [`BindError::Io`] if
    /// a system call fails.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime.
    pub(crate) fn bind(path: &Path, access: Access) -> Result<Self, BindError> {
        let failed = |source: io::Error| BindError::Io { path: path.to_owned(), source };
        let address = SocketAddrUnix::new(path).map_err(|e| failed(e.into()))?;
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        if !socket_lock::is_ours_to_fill(directory).map_err(failed)? {
            return Err(BindError::OpenDirectory { directory: directory.to_owned() });
        }
        let lock = socket_lock::lock(path).map_err(|error| match error {
            TryLockError::WouldBlock => BindError::InUse { path: path.to_owned() },
            TryLockError::Error(error) => failed(error),
        })?;
        remove_stale(path, &address)?;

        let socket = new_socket().map_err(failed)?;
        // If a kernel refuses this, `set_permissions` below still sets the mode before `listen`.
        let _ = fchmod(&socket, Mode::from_raw_mode(Access::OWNER.mode));
        bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => BindError::InUse { path: path.to_owned() },
            errno => failed(errno.into()),
        })?;
        let file = SocketFile::new(path).map_err(failed)?;
        // The group is set before the mode, so that the file's first group never has permissions intended for `group`.
        let Access { mode, group } = access;
        if group.is_some() {
            lchown(path, None, group).map_err(failed)?;
        }
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(failed)?;
        listen(&socket, BACKLOG).map_err(|e| failed(e.into()))?;

        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self { listener, _file: file, _lock: lock })
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// Why listening on a unix socket failed.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum BindError {
    /// A server already listens there.
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// A file exists there that is not a stream socket.
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// Other users could put their own socket in its place.
    OpenDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// A system call failed.
    Io {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(f, "a server already listens on {}", path.display()),
            Self::NotASocket { path } => {
                write!(f, "{} exists and is not a unix stream socket", path.display())
            }
            Self::OpenDirectory { directory } => write!(
                f,
                "other users can put files into {}: chown it to this user and chmod go-w it, or choose another directory for the socket",
                directory.display()
            ),
            Self::Io { path, source } => write!(f, "cannot listen on {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse { .. } | Self::NotASocket { .. } | Self::OpenDirectory { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// The file of a bound socket. Dropping it removes the file, unless another file has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: FileIdentity,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // Absolute, so that the file is found after a change of the working directory.
        let path = std::path::absolute(path)?;
        Ok(Self { path, identity: FileIdentity::of(&metadata) })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| FileIdentity::of(&found) == self.identity);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// Creates a non-blocking stream socket that child processes do not inherit.
fn new_socket() -> io::Result<std::os::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Removes a socket file on which no server answers. The caller must hold the lock.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let failed = |source: io::Error| BindError::Io { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let probe = new_socket().map_err(failed)?;
    match connect(&probe, address) {
        // A non-blocking connect to a server whose queue is full fails with EAGAIN: the server is alive.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse { path: path.to_owned() }),
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed),
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::PROTOTYPE) => Err(BindError::NotASocket { path: path.to_owned() }),
        Err(errno) => Err(failed(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[tokio::test]
    async fn socket_is_private_to_its_owner_and_removed_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = UnixSocket::bind(&path, Access::OWNER).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    /// Checks the statement about Linux in the documentation of `bind`.
    #[cfg(target_os = "linux")]
    #[test]
    fn file_is_created_with_the_sockets_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = new_socket().unwrap();
        fchmod(&socket, Mode::from_raw_mode(Access::OWNER.mode)).unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(UnixStream::connect(&path).is_err(), "nothing listens yet");
    }

    #[tokio::test]
    async fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");

        let live = UnixSocket::bind(&path, Access::OWNER).unwrap();
        let error = UnixSocket::bind(&path, Access::OWNER).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert_eq!(error.to_string(), format!("a server already listens on {}", path.display()));
        UnixStream::connect(&path).unwrap();
        drop(live);

        // std leaves the file behind, as a crash does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let successor = UnixSocket::bind(&path, Access::OWNER).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(successor);

        fs::write(&path, "precious").unwrap();
        let error = UnixSocket::bind(&path, Access::OWNER).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();

        let _datagrams = UnixDatagram::bind(&path).unwrap();
        let error = UnixSocket::bind(&path, Access::OWNER).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn file_of_another_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let ours = UnixSocket::bind(&path, Access::OWNER).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        // A socket of a program that does not use the lock.
        let theirs = std::os::unix::net::UnixListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
    }

    #[tokio::test]
    async fn system_errors_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/s");
        let error = UnixSocket::bind(&path, Access::OWNER).unwrap_err();
        assert!(matches!(error, BindError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains("missing/s"), "{error}");
    }

    #[tokio::test]
    async fn one_of_several_servers_replaces_a_dead_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        for _ in 0..50 {
            drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
            let runtime = tokio::runtime::Handle::current();
            let bound: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        let (path, runtime) = (&path, &runtime);
                        scope.spawn(move || {
                            let _entered = runtime.enter();
                            UnixSocket::bind(path, Access::OWNER)
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = bound.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1);
            for error in lost {
                let error = error.unwrap_err();
                assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
            }
            UnixStream::connect(&path).unwrap();
            drop(won);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn mode_and_group_are_exact() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let own = fs::metadata(dir.path()).unwrap().gid();
        // Root may assign any group to a file, other users only a group of theirs.
        let group = if rustix::process::geteuid().is_root() { 54_321 } else { own };
        for (mode, group) in [(0o600, None), (0o660, Some(group)), (0o666, None)] {
            let _socket = UnixSocket::bind(&path, Access { mode, group }).unwrap();
            let made = fs::metadata(&path).unwrap();
            assert_eq!(made.mode() & 0o7777, mode);
            assert_eq!(made.gid(), group.unwrap_or(own));
        }
    }

    #[tokio::test]
    async fn a_directory_that_others_can_write_to_is_refused_unless_sticky() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let set = |mode| fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
        set(0o777);
        let error = UnixSocket::bind(&path, Access::OWNER).unwrap_err();
        assert!(matches!(error, BindError::OpenDirectory { .. }), "{error:?}");
        set(0o1777);
        UnixSocket::bind(&path, Access::OWNER).unwrap();
    }
}
