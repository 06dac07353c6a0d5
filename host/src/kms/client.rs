//! The client of a KMS plugin.
//!
//! There is one HTTP/2 connection per plugin. It is opened by the first call and opened again after it breaks. A call waits for the socket to appear,
//! as with grpc-go's `WaitForReady`; its deadline bounds that wait too.
//!
//! KMS v1 (`v1beta1.KeyManagementService`) uses the same socket, deadline and waiting, but other messages.

mod answer;
mod connection;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod v1;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dekker_proto::kms::v2::key_management_service_client::KeyManagementServiceClient;
use dekker_proto::kms::v2::{DecryptRequest, EncryptRequest, StatusRequest};
use tokio::time::{Instant, timeout_at};
use tonic::{Code, ConnectError, Request, Response};
use zeroize::Zeroizing;

use self::answer::Plugin;
use self::connection::{Link, Pauses};
use self::v1::V1;
use super::address::SocketAddress;
use super::bounds::MAX_MESSAGE;

/// The number of lost connections at which a call fails. A first loss is normal when a plugin restarts; more than a few are an error of the plugin,
/// perhaps caused by this call. Repeating a call is safe: no KMS call changes the plugin's state.
const MAX_LOSSES: u32 = 3;

/// A KMS plugin, over its unix socket. Dropping the client closes the connection.
#[derive(Debug)]
pub struct KmsClient {
    api: Api,
    plugin: Plugin,
    link: Arc<Link>,
    timeout: Duration,
}

/// The service that the plugin speaks, one of upstream's two.
#[derive(Debug)]
enum Api {
    V2(KeyManagementServiceClient<Plugin>),
    V1(V1),
}

impl KmsClient {
    /// Creates a client for a KMS v2 plugin. `timeout` is the deadline of each call. Does not connect yet.
    ///
    /// # Panics
    /// Panics outside a tokio runtime, in which the connection's task runs.
    pub fn v2(address: SocketAddress, timeout: Duration) -> Self {
        let link = Link::new(address);
        let plugin = Plugin::new(link.channel());
        let client =
            KeyManagementServiceClient::new(plugin.clone()).max_decoding_message_size(MAX_MESSAGE);
        Self { api: Api::V2(client), plugin, link, timeout }
    }

    /// Creates a client for a KMS v1 plugin. `timeout` is the deadline of each call. Does not connect yet.
    ///
    /// # Panics
    /// Panics outside a tokio runtime, in which the connection's task runs.
    pub fn v1(address: SocketAddress, timeout: Duration) -> Self {
        let link = Link::new(address);
        let plugin = Plugin::new(link.channel());
        Self { api: Api::V1(V1::new(plugin.clone())), plugin, link, timeout }
    }

    /// Queries the plugin's health and its current key ID. KMS v1 has no such call. The answer is not checked here, but the version and the health
    /// text are cut to 4 KiB.
    ///
    /// # Errors
    /// Returns the plugin's error, or the reason why there is no answer. With KMS v1 the error is `Unimplemented`.
    pub async fn status(&self) -> Result<Status, CallError> {
        let Api::V2(client) = &self.api else {
            return Err(CallError {
                code: Code::Unimplemented as u32,
                message: "KMS v1 has no Status".to_owned(),
                help: None,
            });
        };
        let status = self
            .attempt(StatusRequest {}, |request| {
                let mut client = client.clone();
                async move { client.status(request).await }
            })
            .await?;
        let (mut version, mut healthz) = (status.version, status.healthz);
        answer::cut(&mut version);
        answer::cut(&mut healthz);
        Ok(Status { version, healthz, key_id: status.key_id })
    }

