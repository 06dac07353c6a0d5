//! A scriptable KMS v2 plugin inside the test. It records its calls.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dekker_proto::kms::v2::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use dekker_proto::kms::v2::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

/// The plugin. Clones share one script. It serves until the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Scripted {
    shared: Arc<Shared>,
    _server: Arc<Serving>,
}

struct Shared {
    script: Mutex<Script>,
    /// The kind of calls that hang, if any.
    hanging: watch::Sender<Option<Call>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Status,
    Decrypt,
}

/// The plugin's answers and a record of its calls.
pub(crate) struct Script {
    pub key_id: String,
    pub healthz: String,
    pub calls: Counts,
    /// Every plaintext that it received, in order: DEKs.
    pub deks: Vec<Vec<u8>>,
    sealed: HashMap<Vec<u8>, (String, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub status: u64,
    pub encrypt: u64,
    pub decrypt: u64,
}

impl Scripted {
    /// Serves on `socket` as a healthy plugin.
    ///
    /// # Panics
    /// Panics outside a tokio runtime, or if it cannot listen on the socket.
    pub(crate) fn serve(socket: &Path, key_id: &str) -> Self {
        let script = Script {
            key_id: key_id.to_owned(),
            healthz: "ok".to_owned(),
            calls: Counts::default(),
            deks: Vec::new(),
            sealed: HashMap::new(),
        };
        let shared =
            Arc::new(Shared { script: Mutex::new(script), hanging: watch::Sender::new(None) });
        let listener = UnixListener::bind(socket).expect("a free socket");
        let service = KeyManagementServiceServer::new(Service(shared.clone()));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(UnixListenerStream::new(listener));
        Self { shared, _server: Arc::new(Serving(tokio::spawn(serving))) }
    }

    /// Locks the script to read or change it.
    pub(crate) fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.script()
    }

    pub(crate) fn calls(&self) -> Counts {
        self.script().calls
    }

    /// Makes calls of this kind count and then hang, until [`Scripted::let_go`].
    pub(crate) fn hang(&self, call: Call) {
        self.shared.hanging.send_replace(Some(call));
    }

    pub(crate) fn let_go(&self) {
        self.shared.hanging.send_replace(None);
    }
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn gate(&self, call: Call) {
        let mut hanging = self.hanging.subscribe();
        // The sender lives as long as `self`.
        let _ = hanging.wait_for(|hanging| *hanging != Some(call)).await;
    }
}

struct Serving(JoinHandle<Result<(), tonic::transport::Error>>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The annotations of every encrypted DEK, which Decrypt must receive again.
fn annotations() -> BTreeMap<String, Vec<u8>> {
    [("test.dekker.example".to_owned(), b"annotated".to_vec())].into()
}

struct Service(Arc<Shared>);

#[tonic::async_trait]
impl KeyManagementService for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.0.script().calls.status += 1;
        self.0.gate(Call::Status).await;
        let script = self.0.script();
        Ok(Response::new(StatusResponse {
            version: "v2".to_owned(),
            healthz: script.healthz.clone(),
            key_id: script.key_id.clone(),
        }))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let plaintext = request.get_ref().plaintext.clone();
        let mut script = self.0.script();
        script.calls.encrypt += 1;
        script.deks.push(plaintext.clone());
        let key_id = script.key_id.clone();
        let ciphertext = format!("sealed DEK {}", script.deks.len()).into_bytes();
        let sealed = (key_id.clone(), plaintext);
        script.sealed.insert(ciphertext.clone(), sealed);
        Ok(Response::new(EncryptResponse { ciphertext, key_id, annotations: annotations() }))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        self.0.script().calls.decrypt += 1;
        self.0.gate(Call::Decrypt).await;
        let request = request.get_ref();
        let script = self.0.script();
        match script.sealed.get(&request.ciphertext) {
            Some((key_id, plaintext))
                if *key_id == request.key_id && request.annotations == annotations() =>
            {
                let plaintext = plaintext.clone();
                Ok(Response::new(DecryptResponse { plaintext }))
            }
            Some(_) | None => Err(Status::not_found("this plugin encrypted no such thing")),
        }
    }
}
