//! Why a KMS plugin's socket cannot be connected to: the text that kube-apiserver's client reports, and what the operator can do.

use std::fmt;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::io::Errno;
use tokio::net::UnixStream;

use super::address::SocketAddress;

impl SocketAddress {
    /// Connects once to the KMS plugin at this address.
    ///
    /// # Errors
    /// Returns the reason under the same conditions as [`SocketAddress::connect`].
    pub(crate) async fn dial(&self) -> Result<UnixStream, DialError> {
        self.connect().await.map_err(|error| DialError { address: self.clone(), error })
    }
}

/// A failed attempt to connect to a plugin.
///
/// `Display` gives the address, the cause and the remedy. To find the cause, it looks at the file at the address.
#[derive(Debug)]
pub(crate) struct DialError {
    address: SocketAddress,
    error: io::Error,
}

impl DialError {
    /// Returns whether every further attempt will fail, because the system has no such sockets.
    pub(crate) fn is_final(&self) -> bool {
        self.error.kind() == io::ErrorKind::Unsupported
    }

    /// Returns the system's error in Go's words, such as `connection refused`.
    pub(crate) fn cause(&self) -> String {
        go_text(&self.error)
    }

    /// Returns the error as grpc-go reports it: internal/transport/http2_client.go, and Go's `net.OpError`.
    pub(crate) fn grpc_text(&self) -> String {
        let address = match &self.address {
            SocketAddress::Path(path) => path.display().to_string(),
            SocketAddress::Abstract(name) => format!("@{name}"),
        };
        let cause = self.cause();
        let dialing =
            format!("transport: Error while dialing: dial unix {address}: connect: {cause}");
        format!("connection error: desc = {}", quoted(&dialing))
    }

    /// Returns the system's error.
    pub(crate) fn into_inner(self) -> io::Error {
        self.error
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = &self.address;
        let path = match address {
            SocketAddress::Path(path) => path,
            SocketAddress::Abstract(_) if self.error.kind() == io::ErrorKind::ConnectionRefused => {
                return write!(
                    f,
                    "no KMS plugin listens on {address} in this network namespace: start the plugin, or run both in the same network namespace"
                );
            }
            SocketAddress::Abstract(_) => {
                return write!(f, "cannot connect to {address}: {}", self.error);
            }
        };
        let errno = Errno::from_io_error(&self.error);
        match errno {
            Some(Errno::NOENT) => missing(f, address, path),
            Some(Errno::CONNREFUSED) => refused(f, address, path),
            Some(Errno::ACCESS) => not_permitted(f, address, path),
            Some(Errno::NOTDIR) => write!(
                f,
                "no KMS plugin listens on {address}: a part of its path is a file, not a directory; correct the endpoint"
            ),
            Some(Errno::PROTOTYPE) => write!(
                f,
                "{address} is a socket of another type, not a stream socket as of a KMS plugin: correct the endpoint"
            ),
            Some(Errno::AGAIN) => write!(
                f,
                "the process that listens on {address} accepts no connections, and its queue is full: restart the KMS plugin"
            ),
            Some(_) | None => write!(f, "cannot connect to {address}: {}", self.error),
        }
    }
}

impl std::error::Error for DialError {}

/// Nothing is at the path.
fn missing(f: &mut fmt::Formatter<'_>, address: &SocketAddress, path: &Path) -> fmt::Result {
    write!(f, "no KMS plugin listens on {address}: ")?;
    let directory = path.parent().filter(|directory| !directory.exists());
    if let Some(directory) = directory {
        return write!(
            f,
            "the directory {} does not exist; start the plugin, or correct the endpoint, and in a container mount this directory",
            directory.display()
        );
    }
    if path.symlink_metadata().is_ok_and(|found| found.is_symlink()) {
        return f.write_str(
            "it is a symbolic link to a file that does not exist; start the plugin, or correct the link",
        );
    }
    f.write_str("the file does not exist; start the plugin, or correct the endpoint")
}

/// There is something, and nothing listens on it.
fn refused(f: &mut fmt::Formatter<'_>, address: &SocketAddress, path: &Path) -> fmt::Result {
    match path.metadata().map(|found| found.file_type()) {
        Ok(found) if found.is_dir() => write!(
            f,
            "{address} is a directory, not a socket; a container runtime creates it when it mounts a socket that does not exist yet: \
             remove it, start the plugin, and mount the directory that contains the socket"
        ),
        Ok(found) if !found.is_socket() => write!(
            f,
            "{address} is a file, not a socket: correct the endpoint, or remove the file and start the KMS plugin"
        ),
        Ok(_) | Err(_) => write!(
            f,
            "no KMS plugin listens on {address}: the socket's file is left over from a process that has ended; start the plugin again"
        ),
    }
}

/// This process may not connect.
fn not_permitted(f: &mut fmt::Formatter<'_>, address: &SocketAddress, path: &Path) -> fmt::Result {
    let user = rustix::process::geteuid().as_raw();
    if let Some(directory) = closed_directory(path) {
        return write!(
            f,
            "this process (user {user}) has no permission to connect to {address}: it may not search the directory {}; \
             give this user the permission x on it, or run this process as the plugin's user",
            directory.display()
        );
    }
    write!(
        f,
        "this process (user {user}) has no permission to connect to {address}, which needs write permission on the socket"
    )?;
    if let Ok(found) = path.metadata() {
        write!(f, " ({})", owner_and_mode(&found))?;
    }
    f.write_str(
        "; run this process as the plugin's user, or set the socket's owner, group or mode; if they permit it, look for a denial by SELinux or AppArmor",
    )
}

fn owner_and_mode(found: &Metadata) -> String {
    format!("owner {}, group {}, mode {:04o}", found.uid(), found.gid(), found.mode() & 0o7777)
}

/// Returns the first directory of the path that this process may not search, if there is one.
fn closed_directory(path: &Path) -> Option<&Path> {
    let denied = |path: &&Path| {
        path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    // The outermost path that cannot be looked at is in the directory that cannot be searched.
    path.ancestors().filter(denied).last()?.parent()
}

/// Returns a system error in the words of Go's table (syscall/zerrors_linux_amd64.go). Where C libraries differ, the words are written here.
fn go_text(error: &io::Error) -> String {
    let known = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "no such file or directory",
        Some(Errno::CONNREFUSED) => "connection refused",
        Some(Errno::ACCESS) => "permission denied",
        Some(Errno::PERM) => "operation not permitted",
        Some(Errno::NOTDIR) => "not a directory",
        Some(Errno::LOOP) => "too many levels of symbolic links",
        Some(Errno::PROTOTYPE) => "protocol wrong type for socket",
        Some(Errno::AGAIN) => "resource temporarily unavailable",
        Some(Errno::MFILE) => "too many open files",
        Some(Errno::NFILE) => "too many open files in system",
        Some(_) | None => {
            let text = error.to_string();
            let text = text.split(" (os error").next().unwrap_or_default();
            let mut chars = text.chars();
            let first = chars.next().map(|first| first.to_ascii_lowercase());
            return first.into_iter().chain(chars).collect();
        }
    };
    known.to_owned()
}

/// Quotes as Go's `strconv.Quote` does.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            '\0'..='\u{7f}' if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests;
