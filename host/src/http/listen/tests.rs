//! Tests of connections in simulated time, which advances only when all tasks wait.

mod frames;

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Bytes, to_bytes};
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::in_memory::{Network, network, to_end};
use super::*;
use frames::{Frames, HELLO, NEVER_READS, request};

/// 2 MiB.
static BIG: [u8; 2 * 1024 * 1024] = [b'x'; 2 * 1024 * 1024];

struct Server {
    network: Network,
    served: Arc<AtomicUsize>,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<()>,
}

impl Server {
    fn start(limits: Limits) -> Self {
        let (socket, network) = network();
        let (stop, stopped) = oneshot::channel::<()>();
        let served = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&served);
        let read = async move |request: Request| {
            let body = to_bytes(request.into_body(), usize::MAX).await;
            body.map_or_else(|_| String::new(), |body| body.len().to_string())
        };
        let router = Router::new()
            .route("/livez", get(async || "ok"))
            .route("/big", get(async || Bytes::from_static(&BIG)))
            .route("/hangs", get(std::future::pending::<String>))
            .route("/read", post(read))
            .layer(axum::middleware::map_request(move |request: Request| {
                counter.fetch_add(1, Ordering::Relaxed);
                std::future::ready(request)
            }))
            .layer(axum::middleware::from_fn_with_state(
                Arc::new(crate::metrics::Metrics::new("")),
                crate::http::answer,
            ));
        let routes = Routes { router, once: false };
        let task = tokio::spawn(async move {
            let registry = Registry::new(&limits);
            let shutdown = async { drop(stopped.await) };
            serve(socket, &limits, registry, shutdown, move |_| Some(routes.clone())).await;
        });
        Self { network, served, _stop: stop, _task: task }
    }
}

/// How a client holds a connection. Each client has read everything that it will ever read.
#[derive(Clone, Copy, Debug)]
enum Held {
    Silent,
    IdleHttp1,
    IdleHttp2,
    HalfAPreface,
    HalfAHeader,
    HalfAHeaderHttp2,
    HalfABody,
    HalfABodyHttp2,
    AnswerUnread,
    AnswerUnreadHttp2,
    ManyAnswersUnreadHttp2,
}

impl Held {
    const ALL: [Self; 11] = [
        Self::Silent,
        Self::IdleHttp1,
        Self::IdleHttp2,
        Self::HalfAPreface,
        Self::HalfAHeader,
        Self::HalfAHeaderHttp2,
        Self::HalfABody,
        Self::HalfABodyHttp2,
        Self::AnswerUnread,
        Self::AnswerUnreadHttp2,
        Self::ManyAnswersUnreadHttp2,
    ];

    async fn hold(self, network: &Network) -> DuplexStream {
        let sent: Vec<u8> = match self {
            Self::Silent => Vec::new(),
            Self::IdleHttp1 => b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            Self::IdleHttp2 => [HELLO, &request(1, "/livez", true)].concat(),
            Self::HalfAPreface => b"PRI * HTTP/2.0\r\n\r".to_vec(),
            Self::HalfAHeader => b"GET /livez HTTP/1.1\r\nho".to_vec(),
            Self::HalfAHeaderHttp2 => {
                let header = request(1, "/livez", true);
                [HELLO, &header[..header.len() - 3]].concat()
            }
            Self::HalfABody => {
                b"POST /read HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx".to_vec()
            }
            Self::HalfABodyHttp2 => [HELLO, &request(1, "/read", false)].concat(),
            Self::AnswerUnread => b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
            Self::AnswerUnreadHttp2 => [NEVER_READS, &request(1, "/livez", true)].concat(),
            Self::ManyAnswersUnreadHttp2 => {
                let requests = (0..50).flat_map(|i| request(2 * i + 1, "/big", true));
                NEVER_READS.iter().copied().chain(requests).collect()
            }
        };
        let mut connection = network.send(&sent).await;
        match self {
            Self::IdleHttp1 => {
                let mut answer = [0; 1024];
                let len = connection.read(&mut answer).await.unwrap();
                assert!(answer[..len].ends_with(b"ok"));
            }
            Self::IdleHttp2 => Frames::new(&mut connection).until_answered().await,
            _ => {}
        }
        connection
    }
}

