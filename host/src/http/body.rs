//! Request and response bodies that may hold a secret.
//!
//! The memory that we allocate is erased. The buffers into which hyper reads requests and from which it writes responses are hyper's own and are not
//! erased: a copy of a secret may stay there until the connection reuses or frees them.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use http_body_util::BodyExt;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::admission::Place;
use crate::model::Plaintext;

/// 2 MiB: the longest plaintext. etcd refuses values over 1.5 MiB (`--max-request-bytes`) by default, so every value that it can store fits.
pub(super) const LIMIT: usize = 2 * 1024 * 1024;

/// 128 KiB more: the longest stored value, so that every value that was encrypted can be decrypted. The largest envelope has 1 KiB each of key ID and
/// encrypted DEK, and 32 KiB of annotations; protobuf's framing triples the size of the annotations when each is as short as possible.
pub(super) const STORED_LIMIT: usize = LIMIT + 128 * 1024;

/// 10 seconds: the allowance in addition to the time that the body takes at [`RATE`].
const LATE: Duration = Duration::from_secs(10);

/// 64 KiB/s: the minimum rate. A slower body times out.
const RATE: u32 = 64 * 1024;

/// The initial capacity if the client does not announce a length.
const FIRST_CAPACITY: usize = 16 * 1024;

/// Why a request's body could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum BodyError {
    /// Longer than this many bytes, either as announced or as received.
    TooLarge(usize),
    /// No memory is available for it.
    Overloaded,
    /// It did not arrive in time.
    TimedOut,
    /// The client hung up, or it is not well-formed HTTP.
    Broken,
}

/// Returns the length that a body announces, or the lower bound of its length if it announces none.
///
/// # Errors
/// Returns [`BodyError::TooLarge`] if the announced length exceeds `limit`. Nothing has been read by then.
pub(super) fn announced(body: &Body, limit: usize) -> Result<usize, BodyError> {
    // For hyper's bodies the lower bound is Content-Length, or zero.
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge(limit));
    }
    Ok(announced)
}

/// Reads a body of at most `limit` bytes into the request's memory.
///
/// A body that announces more is refused unread. If a body announces no length, at most `limit` bytes of it are kept. The body must arrive `within`
/// this time, or sooner if it is short: within 10 s plus the time that it takes at 64 KiB/s. The wait for memory does not count.
pub(super) async fn read(
    body: Body,
    limit: usize,
    within: Duration,
    place: &mut Place<'_>,
) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let announced = announced(&body, limit)?;
    place.reserve(announced).await.map_err(|_| BodyError::Overloaded)?;
    collect(body, limit, within, place).await
}

/// Returns a response body that is erased when hyper drops it.
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

/// Like `extend_from_slice`, but erases outgrown memory before it is freed, and returns an error if there is no memory.
fn append(
    to: &mut Zeroizing<Vec<u8>>,
    data: &[u8],
    place: &mut Place<'_>,
) -> Result<(), BodyError> {
    let needed = to.len() + data.len();
    if needed > to.capacity() {
        let capacity = needed.max(to.capacity() * 2).max(FIRST_CAPACITY);
        place.try_reserve(capacity).map_err(|_| BodyError::Overloaded)?;
        let mut larger = with_capacity(capacity)?;
        larger.extend_from_slice(to);
        *to = larger;
    }
    to.extend_from_slice(data);
    Ok(())
}

/// Allocates memory, or returns an error if there is none: under a memory limit (a cgroup's, or `ulimit -v`) only this request fails, not the
/// process.
fn with_capacity(capacity: usize) -> Result<Zeroizing<Vec<u8>>, BodyError> {
    let mut memory = Vec::new();
    memory.try_reserve_exact(capacity).map_err(|_| BodyError::Overloaded)?;
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
    async fn appending_keeps_earlier_bytes() {
        let admission = admission();
        let mut place = admission.request().await.expect("a place");
        let mut buffer = Zeroizing::new(Vec::new());
        let mut expected = Vec::new();
        for (i, len) in [0, 1, FIRST_CAPACITY, 3, 5 * FIRST_CAPACITY].into_iter().enumerate() {
            let data = vec![u8::try_from(i).unwrap(); len];
            append(&mut buffer, &data, &mut place).unwrap();
            expected.extend_from_slice(&data);
            assert_eq!(*buffer, expected, "after append {i}");
        }
    }

    #[test]
    fn a_failed_allocation_refuses_the_request() {
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

    /// Yields one byte at each interval, indefinitely.
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
    async fn body_below_the_minimum_rate_times_out() {
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
