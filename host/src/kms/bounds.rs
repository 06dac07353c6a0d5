//! The limits on what one side of a call accepts from the other. The limits and the error texts are grpc-go's, because kube-apiserver and most
//! plugins use it.
//!
//! A message may have 4 MiB, although no valid one exceeds 128 KiB: the code that interprets the message can then report what is too long. Only a few
//! messages over 128 KiB are in memory at once: see [`LargeMessages`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tower::BoxError;

/// 4 MiB: grpc-go's `defaultClientMaxReceiveMessageSize` and `defaultServerMaxReceiveMessageSize`.
pub(super) const MAX_MESSAGE: usize = 4 << 20;

/// 128 KiB: more than any valid message has. The largest is a DecryptRequest with 32 KiB of annotations, 1 KiB each of ciphertext and key ID, and a
/// UUID. The rest is for protobuf's framing of many short annotations.
const LARGE: usize = 128 << 10;

/// 4: the number of messages over [`LARGE`] that may be read at once, 16 MiB in total.
const MAX_LARGE: usize = 4;

/// 5 bytes: the prefix of each message, compressed-flag[1] ‖ length[4].
const PREFIX: usize = 5;

/// The side that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    /// Reads answers.
    Client,
    /// Reads requests.
    Server,
}

/// Limits how many messages over 128 KiB are read at once. One more is refused. It must not wait: the part of it that has arrived would fill the
/// connection's window (RFC 9113 §5.2), and then nothing else could arrive. Clones share the limit.
#[derive(Clone, Debug)]
pub(super) struct LargeMessages(Arc<Semaphore>);

impl Default for LargeMessages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_LARGE)))
    }
}

/// A body that must hold one message within the limits.
pub(super) struct OneMessage<B> {
    body: B,
    reader: Reader,
    /// The message encoding that the headers declare.
    encoding: Option<String>,
    prefix: [u8; PREFIX],
    have: usize,
    /// The number of bytes of the message that have not arrived yet.
    left: usize,
    large: LargeMessages,
    permit: Option<OwnedSemaphorePermit>,
}

impl<B> OneMessage<B> {
    pub(super) fn new(
        body: B,
        reader: Reader,
        encoding: Option<String>,
        large: LargeMessages,
    ) -> Self {
        Self { body, reader, encoding, prefix: [0; PREFIX], have: 0, left: 0, large, permit: None }
    }

    /// Returns whether the whole message has arrived.
    pub(super) fn is_complete(&self) -> bool {
        self.have == PREFIX && self.left == 0
    }

    /// Returns whether no byte of a message has arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.have == 0
    }

    /// Processes bytes that have arrived.
    fn follow(&mut self, mut bytes: &[u8]) -> Result<(), Status> {
        if self.have < PREFIX {
            let (begin, rest) = bytes.split_at(bytes.len().min(PREFIX - self.have));
            self.prefix[self.have..self.have + begin.len()].copy_from_slice(begin);
            self.have += begin.len();
            bytes = rest;
            if self.have == PREFIX {
                self.begin()?;
            }
        }
        let Some(left) = self.left.checked_sub(bytes.len()) else {
            return Err(self.one_too_many());
        };
        self.left = left;
        Ok(())
    }

    /// Checks a complete prefix. Upstream: grpc-go's `recvMsg` and `checkRecvPayload`, in rpc_util.go.
    fn begin(&mut self) -> Result<(), Status> {
        let [format, len @ ..] = self.prefix;
        self.left = u32::from_be_bytes(len) as usize;
        if self.left > MAX_MESSAGE {
            return Err(Status::resource_exhausted(format!(
                "grpc: received message larger than max ({} vs. {MAX_MESSAGE})",
                self.left
            )));
        }
        match format {
            0 => {}
            1 => return Err(self.compressed()),
            format => {
                return Err(Status::internal(format!(
                    "grpc: received unexpected payload format {format}"
                )));
            }
        }
        if self.left > LARGE {
            let permit = self.large.0.clone().try_acquire_owned();
            self.permit = Some(permit.map_err(|_| {
                Status::resource_exhausted(format!(
                    "{MAX_LARGE} messages over {LARGE} bytes are already being read; no valid message is that large"
                ))
            })?);
        }
        Ok(())
    }

    fn compressed(&self) -> Status {
        match self.encoding.as_deref() {
            None | Some("" | "identity") => {
                Status::internal("grpc: compressed flag set with identity or empty encoding")
            }
            Some(encoding) => not_installed(self.reader, encoding),
        }
    }

    fn one_too_many(&self) -> Status {
        Status::internal(match self.reader {
            Reader::Client => {
                "cardinality violation: expected <EOF> for non server-streaming RPCs, but received another message"
            }
            Reader::Server => {
                "cardinality violation: received multiple request messages for non-client-streaming RPC"
            }
        })
    }
}

/// Returns the error for a compressed message. No compression is supported.
pub(super) fn not_installed(reader: Reader, encoding: &str) -> Status {
    let message = format!("grpc: Decompressor is not installed for grpc-encoding {encoding:?}");
    match reader {
        Reader::Client => Status::internal(message),
        Reader::Server => Status::unimplemented(message),
    }
}

impl<B> Body for OneMessage<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.get_mut();
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            None => return Poll::Ready(None),
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            Some(Ok(frame)) => frame,
        };
        let bytes = match frame.into_data() {
            Ok(bytes) => bytes,
            Err(frame) => return Poll::Ready(Some(Ok(frame))),
        };
        Poll::Ready(Some(match this.follow(&bytes) {
            Ok(()) => Ok(Frame::data(bytes)),
            Err(status) => Err(status.into()),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

#[cfg(test)]
mod tests;
