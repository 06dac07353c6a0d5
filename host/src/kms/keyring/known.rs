//! The list of all keys that a keyring ever had, in `keyring.ids`: one line with `sha256:<hex>` of the ID for each key.
//!
//! The list is written after the keyring and before any of its new keys encrypts anything, and it is replaced as a whole. So it never names a key
//! that is not in the keyring, unless the keyring was removed or replaced with an older one. It holds no secret.

use std::collections::BTreeSet;

use super::disk::Directory;
use super::{Damage, KeyringError, Keys, MAX_KEYS};

/// The name of the list's file in the state directory.
pub(super) const FILE_NAME: &str = "keyring.ids";

/// 72 bytes: `sha256:`, 64 digits and a newline.
const LINE: usize = 72;

/// Hashes of key IDs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known(BTreeSet<String>);

impl Known {
    pub(super) fn of(keys: &Keys) -> Self {
        Self(keys.all.iter().map(|kek| kek.id().hash()).collect())
    }

    /// Returns an empty list if there is no file: the keyring is new, or older than this list.
    pub(super) fn read(directory: &Directory) -> Result<Self, KeyringError> {
        let bytes = match directory.read(FILE_NAME, LINE * MAX_KEYS) {
            Err(KeyringError::Missing { .. }) => return Ok(Self(BTreeSet::new())),
            read => read?.0,
        };
        Self::parse(&bytes).ok_or_else(|| KeyringError::Damaged {
            path: directory.path(FILE_NAME),
            damage: Damage::NotHashes,
        })
    }

    /// Returns `None` if the content is anything but one hash a line.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let hashes = str::from_utf8(bytes).ok()?.lines().map(|line| {
            let digits = line.strip_prefix("sha256:")?;
            let is_hash = digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            is_hash.then(|| line.to_owned())
        });
        hashes.collect::<Option<_>>().map(Self)
    }

    /// Returns the content of the file.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(LINE * self.0.len());
        for hash in &self.0 {
            text.push_str(hash);
            text.push('\n');
        }
        text
    }

    /// Replaces the list, unless it is unchanged. The caller must hold the directory's lock.
    pub(super) fn write(&self, directory: &Directory) -> Result<(), KeyringError> {
        if Self::read(directory)? == *self {
            return Ok(());
        }
        directory.replace(FILE_NAME, self.text().as_bytes())?;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is(&self, keys: &Keys) -> bool {
        *self == Self::of(keys)
    }

    /// Returns how many keys of this list are missing in `keys`.
    pub(super) fn missing_in(&self, keys: &Keys) -> usize {
        self.0.difference(&Self::of(keys).0).count()
    }
}
