//! Measures `dekker serve` as a process: the time until it is healthy, and the number of requests that it answers per second.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::rounds::{Op, Plan, Series, Source, Work, bytes};
use crate::subjects::plaintext;
use crate::vault::{KEY, RESOURCE};

/// The benchmark of requests per second.
pub const HTTP: &str = "http";
/// The benchmark of the time from the start of the process to the first healthy answer.
pub const STARTUP: &str = "startup";
/// The subject's name.
pub const DEKKER: &str = "dekker serve";

/// The numbers of connections.
pub const CONNECTIONS: [usize; 2] = [1, 64];
/// The sizes of the plaintext in bytes.
pub const SIZES: [usize; 2] = [1024, 4096];

/// 30 seconds. A server that is not healthy by then has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// 200 microseconds. The pause between two readiness checks, and so the precision of the time until a server is healthy.
const GLANCE: Duration = Duration::from_micros(200);

/// Starts servers, one after the other, each with its own state directory.
///
/// # Errors
/// Returns an error if a server does not become healthy.
pub fn measure_startup(dekker: &Path, plan: Plan) -> Result<Vec<Series>> {
    let mut times = Vec::new();
    for round in 0..plan.rounds {
        eprintln!("{STARTUP}: round {} of {}", round + 1, plan.rounds);
        let server = Server::start(dekker)?;
        times.push(server.took.as_secs_f64() * 1e3);
    }
    let work = Work { op: Op::Read, source: Source::Counter, size: 0, count: 1 };
    Ok(vec![Series::new(STARTUP, DEKKER, work, "ms", times)])
}

/// Measures the requests per second of one server, over one connection and over many.
///
/// # Errors
/// Returns an error if the server does not become healthy or a request fails.
pub fn measure_http(dekker: &Path, plan: Plan) -> Result<Vec<Series>> {
    let server = Server::start(dekker)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut all = Vec::new();
        for size in SIZES {
            for op in [Op::Write, Op::Read] {
                eprintln!("{HTTP}: {op}, {}", bytes(size));
                let mut rates = CONNECTIONS.map(|_| Vec::new());
                let text = plaintext(size);
                let mut first = Connection::unix(&server.api).await?;
                let stored = first.send(Op::Write, &text).await?;
                let body = match op {
                    Op::Write => text,
                    Op::Read => stored,
                };
                for round in 0..=plan.rounds {
                    for (connections, rates) in CONNECTIONS.iter().zip(&mut rates) {
                        let requests = if plan.quick { 128 } else { 1280 };
                        let took = ask(&server.api, op, &body, *connections, requests).await?;
                        // The first round is a warm-up.
                        if round > 0 {
                            rates.push(requests as f64 / took.as_secs_f64());
                        }
                    }
                }
                for (count, rates) in CONNECTIONS.into_iter().zip(rates) {
                    let work = Work { op, source: Source::Counter, size, count };
                    all.push(Series::new(HTTP, DEKKER, work, "requests/s", rates));
                }
            }
        }
        Ok(all)
    })
}

/// Sends the requests, divided among the connections, and returns how long they took. Opening the connections is not timed.
async fn ask(
    api: &Path,
    op: Op,
    body: &[u8],
    connections: usize,
    requests: usize,
) -> Result<Duration> {
    let mut open = Vec::with_capacity(connections);
    for _ in 0..connections {
        open.push(Connection::unix(api).await?);
    }
    let start = Instant::now();
    let mut tasks = Vec::with_capacity(connections);
    for mut connection in open {
        let body = body.to_vec();
        tasks.push(tokio::spawn(async move {
            for _ in 0..requests / connections {
                connection.send(op, &body).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await.context("a connection's task failed")??;
    }
    Ok(start.elapsed())
}

/// A running `dekker serve`, killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// The path of its socket.
    pub(crate) api: PathBuf,
    took: Duration,
    _state: tempfile::TempDir,
}

impl Server {
    /// Starts a server with a new state directory, and waits until it is healthy.
    ///
    /// # Errors
    /// Returns an error if it does not become healthy.
    pub(crate) fn start(dekker: &Path) -> Result<Self> {
        let state = tempfile::tempdir()?;
        let api = state.path().join("api.sock");
        // The port was free a moment ago, so it most likely still is.
        let health = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let mut command = Command::new(dekker);
        command
            .arg("serve")
            .arg("--state-dir")
            .arg(state.path())
            .arg("--health-listen")
            .arg(health.to_string())
            .arg("--listen")
            .arg(format!("unix://{}", api.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let start = Instant::now();
        let child = command.spawn().context("cannot run dekker")?;
        let mut server = Self { child, api, took: Duration::ZERO, _state: state };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        while !runtime.block_on(is_ready(health)) {
            if let Some(status) = server.child.try_wait()? {
                bail!("dekker serve exited: {status}");
            }
            ensure!(start.elapsed() < PATIENCE, "dekker serve is not healthy after {PATIENCE:?}");
            std::thread::sleep(GLANCE);
        }
        server.took = start.elapsed();
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn is_ready(health: SocketAddr) -> bool {
    let asked = async {
        let stream = TcpStream::connect(health).await?;
        let mut connection = Connection::over(stream).await?;
        connection.ask(Method::GET, "/readyz", b"").await
    };
    matches!(asked.await, Ok((200, _)))
}

/// A connection that is kept alive between requests.
pub(crate) struct Connection(SendRequest<Full<Bytes>>);

impl Connection {
    /// Connects to a unix socket.
    ///
    /// # Errors
    /// Returns an error if there is no server.
    pub(crate) async fn unix(path: &Path) -> Result<Self> {
        Self::over(UnixStream::connect(path).await?).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self> {
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Self(sender))
    }

    /// Has the server encrypt or decrypt a value. Returns an error unless the answer's status is 200.
    async fn send(&mut self, op: Op, body: &[u8]) -> Result<Vec<u8>> {
        let direction = match op {
            Op::Write => "to-storage",
            Op::Read => "from-storage",
        };
        let key = percent_encode(KEY, NON_ALPHANUMERIC);
        let target = format!("/v1/{direction}?resource={RESOURCE}&key={key}");
        let (status, answer) = self.ask(Method::POST, &target, body).await?;
        ensure!(status == 200, "{op}: the server returned status {status}");
        Ok(answer)
    }

    async fn ask(&mut self, method: Method, target: &str, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(HOST, "dekker")
            .body(Full::new(Bytes::copy_from_slice(body)))?;
        let (status, answer) = self.send_request(request).await?;
        Ok((status, answer.into()))
    }

    /// Sends a request. Returns the answer's status and body.
    ///
    /// # Errors
    /// Returns an error if the connection ends before the answer.
    pub(crate) async fn send_request(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(u16, Bytes)> {
        self.0.ready().await?;
        let (head, body) = self.0.send_request(request).await?.into_parts();
        Ok((head.status.as_u16(), body.collect().await?.to_bytes()))
    }
}
