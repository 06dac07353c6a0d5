//! A KMS v1 plugin inside the test. It reverses DEKs, so that two such plugins decrypt each other's, or returns errors.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use dekker_proto::kms::v1beta1::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use dekker_proto::kms::v1beta1::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, VersionRequest,
    VersionResponse,
};
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Code, Request, Response, Status};

/// The plugin. It serves until it is dropped.
pub(crate) struct Mirror {
    refusal: Arc<Mutex<Option<Code>>>,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Mirror {
    /// Serves on `socket`.
    ///
    /// # Panics
    /// Panics outside a tokio runtime, or if it cannot listen on the socket.
    pub(crate) fn serve(socket: &Path) -> Self {
        let refusal = Arc::default();
        let listener = UnixListener::bind(socket).expect("a free socket");
        let serving = Server::builder()
            .add_service(KeyManagementServiceServer::new(Service(Arc::clone(&refusal))))
            .serve_with_incoming(UnixListenerStream::new(listener));
        Self { refusal, server: tokio::spawn(serving) }
    }

    /// Makes every call fail with this code; with `None` calls succeed.
    pub(crate) fn refuse(&self, code: Option<Code>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = code;
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Service(Arc<Mutex<Option<Code>>>);

impl Service {
    fn mirrored(&self, bytes: &[u8]) -> Result<Vec<u8>, Status> {
        match *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(code) => Err(Status::new(code, "not today")),
            None => Ok(bytes.iter().rev().copied().collect()),
        }
    }
}

#[tonic::async_trait]
impl KeyManagementService for Service {
    async fn version(
        &self,
        _: Request<VersionRequest>,
    ) -> Result<Response<VersionResponse>, Status> {
        Ok(Response::new(VersionResponse {
            version: "v1beta1".to_owned(),
            ..VersionResponse::default()
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let cipher = self.mirrored(&request.get_ref().plain)?;
        Ok(Response::new(EncryptResponse { cipher }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let plain = self.mirrored(&request.get_ref().cipher)?;
        Ok(Response::new(DecryptResponse { plain }))
    }
}
