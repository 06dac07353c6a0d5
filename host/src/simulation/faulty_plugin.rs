//! A faulty KMS plugin: Dekker's own plugin behind a layer that returns wrong answers, stalls and crashes.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use dekker_proto::kms::v2::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use dekker_proto::kms::v2::{
    DecryptRequest, DecryptResponse, EncryptRequest, EncryptResponse, StatusRequest, StatusResponse,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio_stream::Stream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::seams;
use crate::kms::address::SocketAddress;
use crate::kms::keyring::Keyring;
use crate::kms::plugin::Plugin;

/// How a plugin handles its calls.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mood {
    Well,
    /// Accepts calls but never answers.
    Hangs,
    /// Reports a health other than `ok` in Status.
    Unhealthy,
    /// Status returns a key ID that Encrypt does not return.
    NamesAnotherKey,
    /// Encrypt returns a ciphertext that cannot be decrypted.
    Garbles,
    /// Encrypt returns a key ID that Status does not return.
    EncryptsWithAnotherKey,
    CannotDecrypt,
    /// Decrypt returns a DEK other than the one that was encrypted.
    DecryptsWrongly,
    /// Each answer takes this long.
    Slow(Duration),
    /// Closes the connection instead of answering.
    Cuts,
    /// Returns another key ID with each Status.
    Flips,
    Fails,
    /// Each call may be carried out and its answer lost, late or cut off.
    Loses,
}

/// A plugin with its keyring and its socket.
#[derive(Clone)]
pub(super) struct FaultyPlugin(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    socket: PathBuf,
    state: Mutex<State>,
}

struct State {
    mood: Mood,
    /// The API version that Status returns.
    version: &'static str,
    /// `None` while the plugin is not running.
    running: Option<Running>,
    random: fastrand::Rng,
    flips: usize,
    /// For each key ID: when the last Status call arrived that was answered with it and with `ok`.
    good: HashMap<String, Duration>,
    /// For each key ID: when the last Status call arrived that was answered with it, whatever the health.
    named: HashMap<String, Duration>,
    /// For each encrypted DEK source: the SHA-256 hash of the DEK or seed.
    sources: HashMap<Vec<u8>, [u8; 32]>,
}

struct Running {
    real: Plugin,
    server: AbortHandle,
}

impl FaultyPlugin {
    /// Creates a plugin that is not started. Its keyring has one key.
    pub(super) fn new(root: &Path, name: &str, seed: u64) -> Self {
        let directory = root.join(name);
        Keyring::open_or_create(&directory).expect("a keyring in a fresh directory");
        Self(Arc::new(Inner {
            socket: root.join(format!("{name}.sock")),
            directory,
            state: Mutex::new(State {
                mood: Mood::Well,
                version: "v2",
                running: None,
                random: fastrand::Rng::with_seed(seed),
                flips: 0,
                good: HashMap::new(),
                named: HashMap::new(),
                sources: HashMap::new(),
            }),
        }))
    }