async fn settle() {
    // The clock advances only when all other tasks wait.
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_is_served_at_once_while_512_others_are_held() {
    for held in Held::ALL {
        let server = Server::start(Limits::default());
        let mut others = Vec::new();
        for _ in 0..512 {
            others.push(held.hold(&server.network).await);
        }
        settle().await;
        for wait in [0, 2, 20] {
            tokio::time::sleep(Duration::from_secs(wait)).await;
            let start = Instant::now();
            let answer = server.network.get("/livez").await;
            assert!(answer.ends_with("\r\n\r\nok"), "{held:?}: {answer:?}");
            assert!(start.elapsed() < Duration::from_secs(1), "{held:?}: {:?}", start.elapsed());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn every_held_connection_is_closed_at_its_limit() {
    let Limits { header, idle, body, answer, .. } = Limits::default();
    // The limit at which the server begins to end the connection, and how much longer the sweep and the end may take.
    for held in Held::ALL {
        let (limit, slack) = match held {
            Held::Silent | Held::HalfAPreface | Held::HalfAHeader | Held::HalfAHeaderHttp2 => {
                (header, 2)
            }
            Held::IdleHttp1 => (header, 2),
            Held::IdleHttp2 => (idle, 8),
            // The test's service reads without its own limit.
            Held::HalfABody | Held::HalfABodyHttp2 => (2 * body, 2),
            Held::AnswerUnread | Held::AnswerUnreadHttp2 | Held::ManyAnswersUnreadHttp2 => {
                (answer, 2)
            }
        };
        let server = Server::start(Limits::default());
        let start = Instant::now();
        let mut connection = held.hold(&server.network).await;
        // The client answers pings. It reads nothing else that matters here.
        let end = async {
            match held {
                Held::IdleHttp2 | Held::HalfABodyHttp2 => {
                    Frames::new(&mut connection).pong_to_the_end().await;
                }
                Held::AnswerUnread => closed_unread(&mut connection).await,
                _ => drop(to_end(&mut connection).await),
            }
        };
        let most = limit + Duration::from_secs(slack);
        let ended = tokio::time::timeout(most, end).await;
        assert!(ended.is_ok(), "{held:?} is still there after {most:?}");
        let took = start.elapsed();
        assert!(
            took + Duration::from_secs(1) >= limit,
            "{held:?} was closed after {took:?}, before {limit:?}"
        );
    }
}

/// Waits for the other end to close, without reading: then a write fails.
async fn closed_unread(connection: &mut DuplexStream) {
    while connection.write_all(b"\r\n").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_a_byte_a_second_is_disconnected() {
    let server = Server::start(Limits::default());
    let request = b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut connection = server.network.send(request).await;
    let start = Instant::now();
    let mut read = 0;
    // Buffered bytes can still be read after the server closes, so only a failing write shows the end.
    while connection.write_all(b"\r\n").await.is_ok() {
        connection.read_exact(&mut [0]).await.unwrap();
        read += 1;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let took = start.elapsed().as_secs();
    assert!((30..=32).contains(&took), "{took} s, {read} bytes");
}

#[tokio::test(start_paused = true)]
async fn the_oldest_request_is_answered_503_when_all_connections_are_working() {
    let limits = Limits { connections: 2, connections_max: 4, ..Limits::default() };
    let server = Server::start(limits);
    let hangs = b"GET /hangs HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut oldest = server.network.send(hangs).await;
    settle().await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(server.network.send(hangs).await);
    }
    settle().await;
    let start = Instant::now();
    assert!(server.network.get("/livez").await.ends_with("ok"));
    assert!(start.elapsed() < Duration::from_secs(1));
    let answer = to_end(&mut oldest).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert_eq!(server.served.load(Ordering::Relaxed), 5);
}

#[tokio::test(start_paused = true)]
async fn a_rapid_reset_ends_its_connection() {
    let server = Server::start(Limits::default());
    let mut connection = server.network.connect();
    connection.write_all(HELLO).await.unwrap();
    let mut sent = 0;
    for i in 0..100_000 {
        let stream = 2 * i + 1;
        let reset = [&request(stream, "/hangs", true)[..], &frames::reset(stream)].concat();
        if connection.write_all(&reset).await.is_err() {
            break;
        }
        sent += 1;
    }
    assert!(sent < 100_000, "it was never stopped");
    let served = server.served.load(Ordering::Relaxed);
    println!("{sent} requests sent and reset, {served} begun");
    assert!(server.network.get("/livez").await.ends_with("ok"));
}

#[tokio::test(start_paused = true)]
async fn more_streams_than_allowed_are_refused() {
    let server = Server::start(Limits::default());
    let mut connection = server.network.connect();
    connection.write_all(HELLO).await.unwrap();
    for i in 0..2 * MAX_STREAMS {
        let hangs = request(2 * i + 1, "/hangs", true);
        connection.write_all(&hangs).await.unwrap();
    }
    settle().await;
    let most = usize::try_from(MAX_STREAMS).unwrap();
    assert_eq!(server.served.load(Ordering::Relaxed), most);
}
