//! Bodies of requests and answers, which keep their exchange open.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::EXPECT;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::activity::Exchange;

/// 64 MiB: how much of an unread body is read and dropped, so that its client starts to read the answer.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// 5 seconds: how long to wait for the next part of an unread body.
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// Wraps a request's body so that, if it is left unread, it is read and dropped within limits.
///
/// Otherwise a client that sends its whole body before it reads would find the connection closed and never see the answer with the reason. Cf. RFC
/// 9112 §9.6.
pub(super) fn incoming(
    request: Request<Incoming>,
    exchange: &Exchange,
    within: Duration,
) -> Request<Body> {
    let expects_continue = request.headers().contains_key(EXPECT);
    request.map(|body| {
        if body.is_end_stream() {
            return Body::empty();
        }
        Body::new(RequestBody {
            body: Some(body),
            exchange: exchange.clone(),
            asked_for: false,
            expects_continue,
            within,
        })
    })
}

/// Wraps an answer so that its exchange stays open, and its resources stay held, until the last byte is written.
pub(super) fn outgoing(mut response: Response<Body>, exchange: Exchange) -> Response<Body> {
    let held = response.extensions_mut().remove::<Held>();
    exchange.answering();
    response.map(|body| {
        Body::new(AnswerBody {
            body,
            until_sent: UntilSent { exchange, _held: held },
            works: false,
        })
    })
}

struct RequestBody {
    /// `None` after the end of the body.
    body: Option<Incoming>,
    exchange: Exchange,
    asked_for: bool,
    /// The client sends the body only after `100 Continue`.
    expects_continue: bool,
    within: Duration,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if !self.asked_for {
            self.asked_for = true;
            self.exchange.reading();
        }
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let frame = std::task::ready!(Pin::new(&mut *body).poll_frame(cx));
        if body.is_end_stream() || !matches!(frame, Some(Ok(_))) {
            self.body = None;
            self.exchange.working();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let hint = self.body.as_ref().map(HttpBody::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        // A client that waits for `100 Continue` sees the answer and sends no body, so there is nothing to read.
        let is_waiting = self.expects_continue && !self.asked_for;
        let Some(body) = self.body.take().filter(|_| !is_waiting) else {
            return;
        };
        // Without a runtime, the connection is gone too.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(linger(body, self.exchange.clone(), self.within));
        }
    }
}

/// Reads a body to its end and drops it, within limits. In the meantime hyper writes the answer.
async fn linger(mut body: Incoming, exchange: Exchange, within: Duration) {
    let draining = async {
        let mut left = LINGER_BYTES;
        while let Ok(Some(Ok(frame))) = tokio::time::timeout(LINGER_PAUSE, body.frame()).await {
            let len = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(len) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    let _ = tokio::time::timeout(within, draining).await;
    drop(exchange);
}

/// A request's slot and memory. The answer carries it as an extension until its last byte is written.
#[derive(Clone)]
pub(in crate::http) struct Held {
    _request: Arc<OwnedSemaphorePermit>,
    _memory: Option<Arc<OwnedSemaphorePermit>>,
}

impl Held {
    pub(in crate::http) fn new(
        request: OwnedSemaphorePermit,
        memory: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self { _request: Arc::new(request), _memory: memory.map(Arc::new) }
    }
}

/// What must be held until an answer is sent.
#[derive(Clone)]
struct UntilSent {
    exchange: Exchange,
    _held: Option<Held>,
}

struct AnswerBody {
    body: Body,
    until_sent: UntilSent,
    /// Whether the server still makes the next part of the answer.
    works: bool,
}

/// Bytes that hyper keeps until it has written them or given up the answer.
struct Sent {
    bytes: Bytes,
    _until: UntilSent,
}

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Self { body, until_sent, works } = &mut *self;
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            // The server has nothing to send yet, so it does not wait for the client.
            if !std::mem::replace(works, true) {
                until_sent.exchange.working();
            }
            return Poll::Pending;
        };
        if std::mem::take(works) {
            until_sent.exchange.answering();
        }
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame
                    .map_data(|bytes| Bytes::from_owner(Sent { bytes, _until: until_sent.clone() }))
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
