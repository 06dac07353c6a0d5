//! A small HTTP/1.1 client for unix sockets and TCP.

use std::net::SocketAddr;
use std::path::Path;

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A keep-alive connection.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    pub(crate) async fn unix(path: &Path) -> std::io::Result<Self> {
        Ok(Self::over(UnixStream::connect(path).await?).await)
    }

    pub(crate) async fn tcp(address: SocketAddr) -> std::io::Result<Self> {
        Ok(Self::over(TcpStream::connect(address).await?).await)
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Self {
        let (sender, connection) =
            handshake(TokioIo::new(stream)).await.expect("nothing is sent yet");
        tokio::spawn(connection);
        Self(sender)
    }

    pub(crate) async fn send(
        &mut self,
        method: Method,
        target: &str,
        body: &[u8],
    ) -> hyper::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, "dekker")
            .body(Full::new(Bytes::copy_from_slice(body)))
            .expect("a well-formed request");
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: body.collect().await?.to_bytes().into(),
        })
    }

    /// Encrypts a secret.
    pub(crate) async fn write(&mut self, key: &[u8], plaintext: &[u8]) -> hyper::Result<Answer> {
        let target = target("to-storage", "secrets", key);
        self.send(Method::POST, &target, plaintext).await
    }

    /// Decrypts a secret.
    pub(crate) async fn read(&mut self, key: &[u8], stored: &[u8]) -> hyper::Result<Answer> {
        let target = target("from-storage", "secrets", key);
        self.send(Method::POST, &target, stored).await
    }
}

/// Returns the request target of the transform API. Every byte of the key that is not an ASCII letter or digit is escaped.
pub(crate) fn target(direction: &str, resource: &str, key: &[u8]) -> String {
    let key = percent_encode(key, NON_ALPHANUMERIC);
    format!("/v1/{direction}?resource={resource}&key={key}")
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let value = self.headers.get(name)?;
        Some(value.to_str().expect("ASCII"))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns the body of an answer with status 200.
    ///
    /// # Panics
    /// Panics for any other status.
    pub(crate) fn ok(self) -> Vec<u8> {
        assert_eq!(self.status, 200, "{self:?}: {}", self.text());
        self.body
    }
}
