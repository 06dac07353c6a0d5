//! The state directory, in which Dekker keeps its sockets, its configuration and its plugin's keys by default.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::config_file::{self, Content};
use crate::durable;
use crate::kms::address::{Detour, SocketAddress};
use crate::kms::embedded::{PrivatePlugin, SharedPlugin};
use crate::kms::keyring::{CONFIGURATION_NAME, Keyring, KeyringError};
use crate::kms::ownership::Ownership;

/// A directory of mode 0700 that belongs to this user.
pub(super) struct StateDir(PathBuf);

impl StateDir {
    /// Opens the directory, and creates it if it does not exist.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let path = absolute(path)?;
        durable::create_directory(&path)
            .with_context(|| format!("cannot create the state directory {}", path.display()))?;
        // The process that created the directory may have been interrupted before it synced the parent. Ignore errors: the parent may be unreadable
        // to us.
        if let Some(parent) = path.parent() {
            let _ = durable::sync_directory(parent);
        }
        Self::check(path)
    }

    /// Opens an existing directory, without creating it.
    pub(super) fn existing(path: Option<&Path>) -> anyhow::Result<Self> {
        Self::check(absolute(path)?)
    }

    /// Returns the address of Dekker's own plugin. If the directory does not exist, no plugin listens there.
    pub(super) fn plugin_address(path: Option<&Path>) -> anyhow::Result<SocketAddress> {
        let path = absolute(path)?;
        let directory = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self(path),
            _ => Self::check(path)?,
        };
        Ok(directory.kms_address())
    }

    fn check(path: PathBuf) -> anyhow::Result<Self> {
        let metadata = fs::metadata(&path)
            .with_context(|| format!("cannot open the state directory {}", path.display()))?;
        let uid = rustix::process::geteuid().as_raw();
        anyhow::ensure!(
            metadata.uid() == uid && metadata.mode() & 0o022 == 0,
            "the state directory {} must belong to this user (uid {uid}) and must not be writable by other users: chown and chmod 700 it, or name \
             another with --state-dir",
            path.display()
        );
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the path at which the transform API listens.
    pub(super) fn api_socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    /// Returns the address at which Dekker's own KMS plugin listens.
    pub(super) fn kms_address(&self) -> SocketAddress {
        SocketAddress::Path(self.0.join("kms.sock"))
    }

    fn configuration_path(&self) -> PathBuf {
        self.0.join(CONFIGURATION_NAME)
    }

    /// Returns the path of the configuration that names Dekker's own plugin. The file is written at the first start and not changed afterwards. The
    /// keyring must already exist.
    pub(super) fn configuration(&self) -> anyhow::Result<PathBuf> {
        let path = self.configuration_path();
        let context = || format!("cannot write the configuration {}", path.display());
        let text = default_configuration(&self.kms_address());
        if !path.exists() {
            // If several processes start for the first time, one of them writes it.
            durable::publish(&path, text.as_bytes()).with_context(context)?;
        }
        Ok(path)
    }

    /// Serves Dekker's own plugin whenever no other process does. Creates a keyring if there has never been one. With `init`, creates a keyring even
    /// if keys are missing that the directory had.
    pub(super) async fn serve_plugin(
        &self,
        address: SocketAddress,
        init: bool,
    ) -> anyhow::Result<Ownership> {
        // Create the keyring first, even if another process serves the plugin. Nothing else that refers to a keyring may be written earlier.
        if init {
            tracing::warn!(
                "--init-keyring: values that need a key that is missing from the keyring are lost"
            );
            drop(Keyring::init(&self.0)?);
        } else {
            drop(Keyring::open_or_create(&self.0)?);
        }
        Ownership::start(SharedPlugin { state_dir: self.0.clone(), address }).await
    }

    /// Returns the configuration for one value, with a private plugin if the configuration names Dekker's own. Writes nothing to the directory, apart
    /// from what `keyring` writes.
    pub(super) fn one_shot(
        &self,
        keyring: impl FnOnce(&Path) -> Result<Keyring, KeyringError>,
    ) -> anyhow::Result<OneShot> {
        let path = self.configuration_path();
        let content = if path.exists() {
            config_file::read(&path).map_err(anyhow::Error::msg)?
        } else {
            Content::of(default_configuration(&self.kms_address()).into_bytes().into())
        };
        let address = self.kms_address();
        // Searching the text is sufficient. If the address is written with escapes, no private plugin is started, and the plugin of a running server
        // is used.
        let named = address.to_string().into_bytes();
        let names_it = content.bytes.windows(named.len()).any(|part| part == named);
        let plugin = if names_it {
            let plugin = PrivatePlugin::start(keyring(&self.0)?);
            Some(plugin.context("cannot start the KMS plugin of this command")?)
        } else {
            None
        };
        Ok(OneShot { path, content, address, plugin })
    }
}

/// What is needed to encrypt or decrypt one value with the configuration in the state directory.
pub(super) struct OneShot {
    pub(super) path: PathBuf,
    pub(super) content: Content,
    address: SocketAddress,
    pub(super) plugin: Option<PrivatePlugin>,
}

impl OneShot {
    /// Returns the redirection from Dekker's own plugin to the private plugin.
    pub(super) fn detour(&self) -> Option<Detour> {
        let plugin = self.plugin.as_ref()?;
        Some(Detour { from: self.address.clone(), to: plugin.address().clone() })
    }
}

fn absolute(path: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match path {
        Some(path) => path.to_path_buf(),
        None => default_path()
            .context("there is no home directory: name a state directory with --state-dir")?,
    };
    std::path::absolute(&path)
        .with_context(|| format!("cannot resolve the state directory {}", path.display()))
}

fn default_path() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/dekker"));
    }
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|state| state.join("dekker"))
}

fn default_configuration(kms: &SocketAddress) -> String {
    format!(
        "# Written by dekker at its first start; edit it freely, it is not written again.\n\
         # Everything is encrypted with Dekker's own KMS plugin; values stored in the clear can still be read.\n\
         apiVersion: apiserver.config.k8s.io/v1\n\
         kind: EncryptionConfiguration\n\
         resources:\n\
         - resources: [\"*.*\"]\n\
         \x20 providers:\n\
         \x20 - kms:\n\
         \x20     apiVersion: v2\n\
         \x20     name: dekker\n\
         \x20     endpoint: \"{kms}\"\n\
         \x20     timeout: 3s\n\
         \x20 - identity: {{}}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_new_state_directory_and_its_configuration_are_on_disk() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/state");
        durable::synced::take();
        let state_dir = StateDir::open(Some(&path)).unwrap();
        let synced = durable::synced::take();
        for directory in [root.path(), &root.path().join("a")] {
            assert!(synced.iter().any(|synced| synced == directory), "{synced:?}");
        }
        let configuration = state_dir.configuration().unwrap();
        assert_eq!(durable::synced::take(), std::slice::from_ref(&path));
        fs::write(&configuration, "mine").unwrap();
        state_dir.configuration().unwrap();
        assert_eq!(fs::read(&configuration).unwrap(), b"mine");
        // The directory may exist because of an earlier start that was interrupted.
        StateDir::open(Some(&path)).unwrap();
        assert!(durable::synced::take().contains(&root.path().join("a")));
    }

    #[test]
    fn a_state_directory_is_not_created_for_reading() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        assert!(StateDir::existing(Some(&path)).is_err());
        assert!(!path.exists());
    }
}
