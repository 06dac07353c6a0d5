//! The configuration file, and what an operator does to it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// A provider of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Provider {
    /// KMS v2, by name; its timeout in seconds. Another timeout makes it another provider to the engine.
    Kms(String, u8),
    /// A local cipher, and its keys by number, the one that writes first.
    Local(&'static str, Vec<u8>),
}

impl Provider {
    /// What the values that it writes begin with.
    fn writes(&self) -> String {
        match self {
            Self::Kms(name, _) => format!("k8s:enc:kms:v2:{name}:"),
            Self::Local(cipher, keys) => format!("k8s:enc:{cipher}:v1:k{}:", keys[0]),
        }
    }

    /// What the values that it reads begin with.
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

/// A whole and valid file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) text: String,
    /// `sha256:<hex>`.
    pub(super) hash: String,
    /// The prefix of what it writes.
    pub(super) writes: String,
    /// The prefixes of what it reads.
    pub(super) reads: BTreeSet<String>,
    pub(super) providers: Vec<Provider>,
}

impl Version {
    /// The first provider writes. `socket`: where a KMS provider's plugin listens.
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
    /// What was whole last, if the file is not what it should be.
    pub(super) current: Version,
}

impl File {
    pub(super) fn new(path: PathBuf, version: Version) -> Self {
        let file = Self {
            path,
            current: version,
        };
        file.restore();
        file
    }

    /// Puts a version in place, whole, by a rename.
    pub(super) fn replace(&mut self, version: Version) {
        self.current = version;
        self.restore();
    }

    /// Whatever happened to it, it is whole again.
    pub(super) fn restore(&self) {
        let new = beside(&self.path);
        fs::write(&new, &self.current.text).expect("a file in the world's directory");
        fs::rename(&new, &self.path).expect("a file in the world's directory");
    }

    /// Writes the first bytes of a version in place, as one that writes slowly does.
    pub(super) fn write_part(&mut self, version: Version, len: usize) {
        self.current = version;
        let text = self.current.text.as_bytes();
        self.spoil(&text[..len.min(text.len())]);
    }

    /// Puts other bytes in its place.
    pub(super) fn spoil(&self, bytes: &[u8]) {
        fs::write(&self.path, bytes).expect("a file in the world's directory");
    }

    pub(super) fn remove(&self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.path);
    }
}

fn beside(path: &Path) -> PathBuf {
    path.with_extension("operator")
}
