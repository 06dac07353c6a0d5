//! Sockets and connections: accepting, limits and shutdown.
//!
//! Every wait for a client has a limit, and a new connection never waits for an old one:
//!
//! | what | limit | when exceeded |
//! |---|---|---|
//! | from the connection to the end of the first header; HTTP/1.1: from an answer to the next header | `Limits::header` 30 s | closed |
//! | HTTP/2: no stream is open | `Limits::idle` 90 s | GOAWAY, closed |
//! | a body | 10 s plus its time at 64 KiB/s, at most `Limits::body` 30 s | 408 |
//! | an answer, from its head to its last byte; if the server makes it in parts, each part | `Limits::answer` 30 s | closed |
//! | the rest of a body, after its answer | 64 MiB, 5 s without a byte, `Limits::body` | closed |
//! | a plugin call | the timeout in the configuration | the engine's error |
//! | connections | `Limits::connections` 512 | the one that has been idle longest is closed; if none is idle, the one whose client has stalled longest |
//! | connections, if the server works for all of them | `Limits::connections_max` | the oldest request is answered 503 |
//! | HTTP/1.1: a header, and what is read ahead | 64 KiB | 431 |
//! | HTTP/2: streams, header list, windows | 100, 16 KiB, 256 KiB | refused, 431, flow control |
//! | HTTP/2: streams reset by the client before they were accepted | 20 | GOAWAY ENHANCE_YOUR_CALM (CVE-2023-44487) |
//! | HTTP/2: streams reset because of client errors | 1024 | GOAWAY ENHANCE_YOUR_CALM |
//!
//! A client that floods with PING or SETTINGS gets one answer at a time: h2 reads nothing more until that answer is written. CONTINUATION frames
//! count towards the header list.

mod activity;
mod bodies;
mod counted;
mod descriptors;
#[cfg(test)]
pub(super) mod in_memory;
mod registry;
mod unix;

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tower::ServiceExt;

use activity::Ending;
pub(super) use activity::Exchange;
pub(super) use bodies::Held;
use counted::Counted;
pub(crate) use descriptors::raise_limit;
use registry::Member;
pub(super) use registry::Registry;
pub(crate) use unix::{Access, UnixSocket};

/// The load that a server accepts, and how long it waits. Each server has one set; tests shorten the times.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Concurrent connections. Beyond this number, each new connection replaces one that is idle or stalled.
    pub(super) connections: usize,
    /// Concurrent connections if the server works for all of them.
    pub(super) connections_max: usize,
    /// Concurrent requests over all connections, from their headers to the last byte of their answers. The API's limit is higher than the number of
    /// requests that the engine lets wait for plugins, 4096, so requests that need no plugin always find a slot.
    pub(super) requests: usize,
    /// How long a request may wait for a slot or for memory before it is refused.
    pub(super) patience: Duration,
    /// From the connection, or from the end of an answer over HTTP/1.1, to the end of the next request's header.
    pub(super) header: Duration,
    /// How long an HTTP/2 connection may be without a stream. Upstream: pkg/server/secure_serving.go, `IdleTimeout`.
    pub(super) idle: Duration,
    /// From a request's header to the end of its body.
    pub(super) body: Duration,
    /// From an answer's head to its last byte, without the time in which the server makes the next part.
    pub(super) answer: Duration,
    /// From the shutdown request to the end of the last request. Requests that still run then are cut off.
    pub(super) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            connections_max: 512 + 5120,
            requests: 5120,
            patience: Duration::from_secs(2),
            header: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            body: Duration::from_secs(30),
            answer: Duration::from_secs(30),
            // Less than the 30 s that Kubernetes and others allow between SIGTERM and SIGKILL.
            drain: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// The transform API's limits. It gets three quarters of the file descriptors that the process may have.
    pub(super) fn api() -> Self {
        Self::default().within(descriptors::available() / 4 * 3)
    }

    /// The health server's limits. It gets a quarter of the file descriptors.
    pub(super) fn health() -> Self {
        let limits = Self { connections_max: 512 + 1024, requests: 1024, ..Self::default() };
        limits.within(descriptors::available() / 4)
    }

    fn within(self, descriptors: usize) -> Self {
        let connections_max = self.connections_max.min(descriptors);
        Self { connections: self.connections.min(connections_max), connections_max, ..self }
    }

    /// Returns the interval at which the connections are checked for exceeded limits.
    fn sweep(&self) -> Duration {
        let shortest = self.header.min(self.idle).min(self.body).min(self.answer) / 8;
        shortest.clamp(Duration::from_millis(1), Duration::from_secs(1))
    }
}

/// Concurrent requests on one HTTP/2 connection: the minimum that RFC 9113 §6.5.2 recommends.
const MAX_STREAMS: u32 = 100;

/// 16 KiB: the size of an HTTP/2 request's header, computed as in RFC 9113 §6.5.2.
const MAX_HEADER_LIST: u32 = 16 * 1024;