    /// Asks the plugin to encrypt a DEK source. The answer is not checked here.
    ///
    /// `plaintext` and every message that carries it are wiped when the call is over. The buffers into which tonic and hyper encode it for the
    /// socket, and the kernel's, are not.
    ///
    /// # Errors
    /// Returns the plugin's error, or the reason why there is no answer.
    pub async fn encrypt(
        &self,
        uid: String,
        mut plaintext: Zeroizing<Vec<u8>>,
    ) -> Result<Encrypted, CallError> {
        let client = match &self.api {
            Api::V2(client) => client,
            Api::V1(v1) => {
                return Ok(Encrypted {
                    ciphertext: v1.encrypt(self, plaintext).await?,
                    key_id: String::new(),
                    annotations: BTreeMap::new(),
                });
            }
        };
        let request = EncryptRequest { plaintext: std::mem::take(&mut *plaintext), uid };
        let encrypted = self
            .attempt(request, |request| {
                let mut client = client.clone();
                async move { client.encrypt(request).await }
            })
            .await?;
        Ok(Encrypted {
            ciphertext: encrypted.ciphertext,
            key_id: encrypted.key_id,
            annotations: encrypted.annotations,
        })
    }

    /// Asks the plugin to decrypt a DEK source. The answer is not checked here.
    ///
    /// The answer is wiped when it is dropped. The buffers in which tonic and hyper received it are not.
    ///
    /// # Errors
    /// Returns the plugin's error, or the reason why there is no answer.
    pub async fn decrypt(
        &self,
        uid: String,
        ciphertext: Vec<u8>,
        key_id: String,
        annotations: BTreeMap<String, Vec<u8>>,
    ) -> Result<Zeroizing<Vec<u8>>, CallError> {
        let client = match &self.api {
            Api::V2(client) => client,
            Api::V1(v1) => return v1.decrypt(self, ciphertext).await,
        };
        let request = DecryptRequest { ciphertext, uid, key_id, annotations };
        let mut decrypted = self
            .attempt(request, |request| {
                let mut client = client.clone();
                async move { client.decrypt(request).await }
            })
            .await?;
        Ok(Zeroizing::new(std::mem::take(&mut decrypted.plaintext)))
    }

    /// Returns the connection, for another service on the same socket.
    pub(super) fn plugin(&self) -> Plugin {
        self.plugin.clone()
    }

    /// Makes one call. Repeats it if its connection was lost, until the deadline.
    ///
    /// Each future owns what it needs. With a future that borrows, the compiler cannot prove that a call may move between threads.
    pub(super) async fn attempt<M, T, F>(
        &self,
        message: M,
        call: impl FnMut(Request<M>) -> F,
    ) -> Result<T, CallError>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, tonic::Status>>,
    {
        let deadline = Instant::now() + self.timeout;
        self.attempt_until(deadline, message, call).await
    }

    /// Like [`Self::attempt`], for a call that shares its deadline with another.
    async fn attempt_until<M, T, F>(
        &self,
        deadline: Instant,
        message: M,
        mut call: impl FnMut(Request<M>) -> F,
    ) -> Result<T, CallError>
    where
        M: Clone,
        F: Future<Output = Result<Response<T>, tonic::Status>>,
    {
        let attempts = async {
            let mut losses = 0;
            let mut pauses = Pauses::default();
            loop {
                let mut request = Request::new(message.clone());
                request.set_timeout(deadline.saturating_duration_since(Instant::now()));
                let status = match call(request).await {
                    Ok(response) => return Ok(response.into_inner()),
                    Err(status) => status,
                };
                let Some(cause) = lost_connection(&status) else {
                    let help = self.help(&status);
                    return Err(CallError { help, ..CallError::from(status) });
                };
                losses += 1;
                tracing::debug!(cause, losses, "a KMS call lost its connection");
                if losses == MAX_LOSSES {
                    return Err(CallError {
                        code: Code::Unavailable as u32,
                        message: format!("the connection to the KMS plugin was lost: {cause}"),
                        help: None,
                    });
                }
                pauses.wait().await;
            }
        };
        match timeout_at(deadline, attempts).await {
            Ok(Ok(answer)) => Ok(answer),
            // The plugin knows the deadline too. The error is the same, whichever side notices first.
            Ok(Err(error)) if Instant::now() < deadline => Err(error),
            Ok(Err(_)) | Err(_) => Err(self.link.deadline_exceeded()),
        }
    }

