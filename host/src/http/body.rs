//! Request and response bodies that may hold a secret.
//!
//! What we allocate is erased. What hyper reads a request into and writes a response from is its own and is not: a copy of a
//! secret may stay there until the connection reuses or frees it.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use zeroize::Zeroizing;

use crate::model::Plaintext;

/// 2 MiB: longest plaintext. etcd refuses values over 1.5 MiB (`--max-request-bytes`) by default, so what may be stored fits.
pub(super) const LIMIT: usize = 2 * 1024 * 1024;

/// 128 KiB more: longest stored value, so that whatever was written can be read. The largest envelope has 1 KiB each of key ID and encrypted
/// DEK, and 32 KiB of annotations, which protobuf's framing makes three times as long when they are as short as they can be.
pub(super) const STORED_LIMIT: usize = LIMIT + 128 * 1024;

/// Capacity at first where the client does not say how much comes.
const FIRST_CAPACITY: usize = 16 * 1024;

/// Why a request's body could not be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// Longer than this many bytes, by its announced length or by what came.
    TooLarge(usize),
    /// It did not arrive in time.
    TimedOut,
    /// The client hung up, or it is not well-formed HTTP.
    Broken,
}

/// Reads a body of at most `limit` bytes.
///
/// One that announces more is refused unread; of one that announces nothing no more is kept than the limit.
pub(super) async fn read(
    body: Body,
    limit: usize,
    within: Duration,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    tokio::time::timeout(within, collect(body, limit))
        .await
        .unwrap_or(Err(BodyError::TimedOut))
}

/// A response body that erases itself when hyper lets go of it.
pub(super) fn erasing(secret: Plaintext) -> Body {
    Body::from(Bytes::from_owner(secret))
}

async fn collect(mut body: Body, limit: usize) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    // For hyper's bodies the lower bound is Content-Length, or zero.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge(limit));
    }
    let mut collected = Zeroizing::new(Vec::with_capacity(announced));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| BodyError::Broken)?;
        if let Some(data) = frame.data_ref() {
            if data.len() > limit - collected.len() {
                return Err(BodyError::TooLarge(limit));
            }
            append(&mut collected, data);
        }
    }
    Ok(collected)
}

/// Like `extend_from_slice`, except that outgrown memory is erased before it is freed.
fn append(to: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let needed = to.len() + data.len();
    if needed > to.capacity() {
        let capacity = needed.max(to.capacity() * 2).max(FIRST_CAPACITY);
        let mut larger = Zeroizing::new(Vec::with_capacity(capacity));
        larger.extend_from_slice(to);
        *to = larger;
    }
    to.extend_from_slice(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appending_keeps_what_was_there() {
        let mut buffer = Zeroizing::new(Vec::new());
        let mut expected = Vec::new();
        for (i, len) in [0, 1, FIRST_CAPACITY, 3, 5 * FIRST_CAPACITY]
            .into_iter()
            .enumerate()
        {
            let data = vec![u8::try_from(i).unwrap(); len];
            append(&mut buffer, &data);
            expected.extend_from_slice(&data);
            assert_eq!(*buffer, expected, "after append {i}");
        }
    }

    #[tokio::test]
    async fn longest_body_is_read_and_one_byte_more_is_not() {
        let table = [
            ("empty", 0, Ok(0)),
            ("at the limit", LIMIT, Ok(LIMIT)),
            ("one more", LIMIT + 1, Err(BodyError::TooLarge(LIMIT))),
        ];
        for (desc, len, expected) in table {
            let read = collect(Body::from(vec![7; len]), LIMIT).await;
            assert_eq!(read.map(|body| body.len()), expected, "{desc}");
        }
    }

    #[tokio::test]
    async fn body_that_never_ends_times_out() {
        struct Stalled;
        impl HttpBody for Stalled {
            type Data = Bytes;
            type Error = std::convert::Infallible;
            fn poll_frame(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>>
            {
                std::task::Poll::Pending
            }
        }
        let read = read(Body::new(Stalled), LIMIT, Duration::ZERO).await;
        assert_eq!(read.err(), Some(BodyError::TimedOut));
    }
}
