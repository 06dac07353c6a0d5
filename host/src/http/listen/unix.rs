//! A unix socket that only its owner can reach, and that a crash does not leave in the way.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use tokio::net::UnixListener;

/// Connections that wait to be accepted; the kernel's own bound (`net.core.somaxconn`) may be lower.
const BACKLOG: i32 = 1024;

/// Read and write for the owner: connecting takes write permission.
const MODE: u32 = 0o600;

/// A listening unix socket. Dropping it removes its file.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    /// Only to be dropped.
    _file: SocketFile,
}

impl UnixSocket {
    /// Listens on `path`, with mode 0600 before the first connection. The directory must exist.
    ///
    /// The socket's own mode is set before `bind`, and Linux gives it to the file, less what the umask takes: the file is never
    /// open to others, and the process-wide umask, which other threads use, stays alone. For a kernel that does not do so the
    /// file's mode is set again before `listen`: until then the kernel refuses every connection.
    ///
    /// A socket file on which nothing answers was left by a crash and is replaced.
    ///
    /// # Errors
    ///
    /// [`BindError::InUse`] if a server answers there, [`BindError::NotASocket`] if something else stands there; neither is
    /// touched.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn bind(path: &Path) -> Result<Self, BindError> {
        let failed = |source: io::Error| BindError::Io {
            path: path.to_owned(),
            source,
        };
        let address = SocketAddrUnix::new(path).map_err(|e| failed(e.into()))?;
        remove_stale(path, &address)?;

        let socket = new_socket().map_err(failed)?;
        // A kernel that refuses this has the second chance below.
        let _ = fchmod(&socket, Mode::from_raw_mode(MODE));
        bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => BindError::InUse {
                path: path.to_owned(),
            },
            errno => failed(errno.into()),
        })?;
        let file = SocketFile::new(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(MODE)).map_err(failed)?;
        listen(&socket, BACKLOG).map_err(|e| failed(e.into()))?;

        let listener = UnixListener::from_std(socket.into()).map_err(failed)?;
        Ok(Self {
            listener,
            _file: file,
        })
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

/// Why a unix socket could not be listened on.
#[derive(Debug)]
#[non_exhaustive]
pub enum BindError {
    /// A server listens there.
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// A file that is no stream socket stands there.
    NotASocket {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    Io {
        /// The socket.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InUse { path } => write!(f, "a server already listens on {}", path.display()),
            Self::NotASocket { path } => {
                write!(
                    f,
                    "{} exists and is not a unix stream socket",
                    path.display()
                )
            }
            Self::Io { path, source } => write!(f, "cannot listen on {}: {source}", path.display()),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InUse { .. } | Self::NotASocket { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// The file of a bound socket; dropping it removes the file, unless another socket has taken its place.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl SocketFile {
    fn new(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // Absolute, so that it is found again after a change of directory.
        let path = std::path::absolute(path)?;
        Ok(Self {
            path,
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| found.dev() == self.device && found.ino() == self.inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove the socket");
        }
    }
}

/// A stream socket that does not block and is not inherited.
fn new_socket() -> io::Result<std::os::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Removes a socket file on which nothing answers.
///
/// Two servers that find the same stale file at the same time can both get past this; the one that binds second then takes the
/// path from the first, as a rename would.
fn remove_stale(path: &Path, address: &SocketAddrUnix) -> Result<(), BindError> {
    let failed = |source: io::Error| BindError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(BindError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    let probe = new_socket().map_err(failed)?;
    match connect(&probe, address) {
        // Without blocking, a server whose queue is full says so: it is alive.
        Ok(()) | Err(Errno::AGAIN) => Err(BindError::InUse {
            path: path.to_owned(),
        }),
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed),
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::PROTOTYPE) => Err(BindError::NotASocket {
            path: path.to_owned(),
        }),
        Err(errno) => Err(failed(errno.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixDatagram, UnixStream};

    #[tokio::test]
    async fn socket_is_its_owners_alone_and_goes_with_the_server() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = UnixSocket::bind(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
    }

    /// What the doc of `bind` says of Linux.
    #[cfg(target_os = "linux")]
    #[test]
    fn file_is_created_with_the_sockets_mode() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let socket = new_socket().unwrap();
        fchmod(&socket, Mode::from_raw_mode(MODE)).unwrap();
        bind(&socket, &SocketAddrUnix::new(&path).unwrap()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(UnixStream::connect(&path).is_err(), "nothing listens yet");
    }

    #[tokio::test]
    async fn only_a_dead_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");

        let live = UnixSocket::bind(&path).unwrap();
        let error = UnixSocket::bind(&path).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert_eq!(
            error.to_string(),
            format!("a server already listens on {}", path.display())
        );
        UnixStream::connect(&path).unwrap();
        drop(live);

        // std leaves the file behind, as a crash does.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let successor = UnixSocket::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        drop(successor);

        fs::write(&path, "precious").unwrap();
        let error = UnixSocket::bind(&path).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{error:?}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
        fs::remove_file(&path).unwrap();

        let _datagrams = UnixDatagram::bind(&path).unwrap();
        let error = UnixSocket::bind(&path).unwrap_err();
        assert!(matches!(error, BindError::NotASocket { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn file_of_another_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let ours = UnixSocket::bind(&path).unwrap();
        fs::rename(&path, dir.path().join("old")).unwrap();
        let theirs = UnixSocket::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
        drop(theirs);
    }

    #[tokio::test]
    async fn system_faults_name_the_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing/s");
        let error = UnixSocket::bind(&path).unwrap_err();
        assert!(matches!(error, BindError::Io { .. }), "{error:?}");
        assert!(error.to_string().contains("missing/s"), "{error}");
    }
}
