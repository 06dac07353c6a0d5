//! Dekker's own KMS v2 plugin: a keyring behind gRPC.
//!
//! It protects stored values from an attacker who has the store but not the state directory. It does not protect them from an attacker who can read
//! the key file. For that, the keys must be in a KMS or an HSM, behind another plugin.

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

/// 64 KiB: the maximum size of a caller's headers. kube-apiserver's have a few hundred bytes; tracing may add 8 KiB.
const MAX_HEADERS: u32 = 64 << 10;

/// 64: the maximum number of concurrent calls on one connection. A call ends within microseconds or waits for the disk, so more would only cost
/// memory.
const MAX_STREAMS: u32 = 64;

/// 5 seconds: the time for calls in progress after a stop is requested. The plugin's calls take microseconds, but hyper waits for a connection that
/// never sent anything, so without a limit a silent client would delay the end indefinitely.
const DRAIN: Duration = Duration::from_secs(5);

/// The health text of a healthy Status.
const OK: &str = "ok";

/// The plugin. Clones share one keyring and one set of counters.
#[derive(Clone)]
pub struct Plugin(Arc<Inner>);

struct Inner {
    /// Locked while its file is checked, for as long as the disk takes. So only threads for blocking work may lock it.
    keyring: Mutex<Keyring>,
    /// Held by the call that checks the file. Other calls wait here without taking a thread each.
    looking: Arc<tokio::sync::Mutex<()>>,
    /// Locked for microseconds. Never held across an await or during disk access.
    state: Mutex<State>,
    status: AtomicU64,
    encrypt: AtomicU64,
    decrypt: AtomicU64,
}

struct State {
    keys: Snapshot,
    /// The error of the last check of the file.
    fault: Option<String>,
}

/// The number of calls since the start, including failed ones.
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
    /// Creates a plugin that serves this keyring's keys.
    pub fn new(keyring: Keyring) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State { keys: keyring.snapshot(), fault: None }),
            keyring: Mutex::new(keyring),
            looking: Arc::default(),
            status: AtomicU64::new(0),
            encrypt: AtomicU64::new(0),
            decrypt: AtomicU64::new(0),
        }))
    }

    /// Returns the counts so far.
    pub fn counts(&self) -> Counts {
        Counts {
            status: self.0.status.load(Ordering::Relaxed),
            encrypt: self.0.encrypt.load(Ordering::Relaxed),
            decrypt: self.0.decrypt.load(Ordering::Relaxed),
        }
    }

    /// A poisoned lock is safe to use: a panic cannot leave the state half changed, because it is replaced as a whole.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A poisoned lock is safe to use: the keys are replaced as a whole too.
    fn keyring(&self) -> MutexGuard<'_, Keyring> {
        let keyring = self.0.keyring.lock();
        keyring.unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a check of the file on a thread that may wait for the disk. Only one check runs at a time, and it runs to its end even if the caller is
    /// gone.
    ///
    /// # Errors
    /// Returns `UNAVAILABLE` if the check panicked or the runtime is shutting down.
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

    /// Loads a changed keyring, or records why it cannot be loaded.
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
                    tracing::info!(key_id_hash, "loaded a changed keyring");
                }
            }
            Err(error) => {
                let fault = error.to_string();
                if state.fault.as_ref() != Some(&fault) {
                    tracing::warn!(%error, "the keyring cannot be used; keys in memory still decrypt");
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
    /// Checks the keyring's file, so this is when a rotation takes effect. If the file cannot be read, it reports unhealthy, with the key ID
    /// unchanged.
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.0.status.fetch_add(1, Ordering::Relaxed);
        self.look(Self::refresh).await?;
        let state = self.state();
        let healthz = state.fault.clone().unwrap_or_else(|| OK.to_owned());
        let current = state.keys.current().id();
        tracing::debug!(healthy = state.fault.is_none(), key_id_hash = current.hash(), "Status");
        Ok(Response::new(StatusResponse {
            version: "v2".to_owned(),
            healthz,
            key_id: current.as_str().to_owned(),
        }))
    }

    /// Encrypts with the key that the last Status reported. Fails while the file cannot be read: the key may exist only in this process's memory, and
    /// a new value would be lost with it.
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

    /// Decrypts with the key that the request names. An unknown key may have been added by a rotation since the last Status, so the file is checked
    /// before the call fails.
    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        self.0.decrypt.fetch_add(1, Ordering::Relaxed);
        let request = request.into_inner();
        if !request.annotations.is_empty() {
            return Err(Status::invalid_argument(
                "this plugin never returns annotations, so it accepts none",
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
            Ok(mut plaintext) => {
                Ok(Response::new(DecryptResponse { plaintext: std::mem::take(&mut *plaintext) }))
            }
            Err(error @ (OpenError::Layout | OpenError::Authentication)) => {
                Err(Status::invalid_argument(error.to_string()))
            }
        }
    }
}

#[tonic::async_trait]
impl Introspection for Plugin {
    async fn counts(&self, _: Request<CountsRequest>) -> Result<Response<CountsResponse>, Status> {
        let Counts { status, encrypt, decrypt } = Plugin::counts(self);
        Ok(Response::new(CountsResponse { status, encrypt, decrypt }))
    }
}

/// Serves until `shutdown` completes, then gives the calls in progress five seconds to finish.
///
/// A socket with a file is protected by the file's mode. An abstract socket has no mode, so the plugin accepts only this user and root there.
///
/// # Errors
/// Returns an error only if the server cannot be set up. An error of a connection ends only that connection.
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
            // The signal is that the sender is dropped.
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
            tracing::debug!("stopped waiting for connections that did not end in time");
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
