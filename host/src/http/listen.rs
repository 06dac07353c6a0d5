//! Sockets, connections, and how they end.

mod unix;

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::ServiceExt;

pub use unix::{BindError, UnixSocket};

/// How much a server takes on, and how long it waits. One set for each server; tests shorten it.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub(super) connections: usize,
    /// Requests at once over all connections; more are refused.
    pub(super) requests: usize,
    /// From the connection, or from the end of an answer, to the end of the next request's header. Closes idle HTTP/1.1
    /// connections too.
    pub(super) header: Duration,
    /// From a request's header to the end of its body.
    pub(super) body: Duration,
    /// From the wish to stop to the end of the last request; what still runs then is cut off.
    pub(super) drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            requests: 1024,
            header: Duration::from_secs(30),
            body: Duration::from_secs(30),
            // Below the 30 s that Kubernetes and others give between SIGTERM and SIGKILL.
            drain: Duration::from_secs(20),
        }
    }
}

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 256;

/// Between HTTP/2 pings, and then for the answer: finds peers that are gone.
const PING: Duration = Duration::from_secs(20);

/// A listening socket.
pub(super) trait Accept: Send {
    /// Its connections.
    type Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// The next connection.
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

/// What a connection gets to see.
#[derive(Clone)]
pub(super) struct Routes {
    /// Answers the requests.
    pub(super) router: Router,
    /// Close the connection after the first answer.
    pub(super) once: bool,
}

/// Accepts until `shutdown`, then closes the socket, lets what runs finish (at most [`Limits::drain`]) and returns.
///
/// `admit` decides what a new connection gets; `None` closes it.
pub(super) async fn serve<A: Accept>(
    socket: A,
    limits: &Limits,
    shutdown: impl Future<Output = ()> + Send,
    admit: impl Fn(&A::Connection) -> Option<Routes> + Send,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let (stop, stopped) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, socket.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = shutdown.as_mut() => break,
            // Forgets the connections that are over.
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok(connection) => {
                let Some(routes) = admit(&connection) else {
                    continue;
                };
                let serve = serve_connection(connection, routes, limits.header, stopped.clone());
                connections.spawn(async move {
                    serve.await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                // Out of file descriptors, most likely: give connections time to end.
                let pause = tokio::time::sleep(Duration::from_millis(100));
                tokio::select! {
                    () = shutdown.as_mut() => break,
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

/// Serves HTTP/1.1, or HTTP/2 when the client begins with its preface.
async fn serve_connection(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    routes: Routes,
    header_timeout: Duration,
    mut stopped: watch::Receiver<bool>,
) {
    let Routes { router, once } = routes;
    let started = Arc::new(AtomicBool::new(false));
    let (answer_last, mut last) = watch::channel(false);
    let service = {
        let started = Arc::clone(&started);
        service_fn(move |request: Request<Incoming>| {
            started.store(true, Ordering::Relaxed);
            if once {
                let _ = answer_last.send(true);
            }
            router.clone().oneshot(request)
        })
    };

    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(MAX_STREAMS);
    let mut serving = pin!(builder.serve_connection(TokioIo::new(connection), service));

    // hyper's own header timeout begins only when the first bytes have told the versions apart.
    let mut first = pin!(tokio::time::sleep(header_timeout));
    let mut waiting = true;
    let mut finishing = false;
    loop {
        tokio::select! {
            result = serving.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(error, "a connection broke off");
                }
                return;
            }
            () = first.as_mut(), if waiting => {
                if once || !started.load(Ordering::Relaxed) {
                    return;
                }
                waiting = false;
            }
            _ = stopped.wait_for(|stop| *stop), if !finishing => {
                finishing = true;
                serving.as_mut().graceful_shutdown();
            }
            _ = last.wait_for(|last| *last), if !finishing => {
                finishing = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}
