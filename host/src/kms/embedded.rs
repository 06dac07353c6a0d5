//! Dekker's own plugin in this process: on a socket that several processes may want to serve, or on one that only this process uses.

use std::io;
use std::path::PathBuf;

use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::address::SocketAddress;
use super::claim::{Claim, ClaimError, claim};
use super::keyring::Keyring;
use super::ownership::{Resource, Stop};
use super::plugin::{self, Plugin};

/// The plugin at an address that one process at a time serves, with the keys of a state directory.
#[derive(Debug)]
pub(crate) struct SharedPlugin {
    /// The state directory. The caller has made sure that it contains a keyring.
    pub(crate) state_dir: PathBuf,
    pub(crate) address: SocketAddress,
}

impl Resource for SharedPlugin {
    const NAME: &'static str = "the embedded KMS plugin";
    type Claim = (Keyring, Claim);

    async fn claim(&self) -> anyhow::Result<Option<Self::Claim>> {
        let claim = match claim(&self.address).await {
            Ok(claim) => claim,
            Err(ClaimError::AlreadyServed(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some((Keyring::open_or_create(&self.state_dir)?, claim)))
    }

    async fn serve(&self, (keyring, claim): Self::Claim, stop: Stop) -> anyhow::Result<()> {
        let Claim { listener, guard } = claim;
        plugin::serve(Plugin::new(keyring), listener, stop.requested()).await?;
        drop(guard);
        Ok(())
    }
}

/// The plugin for this process alone, for a command that encrypts or decrypts one value. It takes no socket from a server and writes nothing to the
/// state directory, which may be read-only.
#[derive(Debug)]
pub(crate) struct PrivatePlugin {
    address: SocketAddress,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _directory: PrivateDirectory,
}

impl PrivatePlugin {
    /// Serves this keyring's keys until [`PrivatePlugin::stop`].
    ///
    /// # Errors
    /// Returns an error if there is no randomness for an address, or if the socket cannot be created.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub(crate) fn start(keyring: Keyring) -> io::Result<Self> {
        let (address, listener, directory) = private_socket()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            let stopped = async {
                // The signal is that the sender is dropped.
                let _ = stopped.await;
            };
            if let Err(error) = plugin::serve(Plugin::new(keyring), listener, stopped).await {
                tracing::error!(%error, "the KMS plugin of this command stopped");
            }
        });
        Ok(Self { address, stop, task, _directory: directory })
    }

    /// Returns the address on which it listens.
    pub(crate) fn address(&self) -> &SocketAddress {
        &self.address
    }

    /// Stops the plugin after the calls in progress, and waits for its end.
    pub(crate) async fn stop(self) {
        let Self { address: _, stop, task, _directory } = self;
        drop(stop);
        // A task that panicked has ended too.
        let _ = task.await;
    }
}

/// Returns a name with 16 random bytes, which no other process can have bound before or guess.
fn random_name() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    let mut name = "dekker-".to_owned();
    super::push_hex(&mut name, &bytes);
    Ok(name)
}

/// Opens an abstract socket, which leaves nothing behind. The plugin accepts only this user and root there.
#[cfg(target_os = "linux")]
fn private_socket() -> io::Result<(SocketAddress, UnixListener, PrivateDirectory)> {
    let address = SocketAddress::Abstract(random_name()?);
    let listener = address.bind()?;
    Ok((address, listener, PrivateDirectory))
}

#[cfg(target_os = "linux")]
#[derive(Debug)]
struct PrivateDirectory;

/// Opens a socket in a directory that only this user can enter.
#[cfg(not(target_os = "linux"))]
fn private_socket() -> io::Result<(SocketAddress, UnixListener, PrivateDirectory)> {
    use std::os::unix::fs::DirBuilderExt;

    let path = std::env::temp_dir().join(random_name()?);
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    let directory = PrivateDirectory(path);
    let address = SocketAddress::Path(directory.0.join("kms.sock"));
    let listener = address.bind()?;
    Ok((address, listener, directory))
}

#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
struct PrivateDirectory(PathBuf);

#[cfg(not(target_os = "linux"))]
impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // If this fails, the directory that stays behind contains at most a socket that no process serves.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
