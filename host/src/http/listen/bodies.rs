//! A request's body and an answer's, as long as something of them is there.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::header::EXPECT;
use axum::http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};

use super::activity::Exchange;
use crate::http::admission::Held;

/// 64 MiB: what is read and dropped of a body that nobody wants, so that its client gets to reading the answer.
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// 5 seconds: how long the next part of such a body is waited for.
const LINGER_PAUSE: Duration = Duration::from_secs(5);

/// A request whose body, when it is left unread, is read and dropped within bounds.
///
/// A client that sends its whole body before it looks for an answer would otherwise find the connection closed, and not the answer that says
/// why. Cf. RFC 9112 §9.6.
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

/// An answer that keeps its exchange open, and what it holds, until its last byte is written.
pub(super) fn outgoing(mut response: Response<Body>, exchange: Exchange) -> Response<Body> {
    let held = response.extensions_mut().remove::<Held>();
    exchange.answering();
    response.map(|body| {
        Body::new(AnswerBody {
            body,
            until_sent: UntilSent {
                _exchange: exchange,
                _held: held,
            },
        })
    })
}

struct RequestBody {
    /// None once its end has come.
    body: Option<Incoming>,
    exchange: Exchange,
    asked_for: bool,
    /// The client sends nothing before it is told to.
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
        // A client that waits to be told to go on sees the answer, and sends nothing that would have to be read.
        let is_waiting = self.expects_continue && !self.asked_for;
        let Some(body) = self.body.take().filter(|_| !is_waiting) else {
            return;
        };
        // Without a runtime the connection is gone as well.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(linger(body, self.exchange.clone(), self.within));
        }
    }
}

/// Reads a body to its end and drops it, within bounds. hyper writes the answer meanwhile.
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

/// What lasts as long as an answer.
#[derive(Clone)]
struct UntilSent {
    _exchange: Exchange,
    _held: Option<Held>,
}

struct AnswerBody {
    body: Body,
    until_sent: UntilSent,
}

/// Bytes that hyper keeps until they are written, or until it gives the answer up.
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
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let until_sent = &self.until_sent;
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| {
                    Bytes::from_owner(Sent {
                        bytes,
                        _until: until_sent.clone(),
                    })
                })
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
