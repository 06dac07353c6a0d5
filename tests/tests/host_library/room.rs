//! The environment of each test: a separate directory with a plugin in it.

use dekker_host::{Decrypted, Host, HostBuilder, HostError, Location, TransformError};
use tempfile::TempDir;

use crate::scripted::Scripted;
use crate::wait::until;

pub(crate) struct Room {
    pub plugin: Scripted,
    dir: TempDir,
}

impl Room {
    pub(crate) fn new() -> Self {
        // In /tmp regardless of TMPDIR, because a unix socket's path is limited to 107 bytes.
        let dir = tempfile::Builder::new()
            .prefix("dk")
            .tempdir_in("/tmp")
            .expect("a temporary directory");
        let plugin = Scripted::serve(&dir.path().join("kms.sock"), "key-1");
        Self { plugin, dir }
    }

    /// Returns a builder for a host with this room's plugin, whose calls may take up to `timeout`.
    pub(crate) fn builder(&self, timeout: &str) -> HostBuilder {
        Host::builder().config(self.config(timeout))
    }

    /// Returns a configuration in which this room's plugin serves secrets.
    pub(crate) fn config(&self, timeout: &str) -> String {
        let socket = self.dir.path().join("kms.sock");
        format!(
            "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n  \
             - kms: {{apiVersion: v2, name: a, endpoint: \"unix://{}\", timeout: {timeout}}}\n",
            socket.display()
        )
    }

    pub(crate) fn host(&self) -> Host {
        self.builder("1m").build().expect("a valid configuration")
    }
}

/// Returns a location whose resource is `len` bytes long. Values stay in the host, so only a resource can be too large for an instance.
pub(crate) fn large(len: usize) -> Location {
    Location { resource: "r".repeat(len), key: b"/large".to_vec() }
}

/// Returns the location of a secret.
pub(crate) fn at(key: &str) -> Location {
    Location { resource: "secrets".to_owned(), key: key.as_bytes().to_vec() }
}

/// Encrypts a value; this must succeed.
pub(crate) async fn write(host: &Host, key: &str, plaintext: &[u8]) -> Vec<u8> {
    let written = host.to_storage(at(key), plaintext.to_vec().into()).await;
    written.expect("a write").stored
}

/// Decrypts a value; this must succeed.
pub(crate) async fn read(host: &Host, key: &str, stored: &[u8]) -> Decrypted {
    let read = host.from_storage(at(key), stored.to_vec()).await;
    read.expect("a read")
}

/// Returns the engine's error.
pub(crate) fn fault<T: std::fmt::Debug>(outcome: Result<T, HostError>) -> TransformError {
    match outcome {
        Err(HostError::Transform(error)) => error,
        other => panic!("{other:?} is not an error of the engine"),
    }
}

/// Waits until this many operations are parked in the engine.
pub(crate) async fn until_parked(host: &Host, expected: u64) {
    until(&format!("{expected} operations are parked"), async || {
        let status = host.status().await.ok()?;
        (status["parkedOperations"] == expected).then_some(())
    })
    .await;
}
