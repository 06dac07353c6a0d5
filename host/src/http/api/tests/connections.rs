//! Which connections are accepted, how many at once, for how long, and how they end.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::TARGET;
use super::harness::Server;
use crate::http::listen::Limits;
use crate::http::peer::PeerPolicy;

#[tokio::test]
async fn other_users_are_refused_and_disconnected() {
    let own = rustix::process::geteuid().as_raw();
    let server = Server::start_for(PeerPolicy::only([own + 1]), Limits::default());
    for mut client in [server.http1().await, server.http2().await] {
        let answer = client.post(TARGET, b"x").await;
        assert_eq!(
            (answer.status, answer.problem()["kind"].as_str()),
            (StatusCode::FORBIDDEN, Some("forbidden"))
        );
        assert!(client.send(Method::POST, TARGET, b"x").await.is_err(), "one answer, then no more");
    }
    assert_eq!(server.fake.last_seen(), None);
}

#[tokio::test]
async fn one_request_too_many_is_refused() {
    let server =
        Server::start(Limits { requests: 1, patience: Duration::ZERO, ..Limits::default() });
    let gate = server.fake.gate();
    let mut first = server.http1().await;
    let first = tokio::spawn(async move { first.post(TARGET, b"x").await.status });
    gate.arrived.acquire().await.unwrap().forget();

    let second = server.http2().await.post(TARGET, b"x").await;
    assert_eq!(
        (second.status, second.problem()["kind"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("overloaded"))
    );
    gate.go.add_permits(2);
    assert_eq!(first.await.unwrap(), 200);
    assert_eq!(server.http1().await.post(TARGET, b"x").await.status, 200);
}

#[tokio::test]
async fn a_connection_beyond_the_limit_takes_the_place_of_an_idle_one() {
    let server = Server::start(Limits { connections: 1, connections_max: 1, ..Limits::default() });
    let mut idle = server.connect().await;
    assert_eq!(server.http1().await.post(TARGET, b"x").await.status, 200);
    assert_eq!(idle.read_to_end(&mut Vec::new()).await.unwrap(), 0);
}

#[tokio::test]
async fn shutdown_finishes_running_requests() {
    let server = Server::start(Limits::default());
    let gate = server.fake.gate();
    let mut idle = server.connect().await;
    let running = [server.http1().await, server.http2().await]
        .map(|mut client| tokio::spawn(async move { client.post(TARGET, b"x").await.status }));
    gate.arrived.acquire_many(2).await.unwrap().forget();

    server.stop.send(()).unwrap();
    // Ends only because the server closes idle connections at once.
    let _ = idle.read_to_end(&mut Vec::new()).await;
    assert!(!server.path.exists(), "no new client can connect");
    gate.go.add_permits(2);
    for running in running {
        assert_eq!(running.await.unwrap(), 200);
    }
    server.task.await.unwrap();
}

#[tokio::test]
async fn shutdown_waits_no_longer_than_its_limit() {
    let server = Server::start(Limits { drain: Duration::ZERO, ..Limits::default() });
    let gate = server.fake.gate();
    let mut client = server.http1().await;
    let running = tokio::spawn(async move { client.send(Method::POST, TARGET, b"x").await });
    gate.arrived.acquire().await.unwrap().forget();
    server.stop.send(()).unwrap();
    server.task.await.unwrap();
    assert!(running.await.unwrap().is_err());
}

#[tokio::test]
async fn slow_clients_are_disconnected() {
    let soon = Duration::from_millis(1);
    let table: [(&str, &str, &str); 4] = [
        ("nothing", "", ""),
        ("one byte, of either version", "P", ""),
        ("half an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r", ""),
        ("half a header", "POST / HTTP/1.1\r\nho", ""),
    ];
    let server = Server::start(Limits { header: soon, ..Limits::default() });
    for (desc, sent, expected) in table {
        assert_eq!(server.raw(sent.as_bytes()).await, expected, "{desc}");
    }

    // A longer limit, because here a request must get through first.
    let server = Server::start(Limits { header: Duration::from_millis(250), ..Limits::default() });
    let request = format!("POST {TARGET} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx");
    let answer = server.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "idle after an answer: {answer}");

    let server = Server::start(Limits { body: soon, ..Limits::default() });
    let request = format!("POST {TARGET} HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nabc");
    let answer = server.raw(request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

#[tokio::test]
async fn client_that_disconnects_cancels_its_operation() {
    let server = Server::start(Limits::default());
    let gate = server.fake.gate();
    let mut http1 = server.connect().await;
    let request = format!("POST {TARGET} HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx");
    http1.write_all(request.as_bytes()).await.unwrap();
    gate.arrived.acquire().await.unwrap().forget();
    drop(http1);
    gate.gone.acquire().await.unwrap().forget();

    let mut http2 = server.http2().await;
    let http2 = tokio::spawn(async move { http2.post(TARGET, b"x").await.status });
    gate.arrived.acquire().await.unwrap().forget();
    http2.abort();
    gate.gone.acquire().await.unwrap().forget();
}
