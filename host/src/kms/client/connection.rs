//! The connection to a plugin, and what its state makes of an exceeded deadline.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::CallError;
use crate::kms::address::SocketAddress;
use crate::kms::dial::DialError;

/// 16 MiB: the maximum size of a plugin's headers, including its error message. grpc-go's `defaultClientMaxHeaderListSize`. Once the call has read
/// the headers, it keeps at most 4 KiB of the message.
const MAX_HEADERS: u32 = 16 << 20;

/// 5 ms, doubled up to 200 ms: the pause between two attempts to connect. Short, because a starting plugin must not cost a call its deadline. The cap
/// is low, because an attempt on a local socket is cheap.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// 1 minute: how long failed attempts with the same cause are only counted after one was logged.
const QUIET: Duration = Duration::from_secs(60);

/// The state of the connection to one plugin, for error texts and the log.
#[derive(Debug)]
pub(super) struct Link {
    address: SocketAddress,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Why the last attempt to connect failed. As in grpc-go, it counts until the plugin has sent something: while an attempt is repeated, the
    /// channel stays in TRANSIENT_FAILURE (its `pickfirst` balancer).
    failed: Option<DialError>,
    stream: Stream,
    /// The number of streams so far. A stream that ends late must not be taken for its successor.
    streams: u64,
    logged: Option<Logged>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stream {
    #[default]
    None,
    /// The socket was connected to. For grpc-go, the connection is not ready yet.
    Silent,
    /// The plugin has sent something, which is the beginning of HTTP/2 in a working plugin.
    Ready,
}

/// The last attempt that was logged.
#[derive(Debug)]
struct Logged {
    at: Instant,
    cause: String,
    /// How many attempts with this cause failed since.
    since: u64,
}

impl Link {
    pub(super) fn new(address: SocketAddress) -> Arc<Self> {
        Arc::new(Self { address, state: Mutex::default() })
    }

    pub(super) fn address(&self) -> &SocketAddress {
        &self.address
    }

    /// Returns a channel that connects on first use.
    pub(super) fn channel(self: &Arc<Self>) -> Channel {
        let link = Arc::clone(self);
        Endpoint::from_static("http://localhost")
            .http2_max_header_list_size(MAX_HEADERS)
            .connect_with_connector_lazy(tower::service_fn(move |_| Arc::clone(&link).connect()))
    }

    /// Waits for the socket for as long as it is polled.
    ///
    /// It has no time limit: when a call is cancelled, its attempt to connect stays, and the next call continues it with its own deadline.
    async fn connect(self: Arc<Self>) -> io::Result<TokioIo<Watched>> {
        let mut pauses = Pauses::default();
        loop {
            match self.address.dial().await {
                Ok(stream) => return Ok(TokioIo::new(self.watch(stream))),
                Err(error) if error.is_final() => return Err(error.into_inner()),
                Err(error) => self.failed(error),
            }
            pauses.wait().await;
        }
    }

    /// Returns the error of a call whose deadline has passed, as grpc-go words it: picker_wrapper.go, `pick`.
    pub(super) fn deadline_exceeded(&self) -> CallError {
        let state = self.state();
        let (message, help) = match (state.stream, &state.failed) {
            (Stream::Ready, _) => ("context deadline exceeded".to_owned(), None),
            (Stream::None | Stream::Silent, Some(error)) => {
                (format!("latest balancer error: {}", error.grpc_text()), Some(error.to_string()))
            }
            (stream @ (Stream::None | Stream::Silent), None) => {
                let text =
                    "context deadline exceeded while waiting for connections to become ready";
                let silent = (stream == Stream::Silent).then(|| {
                    format!(
                        "the process that listens on {} does not answer: check that it is a KMS plugin, and restart it",
                        self.address
                    )
                });
                (text.to_owned(), silent)
            }
        };
        CallError { code: Code::DeadlineExceeded as u32, message, help }
    }

    /// Records a failed attempt to connect, and logs it unless the same cause was logged less than a minute ago.
    fn failed(&self, error: DialError) {
        let mut state = self.state();
        let due = due(&mut state.logged, &error.cause(), Instant::now());
        if let Some(before) = due {
            tracing::warn!(
                endpoint = %self.address,
                error = error.grpc_text(),
                before,
                "cannot connect to a KMS plugin, whose calls wait until their deadline: {error}"
            );
        }
        state.failed = Some(error);
    }

    fn watch(self: &Arc<Self>, stream: UnixStream) -> Watched {
        let mut state = self.state();
        state.stream = Stream::Silent;
        state.streams += 1;
        Watched { stream, link: Arc::clone(self), number: state.streams, is_ready: false }
    }

    fn ready(&self, number: u64) {
        let mut state = self.state();
        if state.streams != number {
            return;
        }
        state.stream = Stream::Ready;
        state.failed = None;
        if let Some(Logged { since, .. }) = state.logged.take() {
            tracing::info!(endpoint = %self.address, before = since, "connected to the KMS plugin");
        }
    }

    fn ended(&self, number: u64) {
        let mut state = self.state();
        if state.streams == number {
            state.stream = Stream::None;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns how many attempts with this cause were not logged since the last one that was, or `None` if this one is not to be logged either.
fn due(logged: &mut Option<Logged>, cause: &str, now: Instant) -> Option<u64> {
    let before = match logged {
        Some(last) if last.cause == cause => {
            if now.duration_since(last.at) < QUIET {
                last.since += 1;
                return None;
            }
            last.since
        }
        Some(_) | None => 0,
    };
    *logged = Some(Logged { at: now, cause: cause.to_owned(), since: 0 });
    Some(before)
}

/// A stream that reports to its link when the plugin first sends something, and when it ends.
pub(super) struct Watched {
    stream: UnixStream,
    link: Arc<Link>,
    number: u64,
    is_ready: bool,
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = ready!(Pin::new(&mut self.stream).poll_read(cx, buffer));
        let came = buffer.filled().len() > before;
        if came && !self.is_ready {
            self.is_ready = true;
            self.link.ready(self.number);
        }
        if !came && buffer.remaining() > 0 {
            self.link.ended(self.number);
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.link.ended(self.number);
    }
}

/// Pauses between attempts, each twice as long as the one before, up to a cap.
pub(super) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Pauses {
    pub(super) async fn wait(&mut self) {
        sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn each_cause_is_logged_once_a_minute_and_counted_in_between() {
        let mut logged = None;
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        for (desc, cause, at, expected) in [
            ("the first", "refused", 0, Some(0)),
            ("again", "refused", 1, None),
            ("just within the minute", "refused", 59, None),
            ("after it", "refused", 60, Some(2)),
            ("again", "refused", 61, None),
            ("another cause", "denied", 61, Some(0)),
            ("the first cause again", "refused", 62, Some(0)),
        ] {
            assert_eq!(due(&mut logged, cause, after(at)), expected, "{desc}");
        }
    }
}
