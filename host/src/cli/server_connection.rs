//! A connection to a running server, for `--connect`.

use anyhow::Context;
use dekker_cli::io::INPUT_MAX;
use dekker_cli::{Opened, ValueState};
use dekker_proto::values::{Outcome, State, Value};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, HeaderMap};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use prost::Message;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use crate::http::api::{FROM_STORAGE_MANY, KEY_ID_HASH, STALE, STATE};
use crate::kms::address::SocketAddress;
use crate::model::{Location, Plaintext};

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
        let uri = format!("{path}?resource={resource}&key={key}");
        let answer = self.post(&uri, Bytes::copy_from_slice(body)).await?;
        Ok(answer.map(|Answer { headers, bytes }| {
            let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
            Opened {
                stale: header(STALE).map(|stale| stale == "true"),
                state: header(STATE).and_then(ValueState::of_name),
                key_id_hash: header(KEY_ID_HASH).map(str::to_owned),
                bytes,
            }
        }))
    }

    /// Decrypts values with one request. The results have the order of the values.
    ///
    /// # Errors
    /// Returns an outer error if the server does not answer. The inner errors are its answers.
    pub(super) async fn decrypt_many(
        &mut self,
        values: &[(dekker_cli::Location<'_>, &[u8])],
    ) -> anyhow::Result<Vec<anyhow::Result<Opened>>> {
        let mut body = Vec::new();
        for (at, stored) in values {
            let value = Value {
                resource: at.resource.to_owned(),
                key: Bytes::copy_from_slice(at.key),
                value: Bytes::copy_from_slice(stored),
            };
            value.encode_length_delimited(&mut body).context("cannot build the request")?;
        }
        match self.post(FROM_STORAGE_MANY, body.into()).await? {
            Ok(Answer { bytes, .. }) => outcomes(bytes, values.len()),
            // It concerns all values.
            Err(refusal) => {
                let refusal = refusal.to_string();
                Ok(values.iter().map(|_| Err(anyhow::Error::msg(refusal.clone()))).collect())
            }
        }
    }

    /// Sends a request. The inner error is an answer that says why the server refused it.
    async fn post(&mut self, uri: &str, body: Bytes) -> anyhow::Result<anyhow::Result<Answer>> {
        let request = Request::post(uri)
            .header(HOST, "dekker")
            .body(Full::new(body))
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

/// An answer to a request that the server did not refuse.
struct Answer {
    headers: HeaderMap,
    bytes: Zeroizing<Vec<u8>>,
}

async fn read(response: Response<Incoming>) -> anyhow::Result<anyhow::Result<Answer>> {
    let (head, body) = response.into_parts();
    let limit = usize::try_from(INPUT_MAX).unwrap_or(usize::MAX);
    let body = Limited::new(body, limit)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("cannot read the server's answer: {error}"))?;
    let bytes = Zeroizing::new(Vec::from(body.to_bytes()));
    if head.status.is_success() {
        return Ok(Ok(Answer { headers: head.headers, bytes }));
    }
    let problem: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let detail = problem
        .as_ref()
        .and_then(|problem| problem.get("detail"))
        .and_then(serde_json::Value::as_str);
    Ok(Err(refused(head.status, detail.unwrap_or("no detail"))))
}

fn refused(status: StatusCode, detail: &str) -> anyhow::Error {
    anyhow::anyhow!("the server answered {status}: {detail}")
}

/// Decodes the answer to a request for `count` values.
fn outcomes(
    mut answer: Zeroizing<Vec<u8>>,
    count: usize,
) -> anyhow::Result<Vec<anyhow::Result<Opened>>> {
    let mut rest = Bytes::from_owner(Plaintext::from(std::mem::take(&mut *answer)));
    let mut outcomes = Vec::with_capacity(count);
    while !rest.is_empty() {
        let outcome = Outcome::decode_length_delimited(&mut rest)
            .context("the server's answer is not a sequence of Outcome messages")?;
        outcomes.push(opened(outcome));
    }
    let answered = outcomes.len();
    anyhow::ensure!(answered == count, "the server answered for {answered} of {count} values");
    Ok(outcomes)
}

fn opened(mut outcome: Outcome) -> anyhow::Result<Opened> {
    if let Some(problem) = &outcome.problem {
        let status = u16::try_from(problem.status).ok();
        let status = status.and_then(|status| StatusCode::from_u16(status).ok());
        return Err(refused(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &problem.detail));
    }
    let state = match outcome.state() {
        State::Unspecified => None,
        State::Fresh => Some(ValueState::Fresh),
        State::OtherSource => Some(ValueState::OtherSource),
        State::Stale => Some(ValueState::Stale),
    };
    let hash = std::mem::take(&mut outcome.key_id_hash);
    Ok(Opened {
        bytes: Zeroizing::new(std::mem::take(&mut outcome.value)),
        stale: state.map(|state| state != ValueState::Fresh),
        state,
        key_id_hash: (!hash.is_empty()).then_some(hash),
    })
}
