//! The calls of KMS v1. Upstream: encrypt/envelope/grpc_service.go.

use std::sync::atomic::{AtomicBool, Ordering};

use dekker_proto::kms::v1beta1::key_management_service_client::KeyManagementServiceClient;
use dekker_proto::kms::v1beta1::{DecryptRequest, EncryptRequest, VersionRequest};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::answer::Plugin;
use super::{CallError, KmsClient};
use crate::kms::bounds::MAX_MESSAGE;

/// The only version.
const VERSION: &str = "v1beta1";

/// A KMS v1 plugin. Its version is checked before the first call.
#[derive(Debug)]
pub(super) struct V1 {
    client: KeyManagementServiceClient<Plugin>,
    version_checked: AtomicBool,
}

impl V1 {
    pub(super) fn new(plugin: Plugin) -> Self {
        Self {
            client: KeyManagementServiceClient::new(plugin).max_decoding_message_size(MAX_MESSAGE),
            version_checked: AtomicBool::new(false),
        }
    }

    pub(super) async fn encrypt(
        &self,
        kms: &KmsClient,
        mut plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Vec<u8>, CallError> {
        let deadline = Instant::now() + kms.timeout;
        self.check_version(kms, deadline).await?;
        let request =
            EncryptRequest { version: VERSION.to_owned(), plain: std::mem::take(&mut *plaintext) };
        let mut answer = kms
            .attempt_until(deadline, request, |request| {
                let mut client = self.client.clone();
                async move { client.encrypt(request).await }
            })
            .await?;
        Ok(std::mem::take(&mut answer.cipher))
    }

    pub(super) async fn decrypt(
        &self,
        kms: &KmsClient,
        cipher: Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let deadline = Instant::now() + kms.timeout;
        self.check_version(kms, deadline).await?;
        let request = DecryptRequest { version: VERSION.to_owned(), cipher };
        let mut answer = kms
            .attempt_until(deadline, request, |request| {
                let mut client = self.client.clone();
                async move { client.decrypt(request).await }
            })
            .await?;
        Ok(Zeroizing::new(std::mem::take(&mut answer.plain)))
    }

    /// Checks the plugin's version. Concurrent first calls may each query it; after one success, no call queries it again.
    async fn check_version(&self, kms: &KmsClient, deadline: Instant) -> Result<(), CallError> {
        if self.version_checked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let request = VersionRequest { version: VERSION.to_owned() };
        let answer = kms
            .attempt_until(deadline, request, |request| {
                let mut client = self.client.clone();
                async move { client.version(request).await }
            })
            .await
            // Upstream's two version errors are not gRPC statuses.
            .map_err(|error| CallError {
                code: 0,
                message: format!("failed get version from remote KMS provider: {error}"),
                help: error.help,
            })?;
        if answer.version != VERSION {
            return Err(CallError {
                code: 0,
                message: format!(
                    "KMS provider api version {} is not supported, only {VERSION} is supported now",
                    answer.version
                ),
                help: None,
            });
        }
        self.version_checked.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use dekker_proto::kms::v1beta1::key_management_service_server::{
        KeyManagementService, KeyManagementServiceServer,
    };
    use dekker_proto::kms::v1beta1::{DecryptResponse, EncryptResponse, VersionResponse};
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio_stream::wrappers::UnixListenerStream;
    use tonic::transport::Server;
    use tonic::{Request, Response, Status};

    use super::*;
    use crate::kms::address::SocketAddress;
    use crate::kms::tests::{PATIENCE, socket};

    /// Reverses bytes, and counts the queries for its version.
    struct Mirror {
        version: &'static str,
        versions: Arc<AtomicU32>,
    }

    #[tonic::async_trait]
    impl KeyManagementService for Mirror {
        async fn version(
            &self,
            request: Request<VersionRequest>,
        ) -> Result<Response<VersionResponse>, Status> {
            assert_eq!(request.into_inner().version, VERSION);
            self.versions.fetch_add(1, Ordering::Relaxed);
            Ok(Response::new(VersionResponse {
                version: self.version.to_owned(),
                ..VersionResponse::default()
            }))
        }

        async fn encrypt(
            &self,
            request: Request<EncryptRequest>,
        ) -> Result<Response<EncryptResponse>, Status> {
            let cipher = request.get_ref().plain.iter().rev().copied().collect();
            Ok(Response::new(EncryptResponse { cipher }))
        }

        async fn decrypt(
            &self,
            request: Request<DecryptRequest>,
        ) -> Result<Response<DecryptResponse>, Status> {
            let cipher = &request.get_ref().cipher;
            if cipher.is_empty() {
                return Err(Status::invalid_argument("nothing to decrypt"));
            }
            let plain = cipher.iter().rev().copied().collect();
            Ok(Response::new(DecryptResponse { plain }))
        }
    }

    /// A plugin that serves until it is stopped.
    struct Running {
        stop: oneshot::Sender<()>,
        task: JoinHandle<Result<(), tonic::transport::Error>>,
    }

    impl Running {
        fn at(address: &SocketAddress, version: &'static str, versions: Arc<AtomicU32>) -> Self {
            let incoming = UnixListenerStream::new(address.bind().unwrap());
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async { stopped.await.unwrap_or(()) };
            let server = Server::builder()
                .add_service(KeyManagementServiceServer::new(Mirror { version, versions }))
                .serve_with_incoming_shutdown(incoming, stopped);
            let task = tokio::spawn(server);
            Self { stop, task }
        }

        /// Ends the plugin and its connections.
        async fn stop(self) {
            self.stop.send(()).unwrap();
            self.task.await.unwrap().unwrap();
        }
    }

    async fn with_plugin(version: &'static str, test: impl AsyncFnOnce(KmsClient, Arc<AtomicU32>)) {
        let dir = tempfile::tempdir().unwrap();
        let address = socket(dir.path());
        let versions = Arc::new(AtomicU32::new(0));
        let running = Running::at(&address, version, versions.clone());
        test(KmsClient::v1(address, PATIENCE), versions).await;
        running.stop().await;
    }

    async fn round_trip(client: &KmsClient, dek: &[u8]) {
        let plaintext = Zeroizing::new(dek.to_vec());
        let encrypted = client.encrypt(String::new(), plaintext).await.unwrap();
        let none = std::collections::BTreeMap::new();
        let decrypted =
            client.decrypt(String::new(), encrypted.ciphertext, String::new(), none).await.unwrap();
        assert_eq!(*decrypted, dek);
    }

    #[tokio::test]
    async fn a_call_waits_for_a_plugin_that_starts_later() {
        let dir = tempfile::tempdir().unwrap();
        let address = socket(dir.path());
        let client = KmsClient::v1(address.clone(), PATIENCE);
        let started = async {
            // The call is polled first and finds no socket.
            tokio::task::yield_now().await;
            Running::at(&address, VERSION, Arc::default())
        };
        let ((), running) = tokio::join!(biased; round_trip(&client, b"a dek"), started);
        running.stop().await;
    }

    #[tokio::test]
    async fn a_call_during_a_restart_waits_for_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let address = socket(dir.path());
        let client = KmsClient::v1(address.clone(), PATIENCE);
        let versions = Arc::new(AtomicU32::new(0));
        let running = Running::at(&address, VERSION, versions.clone());
        round_trip(&client, b"before").await;
        running.stop().await;
        let restarted = async {
            tokio::task::yield_now().await;
            std::fs::remove_file(dir.path().join("kms.sock")).unwrap();
            Running::at(&address, VERSION, versions.clone())
        };
        let ((), running) = tokio::join!(biased; round_trip(&client, b"after"), restarted);
        assert_eq!(versions.load(Ordering::Relaxed), 1, "as upstream: once");
        running.stop().await;
    }

    #[tokio::test]
    async fn a_hundred_calls_at_once_each_have_their_own_answer() {
        with_plugin(VERSION, async |client, _| {
            let client = Arc::new(client);
            let calls = (0..100u8).map(|n| {
                let client = Arc::clone(&client);
                tokio::spawn(async move { round_trip(&client, &[n, 1, n, 2]).await })
            });
            for call in calls.collect::<Vec<_>>() {
                call.await.unwrap();
            }
        })
        .await;
    }

    #[tokio::test]
    async fn deks_round_trip_and_the_version_is_requested_once() {
        with_plugin(VERSION, async |client, versions| {
            let dek = Zeroizing::new(b"a dek".to_vec());
            let encrypted = client.encrypt(String::new(), dek).await.unwrap();
            assert_eq!((&*encrypted.ciphertext, &*encrypted.key_id), (&b"ked a"[..], ""));
            let none = std::collections::BTreeMap::new();
            let decrypted = client
                .decrypt(String::new(), encrypted.ciphertext, String::new(), none.clone())
                .await
                .unwrap();
            assert_eq!(*decrypted, b"a dek");
            let refused =
                client.decrypt(String::new(), Vec::new(), String::new(), none).await.unwrap_err();
            assert_eq!((refused.code, &*refused.message), (3, "nothing to decrypt"));
            assert_eq!(versions.load(Ordering::Relaxed), 1);
            assert_eq!(client.status().await.unwrap_err().code, 12);
        })
        .await;
    }

    #[tokio::test]
    async fn another_version_is_refused_each_time() {
        with_plugin("v1beta2", async |client, versions| {
            for _ in 0..2 {
                let dek = Zeroizing::new(b"a dek".to_vec());
                let error = client.encrypt(String::new(), dek).await.unwrap_err();
                assert_eq!(
                    error.to_string(),
                    "KMS provider api version v1beta2 is not supported, only v1beta1 is supported now"
                );
            }
            assert_eq!(versions.load(Ordering::Relaxed), 2);
        })
        .await;
    }

    #[tokio::test]
    async fn a_call_without_a_plugin_ends_at_its_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let client = KmsClient::v1(socket(dir.path()), Duration::from_millis(50));
        let dek = Zeroizing::new(b"a dek".to_vec());
        let error = client.encrypt(String::new(), dek).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(
                "failed get version from remote KMS provider: rpc error: code = DeadlineExceeded desc = latest balancer error: "
            ),
            "{text}"
        );
    }
}
