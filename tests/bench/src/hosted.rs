//! A [`Host`] in this process, with Dekker's own KMS plugin, which this process runs too.

use anyhow::Result;
use dekker_host::Host;
use dekker_host::kms::keyring::Keyring;
use dekker_host::kms::plugin::{self, Plugin};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

use crate::vault::CONFIG;

/// A host and its plugin, which run until this is dropped.
pub(crate) struct Hosted {
    host: Host,
    /// Runs the plugin, and calls it. Values are handled on the threads that ask for it.
    runtime: Runtime,
    _directory: tempfile::TempDir,
}

impl Hosted {
    /// Starts the plugin and the host. Without a number of workers, the host has as many as it has by default.
    ///
    /// # Errors
    /// Returns an error if the plugin or the host cannot be started.
    pub(crate) fn new(workers: Option<usize>) -> Result<Self> {
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let directory = tempfile::tempdir()?;
        let socket = directory.path().join("kms.sock");
        let keyring = Keyring::open_or_create(&directory.path().join("keys"))?;
        let config =
            CONFIG.replace("unix:///run/vault.sock", &format!("unix://{}", socket.display()));
        let host = runtime.block_on(async {
            let listener = UnixListener::bind(&socket)?;
            let served = plugin::serve(Plugin::new(keyring), listener, std::future::pending());
            tokio::spawn(served);
            let mut builder = Host::builder().config(config);
            if let Some(workers) = workers {
                builder = builder.workers(workers);
            }
            anyhow::Ok(builder.build()?)
        })?;
        Ok(Self { host, runtime, _directory: directory })
    }

    /// Returns the host.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// Waits for a future on this thread.
    pub(crate) fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.runtime.block_on(future)
    }
}
