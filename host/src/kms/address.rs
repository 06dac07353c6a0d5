//! The address of a unix socket: `unix:///path`, or on Linux `unix:///@name` in the abstract namespace.

use std::fmt;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use rustix::fs::Mode;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// 107 bytes: the maximum length in Linux's `sockaddr_un.sun_path`, without the terminating zero byte.
const MAX_LEN: usize = 107;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// A unix socket's address. Upstream: k8s.io/kms pkg/util `ParseEndpoint`.
///
/// ```
/// use dekker_host::kms::address::SocketAddress;
///
/// let address: SocketAddress = "unix:///@kms".parse()?;
/// assert_eq!(address, SocketAddress::Abstract("kms".into()));
/// assert!("/run/kms.sock".parse::<SocketAddress>().is_err());
/// # Ok::<(), dekker_host::kms::address::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// An absolute path of a file.
    Path(PathBuf),
    /// A name in Linux's abstract namespace, without the leading `@`. Anyone in the same network namespace can connect.
    Abstract(String),
}

/// A redirection: connections to `from` go to `to` instead.
#[derive(Clone, Debug)]
pub(crate) struct Detour {
    pub(crate) from: SocketAddress,
    pub(crate) to: SocketAddress,
}

impl SocketAddress {
    /// Connects once.
    ///
    /// # Errors
    /// Returns the system's error, or `Unsupported` for an abstract name on a system other than Linux.
    pub async fn connect(&self) -> io::Result<UnixStream> {
        UnixStream::connect(self.os_path()?).await
    }

    /// Listens. The file of a [`SocketAddress::Path`] is created with mode 0600. It must not exist; its directory must.
    ///
    /// # Errors
    /// Returns the system's error; `AddrInUse` if the address is taken, even if only by a file that no process serves.
    pub fn bind(&self) -> io::Result<UnixListener> {
        let socket = UnixSocket::new_stream()?;
        match self {
            Self::Path(path) => {
                // On Linux the file is created with its descriptor's mode, so at no time can other users connect. Elsewhere this fails, and the mode
                // is narrowed right after `bind`.
                let born_private = rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR).is_ok();
                socket.bind(path)?;
                if !(born_private && cfg!(target_os = "linux")) {
                    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600))?;
                }
            }
            Self::Abstract(_) => socket.bind(self.os_path()?)?,
        }
        socket.listen(BACKLOG)
    }

    /// tokio treats a path that starts with a zero byte as an abstract name, on Linux only.
    fn os_path(&self) -> io::Result<PathBuf> {
        match self {
            Self::Path(path) => Ok(path.clone()),
            Self::Abstract(name) if cfg!(target_os = "linux") => {
                Ok(PathBuf::from(format!("\0{name}")))
            }
            Self::Abstract(_) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only Linux has abstract sockets: use unix:///path",
            )),
        }
    }
}

/// Prints the form that [`FromStr`] parses, with escapes.
impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = match self {
            Self::Path(path) => {
                f.write_str("unix://")?;
                path.as_os_str().as_bytes()
            }
            Self::Abstract(name) => {
                f.write_str("unix:///@")?;
                name.as_bytes()
            }
        };
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                if matches!(c, '%' | '?' | '#') || c.is_control() {
                    let mut buffer = [0; 4];
                    escape(f, c.encode_utf8(&mut buffer).as_bytes())?;
                } else {
                    fmt::Write::write_char(f, c)?;
                }
            }
            escape(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn escape(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "%{byte:02X}"))
}

impl FromStr for SocketAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(AddressError::NoScheme);
        };
        if !scheme.eq_ignore_ascii_case("unix") {
            return Err(AddressError::Scheme);
        }
        if rest.contains(['?', '#']) {
            return Err(AddressError::Query);
        }
        // Upstream drops the text between the second and the third slash. If a slash was forgotten, that results in a different path, so here it is
        // an error.
        let Some(path) = rest.strip_prefix('/') else {
            return Err(AddressError::Relative);
        };
        let path = unescape(path)?;
        if path.is_empty() || path == b"@" {
            return Err(AddressError::Empty);
        }
        if path.contains(&0) {
            return Err(AddressError::Zero);
        }
        let address = match path.strip_prefix(b"@") {
            Some(name) => {
                let name = str::from_utf8(name).map_err(|_| AddressError::Escape)?;
                Self::Abstract(name.to_owned())
            }
            None => {
                let absolute = [b"/", &*path].concat();
                Self::Path(PathBuf::from(std::ffi::OsString::from_vec(absolute)))
            }
        };
        // Both lengths include the first byte: a path's slash, which `path` lacks, or an abstract name's zero byte, for which `path` has an `@`.
        let len = match address {
            Self::Path(_) => path.len() + 1,
            Self::Abstract(_) => path.len(),
        };
        if len > MAX_LEN {
            return Err(AddressError::TooLong { len });
        }
        Ok(address)
    }
}

/// Decodes percent escapes (`%41` → `A`), as Go's net/url does for a path.
fn unescape(text: &str) -> Result<Vec<u8>, AddressError> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(AddressError::Escape);
        };
        // Two hexadecimal digits are at most 255.
        out.push((high << 4 | low) as u8);
    }
    Ok(out)
}

/// Why a text is not a [`SocketAddress`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no `://`.
    NoScheme,
    /// The scheme is not `unix`.
    Scheme,
    /// There are two slashes instead of three.
    Relative,
    /// There is neither a path nor a name.
    Empty,
    /// There is a query or a fragment.
    Query,
    /// A percent sign is not followed by two hexadecimal digits, or an abstract name is not UTF-8.
    Escape,
    /// It contains a zero byte.
    Zero,
    /// The address does not fit into the system's structure.
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScheme => "a socket address must start with unix://: write unix:///path/to/socket",
            Self::Scheme => {
                "only unix sockets are supported: write unix:///path/to/socket, or unix:///@name for an abstract one"
            }
            Self::Relative => {
                "a socket's path must be absolute: write three slashes, as in unix:///path/to/socket"
            }
            Self::Empty => {
                "the socket address has no path or name: write unix:///path/to/socket or unix:///@name"
            }
            Self::Query => {
                "a socket address cannot have a query or a fragment: write %3F for a question mark and %23 for a hash sign"
            }
            Self::Escape => {
                "a percent sign must be followed by two hexadecimal digits, and an abstract name must be UTF-8: write %25 for a percent sign"
            }
            Self::Zero => "a socket address must not contain a zero byte: remove %00",
            Self::TooLong { len } => {
                return write!(
                    f,
                    "the socket address has {len} bytes and the system allows {MAX_LEN}: use a shorter path"
                );
            }
        })
    }
}

impl std::error::Error for AddressError {}

#[cfg(test)]
mod tests;
