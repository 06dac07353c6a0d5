//! Dekker's own KMS v2 plugin: a keyring behind gRPC.
//!
//! It protects stored values from whoever has the store but not the state directory. It does not protect them from whoever
//! can read the key file: for that the keys must live in a KMS or an HSM, behind another plugin.

mod accept;
mod authority;
mod guard;
mod refusals;
mod wire;

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dekker_proto::kms::v2::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use dekker_proto::kms::v2::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use dekker_proto::plugin::introspection_server::{Introspection, IntrospectionServer};
use dekker_proto::plugin::{CountsRequest, CountsResponse};
use tokio::net::UnixListener;
use tokio::sync::oneshot;
use tokio::time::sleep;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::bounds::{self, LargeMessages};
use super::keyring::{Keyring, OpenError, SealError, Snapshot};
use accept::Accepted;
use guard::GuardLayer;
use refusals::Refusals;

/// 64 KiB: the most that a caller's headers may hold. kube-apiserver's hold some hundred bytes, of which tracing may want 8 KiB more.
const MAX_HEADERS: u32 = 64 << 10;

/// 64: calls that one connection may have under way. None waits, so more would only be memory.
const MAX_STREAMS: u32 = 64;

/// 5 seconds: how long calls under way may take after the end was asked for. Ours take microseconds; but hyper waits for a connection
/// that never sent anything, so without a bound a silent caller would hold up the end for ever.
const DRAIN: Duration = Duration::from_secs(5);

/// What a healthy Status says.
const OK: &str = "ok";

/// The plugin. Clones share one keyring and one set of counters.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    /// Held while its file is looked at: as long as the disk takes, so by threads for blocking work only.
    keyring: Mutex<Keyring>,
    /// Who looks at the file; others wait here, without a thread each.
    looking: Arc<tokio::sync::Mutex<()>>,
    /// Held for microseconds. Never across an await, nor while the disk is asked.
    state: Mutex<State>,
    status: AtomicU64,
    encrypt: AtomicU64,
    decrypt: AtomicU64,
}

struct State {
    keys: Snapshot,
    /// Why the file could not be read when last looked at.
    fault: Option<String>,
}

/// Calls taken since the start, failed ones included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Status calls.
    pub status: u64,
    /// Encrypt calls.
    pub encrypt: u64,
    /// Decrypt calls.
    pub decrypt: u64,
}

impl Plugin {
    /// Serves this keyring's keys.
    pub fn new(keyring: Keyring) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State {
                keys: keyring.snapshot(),
                fault: None,
            }),
            keyring: Mutex::new(keyring),
            looking: Arc::default(),
            status: AtomicU64::new(0),
            encrypt: AtomicU64::new(0),
            decrypt: AtomicU64::new(0),
        }))
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        Counts {
            status: self.0.status.load(Ordering::Relaxed),
            encrypt: self.0.encrypt.load(Ordering::Relaxed),
            decrypt: self.0.decrypt.load(Ordering::Relaxed),
        }
    }

    /// A call that panicked can't have left it half changed: it is replaced as a whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same holds of its keys.
    fn keyring(&self) -> MutexGuard<'_, Keyring> {
        let keyring = self.0.keyring.lock();
        keyring.unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the file, on a thread that may wait for the disk. Looks do not overlap, and one that has begun ends even if the caller is gone.
    ///
    /// # Errors
    /// Returns `UNAVAILABLE` if the look did not end: it panicked, or the runtime is stopping.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> Result<T, Status> {
        let looking = self.0.looking.clone().lock_owned().await;
        let plugin = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let _looking = looking;
            look(&plugin)
        });
        looked.await.map_err(|_| {
            Status::unavailable("the keyring could not be checked: see the plugin's log")
        })
    }

    /// Takes up a rotation, or notes why it can't.
    fn refresh(&self) {
        let mut keyring = self.keyring();
        let outcome = keyring.reload_if_changed();
        let mut state = self.state();
        state.keys = keyring.snapshot();
        match outcome {
            Ok(changed) => {
                if state.fault.take().is_some() {
                    tracing::info!("the keyring can be used again");
                }
                if changed {
                    let key_id_hash = state.keys.current().id().hash();
                    tracing::info!(key_id_hash, "took up a changed keyring");
                }
            }
            Err(error) => {
                let fault = error.to_string();
                if state.fault.as_ref() != Some(&fault) {
                    tracing::warn!(%error, "the keyring can't be used; keys in memory still decrypt");
                }
                state.fault = Some(fault);
            }
        }
    }
}

impl fmt::Debug for Plugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Plugin").field(&self.counts()).finish()
    }
}

