//! Errors of a keyring. Every message names the file and the remedy. No message contains a key or a key ID.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a keyring could not be read or written.
#[derive(Debug)]
#[non_exhaustive]
pub enum KeyringError {
    /// A system call failed.
    Io {
        /// The operation: `read`, `create`, …
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// There is no such file or directory.
    Missing {
        /// The missing file or directory.
        path: PathBuf,
    },
    /// The path is not a file, or not a directory where one is needed. Symbolic links are not followed.
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file or directory belongs to another user.
    Owner {
        /// The file or directory.
        path: PathBuf,
        /// The owner's user ID.
        owner: u32,
        /// This process's effective user ID.
        expected: u32,
    },
    /// Other users can read the file, or write to the directory.
    Permissions {
        /// The file or directory.
        path: PathBuf,
        /// The lowest twelve bits of its mode.
        mode: u32,
        /// The argument for `chmod`.
        remedy: &'static str,
    },
    /// The file is larger than a keyring can be.
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        len: u64,
    },
    /// The file is not a keyring.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with the file.
        damage: Damage,
    },
    /// There was a keyring, and it is gone.
    Lost {
        /// The path of the keyring.
        path: PathBuf,
    },
    /// The file lacks keys that it once had.
    Forgotten {
        /// The file.
        path: PathBuf,
        /// The number of missing keys.
        keys: usize,
    },
    /// The file has another key under the ID of one in memory.
    Contradicts {
        /// The file.
        path: PathBuf,
    },
    /// No key is missing, so there is none to give up.
    Complete {
        /// The file.
        path: PathBuf,
    },
    /// There is no room for another key.
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The system provided no randomness for a new key.
    Entropy(getrandom::Error),
}

/// What is wrong with a keyring file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It is not JSON; a field is missing, unknown, duplicated or of the wrong type; or a key is not 32 bytes in base64.
    Syntax {
        /// Counted from 1; 0 if unknown.
        line: usize,
        /// Counted from 1; 0 if unknown.
        column: usize,
    },
    /// A later version of Dekker wrote it.
    Version {
        /// The version of its layout.
        version: u32,
    },
    /// A key ID is not 32 lowercase hexadecimal digits.
    KeyId,
    /// Two keys have the same ID.
    DuplicateKeyId,
    /// The current key is not among the keys.
    NoCurrentKey,
    /// There are more keys than [`super::MAX_KEYS`].
    TooManyKeys {
        /// The number of keys.
        keys: usize,
    },
    /// Its size changed while it was being read.
    Changing,
    /// A line of the list of keys is not a hash of a key ID.
    NotHashes,
}

impl fmt::Display for KeyringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { doing, path, source } => {
                write!(f, "cannot {doing} {}: {source}", path.display())
            }
            Self::Missing { path } => write!(
                f,
                "{} does not exist: restore it from a backup, or name the right state directory",
                path.display()
            ),
            Self::NotAFile { path } => write!(
                f,
                "{} must be a regular file, or a directory if it is the state directory: replace it; symbolic links are not followed",
                path.display()
            ),
            Self::Owner { path, owner, expected } => write!(
                f,
                "{} belongs to user {owner}, not to user {expected}: chown it, or run as its owner",
                path.display()
            ),
            Self::Permissions { path, mode, remedy } => write!(
                f,
                "{} is open to other users (mode {mode:04o}): check who could have used it, then chmod {remedy} it",
                path.display()
            ),
            Self::TooLarge { path, len } => write!(
                f,
                "{} has {len} bytes, more than a keyring's {}: restore it from a backup",
                path.display(),
                super::MAX_FILE
            ),
            Self::Damaged { path, damage } => write!(f, "{} {damage}", path.display()),
            Self::Lost { path } => write!(
                f,
                "{} is missing, but files beside it show that it existed, so values may need its keys: restore it; if no value needs them, \
                 start once with --init-keyring, which creates a new key",
                path.display()
            ),
            Self::Forgotten { path, keys } => write!(
                f,
                "{} lacks {keys} of the keys that it once had, so it is an older copy or another keyring: restore the newest one; if no value needs \
                 the missing keys, start once with --init-keyring",
                path.display()
            ),
            Self::Contradicts { path } => write!(
                f,
                "{} has a different key under the ID of a key in use: restore the previous keyring",
                path.display()
            ),
            Self::Complete { path } => write!(
                f,
                "{} has all of its keys: start without --init-keyring, which is only for a lost keyring",
                path.display()
            ),
            Self::Full { path } => write!(
                f,
                "{} has no room for another key: rewrite all values, then remove the keys that are no longer used",
                path.display()
            ),
            Self::Entropy(error) => write!(f, "cannot get random bytes for a key: {error}"),
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { line, column } => {
                write!(f, "is not a keyring: error at line {line} column {column}")?
            }
            Self::Version { version } => {
                return write!(
                    f,
                    "has version {version}, which this version of Dekker does not support: use the version that wrote it, or a later one"
                );
            }
            Self::KeyId => {
                f.write_str("is damaged: a key ID is not 32 lowercase hexadecimal digits")?;
            }
            Self::DuplicateKeyId => f.write_str("is damaged: two keys have the same ID")?,
            Self::NoCurrentKey => {
                f.write_str("is damaged: its current key is not among its keys")?
            }
            Self::TooManyKeys { keys } => {
                write!(f, "is damaged: it holds {keys} keys, more than {}", super::MAX_KEYS)?
            }
            Self::Changing => f.write_str(
                "changed while it was being read: replace the file instead of editing it",
            )?,
            Self::NotHashes => {
                return f.write_str(
                    "is not a list of key ID hashes: restore it from a backup, or remove it if the keyring beside it is the newest",
                );
            }
        }
        f.write_str("; restore it from a backup")
    }
}

impl std::error::Error for KeyringError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Entropy(error) => Some(error),
            Self::Missing { .. }
            | Self::NotAFile { .. }
            | Self::Owner { .. }
            | Self::Permissions { .. }
            | Self::TooLarge { .. }
            | Self::Damaged { .. }
            | Self::Lost { .. }
            | Self::Forgotten { .. }
            | Self::Contradicts { .. }
            | Self::Complete { .. }
            | Self::Full { .. } => None,
        }
    }
}

impl From<getrandom::Error> for KeyringError {
    fn from(error: getrandom::Error) -> Self {
        Self::Entropy(error)
    }
}
