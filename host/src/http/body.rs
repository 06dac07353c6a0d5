//! Request and response bodies that may hold a secret.
//!
//! What we allocate is erased. What hyper reads a request into and writes a response from is its own and is not: a copy of a
//! secret may stay there until the connection reuses or frees it.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::admission::Place;
use crate::model::Plaintext;

/// 2 MiB: longest plaintext. etcd refuses values over 1.5 MiB (`--max-request-bytes`) by default, so what may be stored fits.
pub(super) const LIMIT: usize = 2 * 1024 * 1024;

/// 128 KiB more: longest stored value, so that whatever was written can be read. The largest envelope has 1 KiB each of key ID and encrypted
/// DEK, and 32 KiB of annotations, which protobuf's framing makes three times as long when they are as short as they can be.
pub(super) const STORED_LIMIT: usize = LIMIT + 128 * 1024;

/// 10 seconds: how late a body may be when it comes at [`RATE`].
const LATE: Duration = Duration::from_secs(10);

/// 64 KiB/s: a body that comes more slowly is given up.
const RATE: u32 = 64 * 1024;

/// Capacity at first where the client does not say how much comes.
const FIRST_CAPACITY: usize = 16 * 1024;

/// Why a request's body could not be had.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// Longer than this many bytes, by its announced length or by what came.
    TooLarge(usize),
    /// There is no memory for it.
    Overloaded,
    /// It did not arrive in time.
    TimedOut,
    /// The client hung up, or it is not well-formed HTTP.
    Broken,
}

/// How long a body says that it is; at least, if it says nothing.
///
/// # Errors
/// [`BodyError::TooLarge`], before any of it is read.
pub(super) fn announced(body: &Body, limit: usize) -> Result<usize, BodyError> {
    // For hyper's bodies the lower bound is Content-Length, or zero.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge(limit));
    }
    Ok(announced)
}

/// Reads a body of at most `limit` bytes into memory that is the request's.
///
/// One that announces more is refused unread; of one that announces nothing no more is kept than the limit. It has `within` to arrive, and
/// less if it is short: 10 s and what it takes at 64 KiB/s. The wait for memory does not count.
pub(super) async fn read(
    body: Body,
    limit: usize,
    within: Duration,
    place: &mut Place<'_>,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let announced = announced(&body, limit)?;
    place
        .reserve(announced)
        .await
        .map_err(|_| BodyError::Overloaded)?;
    collect(body, limit, within, place).await
}

/// A response body that erases itself when hyper lets go of it.
pub(super) fn erasing(secret: Plaintext) -> Body {
    Body::from(Bytes::from_owner(secret))
}

async fn collect(
    mut body: Body,
    limit: usize,
    within: Duration,
    place: &mut Place<'_>,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let began = Instant::now();
    let mut collected = with_capacity(announced(&body, limit)?)?;
    loop {
        let len = u32::try_from(collected.len()).unwrap_or(u32::MAX);
        let allowed = LATE + Duration::from_secs(1) * len / RATE;
        let frame = tokio::time::timeout_at(began + allowed.min(within), body.frame()).await;
        let Some(frame) = frame.map_err(|_| BodyError::TimedOut)? else {
            return Ok(collected);
        };
        let frame = frame.map_err(|_| BodyError::Broken)?;
        if let Some(data) = frame.data_ref() {
            if data.len() > limit - collected.len() {
                return Err(BodyError::TooLarge(limit));
            }
            append(&mut collected, data, place)?;
        }
    }
}

/// Like `extend_from_slice`, except that outgrown memory is erased before it is freed, and that there may be none.
fn append(
    to: &mut Zeroizing<Vec<u8>>,
    data: &[u8],
    place: &mut Place<'_>,
) -> Result<(), BodyError> {
    let needed = to.len() + data.len();
    if needed > to.capacity() {
        let capacity = needed.max(to.capacity() * 2).max(FIRST_CAPACITY);
        place
            .try_reserve(capacity)
            .map_err(|_| BodyError::Overloaded)?;
        let mut larger = with_capacity(capacity)?;
        larger.extend_from_slice(to);
        *to = larger;
    }
    to.extend_from_slice(data);
    Ok(())
}

/// Under a memory limit (a cgroup's, or `ulimit -v`) this request fails, and not the process.
fn with_capacity(capacity: usize) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(capacity)
        .map_err(|_| BodyError::Overloaded)?;
    Ok(Zeroizing::new(memory))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::admission::Admission;
    use crate::http::listen::{Limits, Registry};

    fn admission() -> Admission {
        let limits = Limits::default();
        Admission::new(&limits, Registry::new(&limits))
    }

    async fn read_within(body: Body, within: Duration) -> Result<Zeroizing<Vec<u8>>, BodyError> {
        let admission = admission();
        let mut place = admission.request().await.expect("a place");
        read(body, LIMIT, within, &mut place).await
    }

    #[tokio::test]
    async fn appending_keeps_what_was_there() {
        let admission = admission();
        let mut place = admission.request().await.expect("a place");
        let mut buffer = Zeroizing::new(Vec::new());
        let mut expected = Vec::new();
        for (i, len) in [0, 1, FIRST_CAPACITY, 3, 5 * FIRST_CAPACITY]
            .into_iter()
            .enumerate()
        {
            let data = vec![u8::try_from(i).unwrap(); len];
            append(&mut buffer, &data, &mut place).unwrap();
            expected.extend_from_slice(&data);
            assert_eq!(*buffer, expected, "after append {i}");
        }
    }

    #[test]
    fn memory_that_is_not_there_is_a_fault_of_the_request() {
        let refused = with_capacity(isize::MAX as usize);
        assert_eq!(refused.err(), Some(BodyError::Overloaded));
    }

    #[tokio::test]
    async fn longest_body_is_read_and_one_byte_more_is_not() {
        let table = [
            ("empty", 0, Ok(0)),
            ("at the limit", LIMIT, Ok(LIMIT)),
            ("one more", LIMIT + 1, Err(BodyError::TooLarge(LIMIT))),
        ];
        for (desc, len, expected) in table {
            let read = read_within(Body::from(vec![7; len]), Duration::from_secs(30)).await;
            assert_eq!(read.map(|body| body.len()), expected, "{desc}");
        }
    }

    /// Gives a byte at each interval, for ever.
    struct Slow(tokio::time::Interval);

    impl HttpBody for Slow {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            self.0
                .poll_tick(cx)
                .map(|_| Some(Ok(hyper::body::Frame::data(Bytes::from_static(b"x")))))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn body_that_does_not_come_at_the_least_rate_times_out() {
        let table = [
            ("nothing comes", 3600.0, 30, 10),
            ("a byte a second", 1.0, 30, 10),
            ("a short limit", 1.0, 3, 3),
            ("1000 bytes a second", 0.001, 30, 10),
        ];
        for (desc, interval, within, expected) in table {
            let mut ticks = tokio::time::interval(Duration::from_secs_f64(interval));
            ticks.reset();
            let start = Instant::now();
            let read = read_within(Body::new(Slow(ticks)), Duration::from_secs(within)).await;
            assert_eq!(read.err(), Some(BodyError::TimedOut), "{desc}");
            assert_eq!(start.elapsed().as_secs(), expected, "{desc}");
        }
    }
}
