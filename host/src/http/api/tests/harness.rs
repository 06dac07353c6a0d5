//! A server on its own socket, and clients for both HTTP versions.

use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http::header::{AsHeaderName, CONTENT_TYPE};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::http::api::serve_within;
use crate::http::fake::Fake;
use crate::http::listen::{Access, Limits, UnixSocket};
use crate::http::peer::PeerPolicy;
use crate::metrics::Metrics;

pub(super) struct Server {
    _dir: tempfile::TempDir,
    pub(super) path: PathBuf,
    pub(super) fake: Fake,
    pub(super) metrics: Arc<Metrics>,
    pub(super) stop: oneshot::Sender<()>,
    pub(super) task: JoinHandle<()>,
}

impl Server {
    pub(super) fn start(limits: Limits) -> Self {
        Self::start_for(PeerPolicy::same_user_and([]), limits)
    }

    pub(super) fn start_for(peers: PeerPolicy, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dekker.sock");
        let socket = UnixSocket::bind(&path, Access::OWNER).unwrap();
        let (fake, metrics) = (Fake::default(), Arc::new(Metrics::new("")));
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(serve_within(
            socket,
            fake.clone(),
            Arc::clone(&metrics),
            peers,
            limits,
            async { drop(stopped.await) },
        ));
        Self { _dir: dir, path, fake, metrics, stop, task }
    }

    pub(super) async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    pub(super) async fn http1(&self) -> Client {
        let (sender, connection) =
            http1::handshake(TokioIo::new(self.connect().await)).await.unwrap();
        tokio::spawn(connection);
        Client::Http1(sender)
    }

    pub(super) async fn http2(&self) -> Client {
        let io = TokioIo::new(self.connect().await);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        Client::Http2(sender)
    }

    /// Sends bytes and reads one answer, whose header must give its length.
    pub(super) async fn raw_answer(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        let mut response = Vec::new();
        while !is_whole(&response) {
            let read = stream.read_buf(&mut response).await.unwrap();
            assert_ne!(read, 0, "{:?}", String::from_utf8_lossy(&response));
        }
        String::from_utf8(response).unwrap()
    }

    /// Sends bytes and reads until the connection ends.
    pub(super) async fn raw(&self, request: &[u8]) -> String {
        String::from_utf8(self.raw_bytes(request).await).unwrap()
    }

    /// Like [`Self::raw`], for an answer that is not a text.
    pub(super) async fn raw_bytes(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = self.connect().await;
        stream.write_all(request).await.unwrap();
        let mut response = Vec::new();
        // If the server closes before it has read everything, the connection is reset after the answer.
        let _ = stream.read_to_end(&mut response).await;
        response
    }
}

/// Returns whether the bytes are an answer with its complete body.
pub(super) fn is_whole(response: &[u8]) -> bool {
    let text = String::from_utf8_lossy(response);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let mut lines = head.lines();
    let len = lines.find_map(|line| line.strip_prefix("content-length: "));
    len.is_some_and(|len| body.len() >= len.parse().unwrap())
}

pub(super) enum Client {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Returns the document after checking its content type, status and title.
    pub(super) fn problem(&self) -> Value {
        assert_eq!(self.header(CONTENT_TYPE), Some("application/problem+json"));
        let document: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(document["status"], self.status.as_u16());
        assert_eq!(document["title"], self.status.canonical_reason().unwrap());
        document
    }
}

impl Client {
    pub(super) async fn send(
        &mut self,
        method: Method,
        target: &str,
        body: &[u8],
    ) -> hyper::Result<Answer> {
        let uri = format!("http://localhost{target}");
        let request = Request::builder().method(method).uri(uri);
        let request = request.body(Full::new(Bytes::copy_from_slice(body))).unwrap();
        let response = match self {
            Self::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Self::Http2(sender) => sender.send_request(request).await?,
        };
        let (parts, body) = response.into_parts();
        let body = body.collect().await?.to_bytes().to_vec();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    }

    pub(super) async fn post(&mut self, target: &str, body: &[u8]) -> Answer {
        self.send(Method::POST, target, body).await.unwrap()
    }
}
