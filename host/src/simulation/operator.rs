//! The configuration file, and what an operator does with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A provider in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Provider {
    /// KMS v2: its name, and its timeout in seconds. With another timeout, the engine treats it as another provider.
    Kms(String, u8),
    /// A local cipher, and the numbers of its keys. The first key encrypts.
    Local(&'static str, Vec<u8>),
}

impl Provider {
    /// Returns the prefix of the values that the provider encrypts.
    fn writes(&self) -> String {
        match self {
            Self::Kms(name, _) => format!("k8s:enc:kms:v2:{name}:"),
            Self::Local(cipher, keys) => format!("k8s:enc:{cipher}:v1:k{}:", keys[0]),
        }
    }

    /// Returns the prefixes of the values that the provider can decrypt.
    fn reads(&self) -> Vec<String> {
        match self {
            Self::Kms(..) => vec![self.writes()],
            Self::Local(cipher, keys) => {
                let prefix = |key| format!("k8s:enc:{cipher}:v1:k{key}:");
                keys.iter().map(prefix).collect()
            }
        }
    }
}

/// A complete and valid file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) text: String,
    /// `sha256:<hex>` of the text.
    pub(super) hash: String,
    /// The prefix of the values that it encrypts.
    pub(super) writes: String,
    /// The prefixes of the values that it can decrypt.
    pub(super) reads: BTreeSet<String>,
    pub(super) providers: Vec<Provider>,
}

impl Version {
    /// Creates a version whose first provider encrypts. `socket` returns the path at which a KMS provider's plugin listens.
    pub(super) fn new(providers: Vec<Provider>, socket: impl Fn(&str) -> PathBuf) -> Self {
        let mut text = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: ['*.*']\n  providers:\n".to_owned();
        for provider in &providers {
            text += &match provider {
                Provider::Kms(name, timeout) => format!(
                    "  - kms: {{apiVersion: v2, name: {name}, endpoint: 'unix://{}', timeout: {timeout}s}}\n",
                    socket(name).display()
                ),
                Provider::Local(cipher, keys) => {
                    let key = |key: &u8| {
                        let secret = BASE64_STANDARD.encode([*key + 1; 32]);
                        format!("{{name: k{key}, secret: {secret}}}")
                    };
                    let keys: Vec<_> = keys.iter().map(key).collect();
                    format!("  - {cipher}: {{keys: [{}]}}\n", keys.join(", "))
                }
            };
        }
        text += "  - identity: {}\n# whole\n";
        Self {
            hash: crate::sha256::text(text.as_bytes()),
            writes: providers[0].writes(),
            reads: providers.iter().flat_map(Provider::reads).collect(),
            text,
            providers,
        }
    }
}

/// The file on disk.
pub(super) struct File {
    pub(super) path: PathBuf,
    /// The last version that was written. The file on disk may be different from it or incomplete.
    pub(super) current: Version,
}

impl File {
    pub(super) fn new(path: PathBuf, version: Version) -> Self {
        let file = Self { path, current: version };
        file.restore();
        file
    }

    /// Replaces the file by a complete version, with a rename.
    pub(super) fn replace(&mut self, version: Version) {
        self.current = version;
        self.restore();
    }

    /// Makes the file complete again.
    pub(super) fn restore(&self) {
        let new = beside(&self.path);
        fs::write(&new, &self.current.text).expect("a file in the world's directory");
        fs::rename(&new, &self.path).expect("a file in the world's directory");
    }

    /// Writes the first `len` bytes of a version in place, as a slow writer does.
    pub(super) fn write_part(&mut self, version: Version, len: usize) {
        self.current = version;
        let text = self.current.text.as_bytes();
        self.spoil(&text[..len.min(text.len())]);
    }

    /// Replaces the file's content in place.
    pub(super) fn spoil(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).expect("a file in the world's directory");
    }

    pub(super) fn remove(&self) {
        // The file may already be gone.
        let _ = fs::remove_file(&self.path);
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("operator")
}