    /// Returns the cause and the remedy of an error that the plugin returned. A server that lacks the called service may be a plugin of the other API.
    fn help(&self, status: &tonic::Status) -> Option<String> {
        if status.code() != Code::Unimplemented {
            return None;
        }
        let (service, other) = match &self.api {
            Api::V2(_) => ("KMS v2 (`v2.KeyManagementService`)", "v1 plugin, set `apiVersion: v1`"),
            Api::V1(_) => (
                "KMS v1 (`v1beta1.KeyManagementService`), which is used if a provider has no `apiVersion`",
                "v2 plugin, set `apiVersion: v2`",
            ),
        };
        Some(format!(
            "the server on {} does not offer {service}: if it is a KMS {other} for this provider in the EncryptionConfiguration; \
             otherwise correct the endpoint",
            self.link.address()
        ))
    }
}

/// Returns why the connection was lost, or `None` if it was not. The plugin may or may not have received the call.
///
/// tonic attaches a cause to each status that it creates itself; a status that represents the plugin's answer has none ([`answer`]). A [`Link`]
/// fails to connect only if another attempt would be useless, so its error is not a loss.
fn lost_connection(status: &tonic::Status) -> Option<String> {
    let mut cause = status.source();
    let mut last = None;
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return None;
        }
        if error
            .downcast_ref::<h2::Error>()
            .is_some_and(|error| error.is_library() && error.is_go_away())
        {
            return Some(format!(
                "the server on this socket does not speak gRPC as a KMS plugin does: {error}"
            ));
        }
        last = Some(error);
        cause = error.source();
    }
    last.map(ToString::to_string)
}

/// A plugin's answer to Status, unchecked.
#[derive(Clone, PartialEq, Eq)]
pub struct Status {
    /// The API's version.
    pub version: String,
    /// `ok`, or the error that the plugin reports.
    pub healthz: String,
    /// The ID of the key that Encrypt currently uses.
    pub key_id: String,
}

/// Shows only the hash of the key ID.
impl fmt::Debug for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Status")
            .field("version", &self.version)
            .field("healthz", &self.healthz)
            .field("key_id", &super::key_id_hash(&self.key_id))
            .finish()
    }
}

/// A plugin's answer to Encrypt, unchecked.
#[derive(Clone, PartialEq, Eq)]
pub struct Encrypted {
    /// The encrypted DEK source.
    pub ciphertext: Vec<u8>,
    /// The ID of the key that encrypted it.
    pub key_id: String,
    /// What the plugin needs again to decrypt it.
    pub annotations: BTreeMap<String, Vec<u8>>,
}

/// Shows only the hash of the key ID, and the ciphertext's length and the annotations' names.
impl fmt::Debug for Encrypted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encrypted")
            .field("ciphertext_len", &self.ciphertext.len())
            .field("key_id", &super::key_id_hash(&self.key_id))
            .field("annotations", &self.annotations.keys())
            .finish()
    }
}

/// A failed call, with the code and the message that kube-apiserver's client would report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallError {
    /// gRPC's status code, 1 to 16; 0 for an error that is not a gRPC status, such as an unsupported version of a KMS v1 plugin.
    pub code: u32,
    /// The plugin's error message, cut to 4 KiB, or what failed.
    pub message: String,
    /// The cause and the remedy, if they are known, for the log and the command line. Upstream has no such text, so it is not part of `Display`.
    pub help: Option<String>,
}

impl From<tonic::Status> for CallError {
    fn from(status: tonic::Status) -> Self {
        Self { code: status.code() as u32, message: status.message().to_owned(), help: None }
    }
}

/// Prints the error as grpc-go prints a status, because upstream's messages embed it: `rpc error: code = NotFound desc = …`.
impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = i32::try_from(self.code).map_or(Code::Unknown, Code::from_i32);
        let message = &self.message;
        match code {
            Code::Ok => f.write_str(message),
            // Go's spelling has one l.
            Code::Cancelled => write!(f, "rpc error: code = Canceled desc = {message}"),
            code => write!(f, "rpc error: code = {code:?} desc = {message}"),
        }
    }
}

impl Error for CallError {}

#[cfg(test)]
mod tests;
