//! A directory with a file for each decrypted value.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use dekker_forms::{Entry, Fault};

use super::output::{Attempted, ENCRYPTED_TWICE, Sink};
use crate::found::{place, printable_key};

/// 200 bytes: the longest part of an encoded key that becomes a file's name. File systems allow 255 bytes.
const NAME_MAX: usize = 200;

/// Writes each plaintext to its own file, which only the user may read.
pub(super) struct Directory(PathBuf);

impl Directory {
    /// Creates the directory, or takes an empty one.
    ///
    /// # Errors
    /// Returns an error if the directory contains anything, or if it cannot be created or read.
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        create_dir(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut files =
            fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
        if files.next().is_some() {
            bail!("{} is not empty: name a new or an empty directory", path.display());
        }
        Ok(Self(path.to_owned()))
    }

    /// Creates a file for the value with this key. If an earlier value of the input has the same key, `ordinal` distinguishes them.
    fn create_file(&self, ordinal: u64, key: Option<&[u8]>) -> io::Result<(PathBuf, File)> {
        let open = |name: String| {
            let path = self.0.join(name);
            exclusive().open(&path).map(|file| (path, file))
        };
        let numbered = |name: &str| open(format!("{name}~{ordinal}"));
        let Some(name) = key.map(encoded) else {
            return numbered("value");
        };
        if name.is_empty() {
            return numbered(&name);
        }
        match name.get(..NAME_MAX) {
            Some(head) => numbered(head),
            None => match open(name.clone()) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => numbered(&name),
                opened => opened,
            },
        }
    }
}

impl Sink for Directory {
    fn value(&mut self, ordinal: u64, entry: &Entry, value: &Attempted<'_>) -> anyhow::Result<()> {
        let Attempted { location, notes, outcome } = value;
        let mut which = place(entry.place);
        if let Some(key) = location.key {
            which.push_str(&format!(": {}", printable_key(key)));
        }
        for note in notes {
            eprintln!("note: {which}: {note}");
        }
        if value.is_encrypted_twice() {
            eprintln!("warning: {which}: {ENCRYPTED_TWICE}");
        }
        let opened = match outcome {
            Ok(opened) => opened,
            Err(error) => {
                eprintln!("dekker: {which}: {error:#}");
                return Ok(());
            }
        };
        let (path, mut file) = self
            .create_file(ordinal, location.key)
            .with_context(|| format!("cannot create a file in {}", self.0.display()))?;
        file.write_all(&opened.bytes)
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write {}", path.display()))
    }

    fn fault(&mut self, fault: &Fault) -> anyhow::Result<()> {
        eprintln!("dekker: {fault}");
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Percent-encodes a key, so that it is the name of one file: `%2Fregistry%2Fsecrets%2Fdefault%2Ftoken`. Letters, digits, `-`, `_` and `.` stay, but
/// no `.` at the beginning.
fn encoded(key: &[u8]) -> String {
    let mut name = String::with_capacity(key.len());
    for &byte in key {
        let stays = byte.is_ascii_alphanumeric()
            || b"-_".contains(&byte)
            || (byte == b'.' && !name.is_empty());
        if stays {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    name
}

/// A new file. If anything has its name, also a link, that is an error.
fn exclusive() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    // WASI has no modes: there, those of the host's process apply.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leaves_the_directory() {
        for (key, name) in [
            ("/registry/secrets/default/token", "%2Fregistry%2Fsecrets%2Fdefault%2Ftoken"),
            ("..", "%2E."),
            (".", "%2E"),
            ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
            ("a b\0~%é\\", "a%20b%00%7E%25%C3%A9%5C"),
            ("", ""),
        ] {
            assert_eq!(encoded(key.as_bytes()), name, "{key}");
        }
    }

    #[test]
    fn files_are_exclusive_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/out");
        let directory = Directory::create(&path).unwrap();
        let long = [b'a'; 300];
        for (ordinal, key, name) in [
            (1, Some(&b"/k"[..]), "%2Fk"),
            (2, Some(b"/k"), "%2Fk~2"),
            (3, None, "value~3"),
            (4, Some(&long), &*format!("{}~4", "a".repeat(200))),
            (5, Some(b""), "~5"),
        ] {
            let (created, _) = directory.create_file(ordinal, key).unwrap();
            assert_eq!(created, path.join(name));
        }
        // The name of another value is taken: an error, and nothing is overwritten.
        fs::write(path.join("%2Fx"), "mine").unwrap();
        fs::write(path.join("%2Fx~6"), "mine").unwrap();
        assert!(directory.create_file(6, Some(b"/x")).is_err());
        assert_eq!(fs::read(path.join("%2Fx")).unwrap(), b"mine");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&path), mode(&path.join("%2Fk"))), (0o700, 0o600));
        }
        assert!(Directory::create(&path).err().unwrap().to_string().contains("is not empty"));
    }
}
