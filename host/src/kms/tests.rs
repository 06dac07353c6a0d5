use std::path::Path;

use dekker_proto::kms::v2::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Server;

use super::plugin::Plugin;
use super::*;

/// Far longer than anything here takes, so that it passes only if something is wrong.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A separate server, until it is stopped.
pub(super) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Running {
    pub(super) fn plugin(plugin: Plugin, listener: UnixListener) -> Self {
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or(()) };
        let task = tokio::spawn(plugin::serve(plugin, listener, stopped));
        Self { stop, task }
    }

    /// Starts any other KMS v2 plugin.
    pub(super) fn other(service: impl KeyManagementService, listener: UnixListener) -> Self {
        let (stop, stopped) = oneshot::channel();
        let stopped = async { stopped.await.unwrap_or(()) };
        let server = Server::builder()
            .add_service(KeyManagementServiceServer::new(service))
            .serve_with_incoming_shutdown(
                tokio_stream::wrappers::UnixListenerStream::new(listener),
                stopped,
            );
        let task = tokio::spawn(server);
        Self { stop, task }
    }

    /// Stops the server after the calls in progress.
    pub(super) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }
}

/// A user that owns nothing. Not 65534, which the kernel shows for users of other namespaces.
#[cfg(target_os = "linux")]
const STRANGER: u32 = 54_321;

/// Takes root's permissions from this thread, and from no other. Root may connect to every socket.
pub(super) fn become_a_stranger() {
    #[cfg(target_os = "linux")]
    if rustix::process::geteuid().is_root() {
        let stranger = rustix::process::Uid::from_raw(STRANGER);
        rustix::thread::set_thread_res_uid(stranger, stranger, stranger).unwrap();
    }
}

pub(super) fn socket(dir: &Path) -> SocketAddress {
    SocketAddress::Path(dir.join("kms.sock"))
}

pub(super) fn new_plugin(dir: &Path) -> Plugin {
    Plugin::new(Keyring::open_or_create(dir).unwrap())
}

#[tokio::test]
async fn status_shows_the_plugins_state_and_counts() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let plugin = new_plugin(dir.path());
    let running = Running::plugin(plugin.clone(), address.bind().unwrap());
    let current = Keyring::open(dir.path()).unwrap().current().id().hash();
    let status = plugin_status(&address).await.unwrap();
    assert_eq!(
        status,
        PluginStatus {
            version: "v2".into(),
            healthz: "ok".into(),
            key_id_hash: current,
            counts: Some(Counts { status: 1, encrypt: 0, decrypt: 0 }),
        }
    );

    let rotated = rotate(dir.path()).unwrap();
    assert_eq!(rotated.keys, 2);
    let status = plugin_status(&address).await.unwrap();
    assert_eq!(status.key_id_hash, rotated.key_id_hash);
    running.stop().await;
}

#[tokio::test]
async fn status_of_another_plugin_has_no_counts() {
    let dir = tempfile::tempdir().unwrap();
    let address = socket(dir.path());
    let _running = Running::other(new_plugin(dir.path()), address.bind().unwrap());
    let status = plugin_status(&address).await.unwrap();
    assert_eq!(status.counts, None);
}

#[tokio::test]
async fn status_without_a_plugin_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let error = plugin_status(&socket(dir.path())).await.unwrap_err();
    assert!(error.to_string().contains("no KMS plugin listens"), "{error}");
}

#[test]
fn rotation_needs_a_keyring() {
    let dir = tempfile::tempdir().unwrap();
    let error = rotate(dir.path()).unwrap_err();
    assert!(error.to_string().contains("does not exist"), "{error}");
}

#[test]
fn a_key_id_is_hashed_as_upstream_does() {
    assert_eq!(
        key_id_hash(""),
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
}
