//! A connection to a running server, for `--connect`.

use anyhow::Context;
use dekker_cli::io::INPUT_MAX;
use dekker_cli::{Opened, ValueState};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::HOST;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::http::api::{KEY_ID_HASH, STALE, STATE};
use crate::kms::address::SocketAddress;
use crate::model::Location;

/// The characters that are percent-encoded in a query.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A connection that carries one request after another.
pub(super) struct ServerConnection {
    address: SocketAddress,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl ServerConnection {
    /// Connects to a server.
    ///
    /// # Errors
    /// Returns an error if no server listens there.
    pub(super) async fn open(address: SocketAddress) -> anyhow::Result<Self> {
        let (sender, task) = connect(&address).await?;
        Ok(Self { address, sender, task })
    }

    /// Encrypts or decrypts a value: `path` says which.
    ///
    /// # Errors
    /// Returns an outer error if the server does not answer. The inner error is the server's answer.
    pub(super) async fn ask(
        &mut self,
        path: &str,
        at: &Location,
        body: &[u8],
    ) -> anyhow::Result<anyhow::Result<Opened>> {
        let resource = percent_encode(at.resource.as_bytes(), ESCAPED);
        let key = percent_encode(&at.key, ESCAPED);
        let request = Request::post(format!("{path}?resource={resource}&key={key}"))
            .header(HOST, "dekker")
            .body(Full::new(Bytes::copy_from_slice(body)))
            .context("cannot build the request")?;
        let response = match self.send(request.clone()).await {
            Ok(response) => response,
            // The server closes a connection that was idle for too long, or that it needs for others.
            Err(_) => {
                self.task.abort();
                (self.sender, self.task) = connect(&self.address).await?;
                self.send(request).await.context("the server did not answer")?
            }
        };
        read(response).await
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        self.sender.ready().await?;
        self.sender.send_request(request).await
    }
}

impl Drop for ServerConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connect(
    address: &SocketAddress,
) -> anyhow::Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)> {
    let stream = address.connect().await.with_context(|| {
        format!("cannot reach a server at {address}; is `dekker serve` running?")
    })?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("cannot speak HTTP with the server")?;
    // An error of the connection reaches the request that waits for its answer.
    let task = tokio::spawn(async move { drop(connection.await) });
    Ok((sender, task))
}

async fn read(response: Response<Incoming>) -> anyhow::Result<anyhow::Result<Opened>> {
    let (head, body) = response.into_parts();
    let limit = usize::try_from(INPUT_MAX).unwrap_or(usize::MAX);
    let body = Limited::new(body, limit)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("cannot read the server's answer: {error}"))?;
    let bytes = Zeroizing::new(Vec::from(body.to_bytes()));
    if !head.status.is_success() {
        let problem: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let detail = problem
            .as_ref()
            .and_then(|problem| problem.get("detail"))
            .and_then(serde_json::Value::as_str);
        let detail = detail.unwrap_or("no detail");
        return Ok(Err(anyhow::anyhow!("the server answered {}: {detail}", head.status)));
    }
    let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
    Ok(Ok(Opened {
        stale: header(STALE).map(|stale| stale == "true"),
        state: header(STATE).and_then(ValueState::of_name),
        key_id_hash: header(KEY_ID_HASH).map(str::to_owned),
        bytes,
    }))
}
