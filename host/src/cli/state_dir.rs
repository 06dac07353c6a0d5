//! The state directory: what Dekker keeps when it is given nothing.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::kms::address::SocketAddress;
use crate::kms::claim::{Claim, ClaimError, claim};
use crate::kms::keyring::Keyring;
use crate::kms::plugin::{self, Plugin};

/// A directory of mode 0700 that belongs to this user.
pub(super) struct StateDir(PathBuf);

impl StateDir {
    /// Opens it, or makes it.
    pub(super) fn open(path: Option<&Path>) -> anyhow::Result<Self> {
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => default_path()
                .context("there is no home directory: name a state directory with --state-dir")?,
        };
        let path = std::path::absolute(&path)
            .with_context(|| format!("the state directory {}", path.display()))?;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the state directory {}", path.display()))?;
        let metadata = fs::metadata(&path)
            .with_context(|| format!("the state directory {}", path.display()))?;
        let uid = rustix::process::geteuid().as_raw();
        anyhow::ensure!(
            metadata.uid() == uid && metadata.mode() & 0o022 == 0,
            "the state directory {} must belong to this user (uid {uid}) and be writable by nobody else: chown and chmod 700 it, or name another \
             with --state-dir",
            path.display()
        );
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Where the transform API listens.
    pub(super) fn api_socket(&self) -> PathBuf {
        self.0.join("api.sock")
    }

    /// Where Dekker's own KMS plugin listens.
    pub(super) fn kms_address(&self) -> SocketAddress {
        SocketAddress::Path(self.0.join("kms.sock"))
    }

    /// The configuration that names Dekker's own plugin, written at the first start and left alone from then on.
    pub(super) fn configuration(&self) -> anyhow::Result<PathBuf> {
        let path = self.0.join("encryption-config.yaml");
        let context = || format!("cannot write the configuration {}", path.display());
        let text = default_configuration(&self.kms_address());
        // Written whole under another name first: a start that is cut short leaves nothing half-done.
        if !path.exists() {
            let new = self.0.join("encryption-config.yaml.new");
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)
                .with_context(context)?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .with_context(context)?;
            fs::rename(&new, &path).with_context(context)?;
        }
        Ok(path)
    }

    /// Starts Dekker's own plugin, unless one serves this directory already.
    pub(super) async fn start_plugin(&self) -> anyhow::Result<Option<RunningPlugin>> {
        RunningPlugin::start(&self.0, &self.kms_address()).await
    }
}

/// Dekker's own plugin on a task of this process; it stops when this is dropped.
pub(super) struct RunningPlugin {
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl RunningPlugin {
    /// `None`: another process serves this address.
    pub(super) async fn start(
        state_dir: &Path,
        address: &SocketAddress,
    ) -> anyhow::Result<Option<Self>> {
        let Claim { listener, guard } = match claim(address).await {
            Ok(claim) => claim,
            Err(ClaimError::AlreadyServed(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let keyring = Keyring::open_or_create(state_dir)?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                // Dropping the sender is how it is told.
                let _ = stopped.await;
            };
            if let Err(error) = plugin::serve(Plugin::new(keyring), listener, stopped).await {
                tracing::error!(%error, "the embedded KMS plugin stopped");
            }
            drop(guard);
        });
        Ok(Some(Self { stop, task }))
    }

    /// Stops it, once it has answered what is under way, and waits for its end.
    pub(super) async fn stop(self) {
        let Self { stop, task } = self;
        drop(stop);
        // A task that panicked has ended as well.
        let _ = task.await;
    }
}

fn default_path() -> Option<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Some(PathBuf::from("/var/lib/dekker"));
    }
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
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