#[tonic::async_trait]
impl KeyManagementService for Plugin {
    /// Looks at the keyring's file, so this is when a rotation takes effect. With a file that can't be read it answers
    /// unhealthy, with the key ID as it was.
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.0.status.fetch_add(1, Ordering::Relaxed);
        self.look(Self::refresh).await?;
        let state = self.state();
        let healthz = state.fault.clone().unwrap_or_else(|| OK.to_owned());
        let current = state.keys.current().id();
        tracing::debug!(
            healthy = state.fault.is_none(),
            key_id_hash = current.hash(),
            "Status"
        );
        Ok(Response::new(StatusResponse {
            version: "v2".to_owned(),
            healthz,
            key_id: current.as_str().to_owned(),
        }))
    }

    /// With the key that the last Status named. Refused while the file can't be read: a new value under a key that may
    /// exist in this process's memory only could be lost with it.
    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        self.0.encrypt.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        // The file may have been replaced since the last Status.
        let checked = self.look(|plugin| plugin.keyring().check_current());
        if let Err(error) = checked.await? {
            return Err(Status::failed_precondition(error.to_string()));
        }
        let state = self.state();
        if let Some(fault) = &state.fault {
            return Err(Status::failed_precondition(fault.clone()));
        }
        let kek = state.keys.current();
        let sealed = kek.seal(&request.plaintext);
        tracing::debug!(uid = ?request.uid, key_id_hash = kek.id().hash(), ok = sealed.is_ok(), "Encrypt");
        match sealed {
            Ok(ciphertext) => Ok(Response::new(EncryptResponse {
                ciphertext,
                key_id: kek.id().as_str().to_owned(),
                annotations: Default::default(),
            })),
            Err(error @ SealError::TooLong { .. }) => {
                Err(Status::invalid_argument(error.to_string()))
            }
            Err(error @ (SealError::Entropy(_) | SealError::Cipher)) => {
                Err(Status::internal(error.to_string()))
            }
        }
    }

    /// With whichever key the request names. One that is not there may have come with a rotation since the last Status, so
    /// the file is looked at before giving up.
    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        self.0.decrypt.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        if !request.annotations.is_empty() {
            return Err(Status::invalid_argument(
                "this plugin gives no annotations, so it takes none",
            ));
        }
        let is_known = self.state().keys.find(&request.key_id).is_some();
        if !is_known {
            // The keys in memory can still decrypt if the file cannot be checked.
            self.look(Self::refresh).await.ok();
        }
        let keys = self.state().keys.clone();
        let Some(kek) = keys.find(&request.key_id) else {
            tracing::debug!(uid = ?request.uid, "Decrypt with an unknown key ID");
            return Err(Status::not_found(
                "no key in the keyring has the request's key ID: restore the keyring that encrypted this value",
            ));
        };
        let opened = kek.open(&request.ciphertext);
        tracing::debug!(uid = ?request.uid, key_id_hash = kek.id().hash(), ok = opened.is_ok(), "Decrypt");
        match opened {
            Ok(mut plaintext) => Ok(Response::new(DecryptResponse {
                plaintext: std::mem::take(&mut *plaintext),
            })),
            Err(error @ (OpenError::Layout | OpenError::Authentication)) => {
                Err(Status::invalid_argument(error.to_string()))
            }
        }
    }
}

#[tonic::async_trait]
impl Introspection for Plugin {
    async fn counts(&self, _: Request<CountsRequest>) -> Result<Response<CountsResponse>, Status> {
        let Counts {
            status,
            encrypt,
            decrypt,
        } = Plugin::counts(self);
        Ok(Response::new(CountsResponse {
            status,
            encrypt,
            decrypt,
        }))
    }
}

/// Serves until `shutdown` is ready, then gives calls under way five seconds to finish.
///
/// A file socket is guarded by its mode. An abstract one has none, so there only this user and root are let in.
///
/// # Errors
/// Only if the server can't be set up; a connection's fault ends that connection.
pub async fn serve(
    plugin: Plugin,
    listener: UnixListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    serve_and_drain(plugin, listener, shutdown, DRAIN).await
}

async fn serve_and_drain(
    plugin: Plugin,
    listener: UnixListener,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> Result<(), tonic::transport::Error> {
    let refusals = Refusals::default();
    let kms = KeyManagementServiceServer::new(plugin.clone())
        .max_decoding_message_size(bounds::MAX_MESSAGE);
    let introspection =
        IntrospectionServer::new(plugin).max_decoding_message_size(bounds::MAX_MESSAGE);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::builder()
        .http2_max_header_list_size(MAX_HEADERS)
        .max_concurrent_streams(MAX_STREAMS)
        .layer(GuardLayer::new(refusals.clone(), LargeMessages::default()))
        .add_service(kms)
        .add_service(introspection)
        .serve_with_incoming_shutdown(Accepted::new(listener, refusals), async {
            // Dropping the other end is the signal.
            stopped.await.unwrap_or(());
        });
    let overtime = async {
        shutdown.await;
        drop(stop);
        sleep(drain).await;
    };
    tokio::select! {
        ended = server => ended,
        () = overtime => {
            tracing::debug!("left connections that did not end in time");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
