//! Claims a socket's address without taking it from a running server.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::address::SocketAddress;
use crate::socket_lock::{self, FileIdentity};

/// Listens on `address`, which no other process may serve.
///
/// For a path, the directory is created with mode 0700 if it does not exist, and the socket has mode 0600 from its creation. A socket file left by a
/// dead server is removed. A socket that accepts connections is left alone, even if its server does not answer Status: a server that hangs is alive
/// too. If two processes claim a path at the same time, one of them wins: `<path>.lock` is locked for as long as the [`Claim`] lives. The lock file
/// stays behind, empty.
///
/// # Errors
/// Returns [`ClaimError::AlreadyServed`] if a server has the address, and another [`ClaimError`] if the socket cannot be created.
pub(crate) async fn claim(address: &SocketAddress) -> Result<Claim, ClaimError> {
    let SocketAddress::Path(path) = address else {
        // The kernel arbitrates, and nothing is left behind when a process dies.
        return match address.bind() {
            Ok(listener) => Ok(Claim { listener, guard: SocketGuard { _guarded: None } }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(ClaimError::AlreadyServed(address.clone()))
            }
            Err(error) => Err(ClaimError::Io(address.clone(), error)),
        };
    };
    let fault = |error| ClaimError::Io(address.clone(), error);
    prepare_directory(path)?;
    let lock = match socket_lock::lock(path) {
        Ok(lock) => lock,
        Err(TryLockError::WouldBlock) => return Err(ClaimError::AlreadyServed(address.clone())),
        Err(TryLockError::Error(error)) => return Err(fault(error)),
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fault(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(ClaimError::NotASocket(path.clone()));
        }
        Ok(_) => match address.connect().await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                tracing::debug!(%address, "removing the socket that a dead server left");
                fs::remove_file(path).map_err(fault)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            // Connected, or the server's queue of connections is full: it is alive.
            Ok(_) => return Err(ClaimError::AlreadyServed(address.clone())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Err(ClaimError::AlreadyServed(address.clone()));
            }
            Err(error) => return Err(fault(error)),
        },
    }
    let listener = address.bind().map_err(fault)?;
    let identity = fs::symlink_metadata(path).map(|made| FileIdentity::of(&made)).map_err(fault)?;
    Ok(Claim {
        listener,
        guard: SocketGuard {
            _guarded: Some(Guarded { path: path.clone(), identity, _lock: lock }),
        },
    })
}

/// A socket that only this process serves.
#[derive(Debug)]
pub(crate) struct Claim {
    /// The listener for its connections.
    pub(crate) listener: UnixListener,
    /// Must be kept for as long as the listener.
    pub(crate) guard: SocketGuard,
}

/// Removes the socket's file when dropped, unless another file has taken its place, and then releases the lock.
#[derive(Debug)]
#[must_use = "dropping it removes the socket"]
pub(crate) struct SocketGuard {
    _guarded: Option<Guarded>,
}

#[derive(Debug)]
struct Guarded {
    path: PathBuf,
    identity: FileIdentity,
    _lock: File,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path)
            .is_ok_and(|found| FileIdentity::of(&found) == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::debug!(%error, "cannot remove the socket");
        }
    }
}

/// Creates the directory, or checks that no other user can replace the socket in it.
fn prepare_directory(socket: &Path) -> Result<(), ClaimError> {
    let Some(directory) = socket.parent() else {
        return Ok(());
    };
    let fault = |error| ClaimError::Io(SocketAddress::Path(socket.to_owned()), error);
    crate::durable::create_directory(directory).map_err(fault)?;
    match socket_lock::is_ours_to_fill(directory) {
        Ok(true) => Ok(()),
        Ok(false) => Err(ClaimError::OpenDirectory(directory.to_owned())),
        Err(error) => Err(fault(error)),
    }
}

/// Why a socket's address could not be claimed.
#[derive(Debug)]
#[non_exhaustive]
pub(crate) enum ClaimError {
    /// A server already serves it.
    AlreadyServed(SocketAddress),
    /// A file at the path is not a socket. It was left alone.
    NotASocket(PathBuf),
    /// Other users could replace the socket.
    OpenDirectory(PathBuf),
    /// A system call failed.
    Io(SocketAddress, io::Error),
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyServed(address) => write!(
                f,
                "{address} is already served: stop that server, or choose another address"
            ),
            Self::NotASocket(path) => write!(
                f,
                "{} is not a socket and was left alone: move it away, or choose another address",
                path.display()
            ),
            Self::OpenDirectory(path) => write!(
                f,
                "other users can put files into {}: chown it to this user and chmod go-w it, or choose another directory for the socket",
                path.display()
            ),
            Self::Io(address, error) => write!(f, "cannot listen on {address}: {error}"),
        }
    }
}

impl std::error::Error for ClaimError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            Self::AlreadyServed(_) | Self::NotASocket(_) | Self::OpenDirectory(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