    pub(super) fn name(&self) -> std::borrow::Cow<'_, str> {
        let name = self.0.directory.file_name().unwrap_or_default();
        name.to_string_lossy()
    }

    /// Starts the plugin if it is not running and its keyring can be read.
    pub(super) fn start(&self) {
        if self.is_running() {
            return;
        }
        let Ok(keyring) = Keyring::open(&self.0.directory) else {
            return;
        };
        // A killed plugin leaves its socket behind.
        let _ = std::fs::remove_file(&self.0.socket);
        let listener = SocketAddress::Path(self.0.socket.clone()).bind();
        let incoming = Incoming(listener.expect("a socket in the world's directory"));
        let service = KeyManagementServiceServer::new(self.clone());
        let server = Server::builder().add_service(service);
        let server = tokio::spawn(async move {
            // Ends when the plugin is killed.
            let _ = server.serve_with_incoming(incoming).await;
        });
        self.state().running =
            Some(Running { real: Plugin::new(keyring), server: server.abort_handle() });
    }

    /// Ends the plugin as `kill -9` does: the file of its socket remains.
    pub(super) fn kill(&self) {
        let running = self.state().running.take();
        if let Some(running) = running {
            running.server.abort();
            seams::cut(&self.0.socket);
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.state().running.is_some()
    }

    pub(super) fn mood(&self) -> Mood {
        self.state().mood
    }

    pub(super) fn turn(&self, mood: Mood) {
        self.state().mood = mood;
    }

    pub(super) fn turn_version(&self, version: &'static str) {
        self.state().version = version;
    }

    /// Returns the number of DEKs and seeds that the plugin has encrypted.
    pub(super) fn encrypted(&self) -> usize {
        self.state().sources.len()
    }

    /// Adds a key, as `dekker kms rotate` does while a plugin runs. Returns whether this succeeded.
    pub(super) fn rotate(&self) -> bool {
        rotate(&self.0.directory)
    }

    /// Returns when the last Status call arrived that was answered with this key ID. With `healthy`, only calls answered with `ok` count.
    pub(super) fn last_status(&self, key_id: &str, healthy: bool) -> Option<Duration> {
        let state = self.state();
        let times = if healthy { &state.good } else { &state.named };
        times.get(key_id).copied()
    }

    /// Returns the hash of the DEK or seed in this encrypted DEK source.
    pub(super) fn dek(&self, encrypted: &[u8]) -> Option<[u8; 32]> {
        self.state().sources.get(encrypted).copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn real(&self) -> Result<Plugin, Status> {
        let state = self.state();
        let running = state.running.as_ref();
        running.map(|running| running.real.clone()).ok_or_else(|| Status::unavailable("killed"))
    }

    /// Delays, cuts off or fails an answer, according to the mood.
    async fn delay(&self) -> Result<(), Status> {
        let (mood, dice) = {
            let mut state = self.state();
            (state.mood, state.random.u32(..))
        };
        match mood {
            Mood::Hangs => std::future::pending().await,
            Mood::Slow(time) => tokio::time::sleep(time).await,
            Mood::Cuts => self.cut().await,
            Mood::Fails => return Err(Status::internal("a fault")),
            Mood::Loses => match dice % 8 {
                0 => std::future::pending().await,
                1 => self.cut().await,
                2 => return Err(Status::unavailable("lost")),
                3 => {
                    let millis = u64::from(dice >> 3) % 6000;
                    tokio::time::sleep(Duration::from_millis(millis)).await;
                }
                _ => {}
            },
            Mood::Well
            | Mood::Unhealthy
            | Mood::NamesAnotherKey
            | Mood::Garbles
            | Mood::EncryptsWithAnotherKey
            | Mood::CannotDecrypt
            | Mood::DecryptsWrongly
            | Mood::Flips => {}
        }
        Ok(())
    }

    async fn cut(&self) {
        seams::cut(&self.0.socket);
        std::future::pending().await
    }

    /// Returns the keyring. If it has only one key and `flips` is not 0, adds a second key.
    fn flipped(&self, flips: usize) -> Option<Keyring> {
        let keyring = Keyring::open(&self.0.directory).ok()?;
        if keyring.keys().len() < 2 && flips > 0 {
            self.rotate();
            return Keyring::open(&self.0.directory).ok();
        }
        Some(keyring)
    }
}

#[tonic::async_trait]
impl KeyManagementService for FaultyPlugin {
    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let came = seams::boot_time().unwrap_or_default();
        let mut answer = self.real()?.status(request).await?.into_inner();
        let mood = self.mood();
        match mood {
            Mood::Unhealthy => answer.healthz = "tired".to_owned(),
            Mood::NamesAnotherKey => answer.key_id = "another".to_owned(),
            Mood::Flips => {
                let flips = {
                    let mut state = self.state();
                    state.flips += 1;
                    state.flips
                };
                if let Some(keyring) = self.flipped(flips) {
                    let keys = keyring.keys();
                    answer.key_id = keys[flips % keys.len()].id().as_str().to_owned();
                }
            }
            _ => {}
        }
        self.delay().await?;
        let mut state = self.state();
        answer.version = state.version.to_owned();
        // A slow answer may come after the answer to a later call.
        latest(&mut state.named, &answer.key_id, came);
        if answer.healthz == "ok" {
            latest(&mut state.good, &answer.key_id, came);
        }
        Ok(Response::new(answer))
    }

    async fn encrypt(
        &self,
        request: Request<EncryptRequest>,
    ) -> Result<Response<EncryptResponse>, Status> {
        let request = request.into_inner();
        let dek = sha256(&request.plaintext);
        let mood = self.mood();
        let flips = self.state().flips;
        let flipped = match mood {
            Mood::Flips => self.flipped(flips),
            _ => None,
        };
        let mut answer = match flipped {
            Some(keyring) => {
                let keys = keyring.keys();
                let kek = &keys[flips % keys.len()];
                let ciphertext = kek.seal(&request.plaintext);
                EncryptResponse {
                    ciphertext: ciphertext.map_err(|error| Status::internal(error.to_string()))?,
                    key_id: kek.id().as_str().to_owned(),
                    annotations: Default::default(),
                }
            }
            None => self.real()?.encrypt(Request::new(request)).await?.into_inner(),
        };
        match mood {
            Mood::Garbles => answer.ciphertext[15] ^= 1,
            Mood::EncryptsWithAnotherKey => answer.key_id = "another".to_owned(),
            _ => {}
        }
        self.state().sources.insert(answer.ciphertext.clone(), dek);
        self.delay().await?;
        Ok(Response::new(answer))
    }

    async fn decrypt(
        &self,
        request: Request<DecryptRequest>,
    ) -> Result<Response<DecryptResponse>, Status> {
        let mood = self.mood();
        if mood == Mood::CannotDecrypt {
            return Err(Status::failed_precondition("no"));
        }
        let mut answer = self.real()?.decrypt(request).await?.into_inner();
        if mood == Mood::DecryptsWrongly {
            answer.plaintext[0] ^= 1;
        }
        self.delay().await?;
        Ok(Response::new(answer))
    }
}

fn latest(times: &mut HashMap<String, Duration>, key_id: &str, came: Duration) {
    let time = times.entry(key_id.to_owned()).or_default();
    *time = came.max(*time);
}

/// Adds a key to the keyring in a directory. Returns whether this succeeded.
pub(super) fn rotate(directory: &Path) -> bool {
    Keyring::open(directory).is_ok_and(|mut keyring| keyring.rotate().is_ok())
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).into()
}

/// A listener's connections. Each is registered with the simulation.
struct Incoming(UnixListener);

impl Stream for Incoming {
    type Item = std::io::Result<UnixStream>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = ready!(self.0.poll_accept(cx));
        Poll::Ready(Some(accepted.map(|(stream, _)| {
            seams::accepted(&stream);
            stream
        })))
    }
}