/// 256 KiB: how much a client may send ahead, for each stream and for an HTTP/2 connection.
const WINDOW: u32 = 256 * 1024;

/// 64 KiB: an HTTP/1.1 request's header, and how much of its body is read ahead.
const READ_AHEAD: usize = 64 * 1024;

/// 20: h2's default, set explicitly because this limit stops a rapid reset.
const MAX_PENDING_RESETS: usize = 20;

/// 1024: hyper's default for streams that the server resets because of client errors.
const MAX_ERROR_RESETS: usize = 1024;

/// 20 seconds: the interval between HTTP/2 pings, and the time allowed for each answer. Pings detect peers that are gone.
const PING: Duration = Duration::from_secs(20);

/// 100 milliseconds: the pause before the next attempt after the system failed to accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket.
pub(super) trait Accept: Send {
    /// The type of its connections.
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Waits for the next connection.
    fn accept(&self) -> impl Future<Output = io::Result<Self::Connection>> + Send;
}

impl Accept for UnixSocket {
    type Connection = tokio::net::UnixStream;
    async fn accept(&self) -> io::Result<Self::Connection> {
        Ok(UnixListener::accept(self.listener()).await?.0)
    }
}

impl Accept for TcpListener {
    type Connection = tokio::net::TcpStream;
    async fn accept(&self) -> io::Result<Self::Connection> {
        Ok(Self::accept(self).await?.0)
    }
}

/// The routes that a connection gets.
#[derive(Clone)]
pub(super) struct Routes {
    /// The router for its requests.
    pub(super) router: Router,
    /// Whether to close the connection after the first answer.
    pub(super) once: bool,
}

/// Accepts connections until `shutdown` completes, then closes the socket, lets running requests finish (for at most [`Limits::drain`]) and returns.
///
/// `admit` decides which routes a new connection gets; `None` closes the connection.
pub(super) async fn serve<A: Accept>(
    socket: A,
    limits: &Limits,
    registry: Registry,
    shutdown: impl Future<Output = ()> + Send,
    admit: impl Fn(&A::Connection) -> Option<Routes> + Send,
) {
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut sweep = tokio::time::interval(limits.sweep());
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let accepted = tokio::select! {
            () = shutdown.as_mut() => break,
            // Removes finished connections from the set.
            Some(_) = connections.join_next() => continue,
            _ = sweep.tick() => {
                registry.sweep();
                continue;
            }
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
                let Some(routes) = admit(&connection) else {
                    continue;
                };
                let member = registry.admit();
                let limits = limits.clone();
                let stopped = stopped.clone();
                connections.spawn(serve_connection(connection, routes, limits, member, stopped));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Most likely the process is out of file descriptors. Closing one connection makes room for the next.
                registry.make_room();
                let pause = tokio::time::sleep(ACCEPT_PAUSE);
                tokio::select! {
                    () = shutdown.as_mut() => break,
                    Some(_) = connections.join_next() => {}
                    () = pause => {}
                }
            }
        }
    }
    drop(socket);
    let _ = stop.send(true);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(limits.drain, drained).await.is_err() {
        tracing::warn!("requests still ran at the end of the drain period and were cut off");
        connections.shutdown().await;
    }
}

/// Serves HTTP/1.1, or HTTP/2 if the client begins with its preface.
async fn serve_connection(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Routes,
    limits: Limits,
    member: Member,
    mut stopped: watch::Receiver<bool>,
) {
    let Routes { router, once } = routes;
    let activity = &member.activity;
    let service = {
        let activity = Arc::clone(activity);
        let within = limits.body;
        service_fn(move |request: Request<Incoming>| {
            let exchange = activity.begin();
            if once {
                activity.end(Ending::Gracefully);
            }
            let mut request = bodies::incoming(request, &exchange, within);
            request.extensions_mut().insert(exchange.clone());
            let answer = router.clone().oneshot(request);
            async move { Ok::<_, Infallible>(bodies::outgoing(answer.await?, exchange)) }
        })
    };

    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        .max_buf_size(READ_AHEAD);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_concurrent_streams(MAX_STREAMS);
    let connection = Counted::new(connection, Arc::clone(activity));
    let mut serving = pin!(builder.serve_connection(TokioIo::new(connection), service));

    let mut finishing = false;
    loop {
        let ending = tokio::select! {
            result = serving.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error, "a connection failed");
                }
                return;
            }
            ending = activity.ending() => ending,
            _ = stopped.wait_for(|stop| *stop), if !finishing => Ending::Gracefully,
        };
        finishing = true;
        serving.as_mut().graceful_shutdown();
        match ending {
            Ending::Gracefully => {}
            Ending::Now => break,
        }
    }
    // Polls once more, so that a GOAWAY is written if there is room for it.
    poll_fn(|cx| {
        drop(serving.as_mut().poll(cx));
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests;
