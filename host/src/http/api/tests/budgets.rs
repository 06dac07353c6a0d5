//! The API's budgets for requests and memory, in simulated time.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;

use super::TARGET;
use crate::http::api::router;
use crate::http::body;
use crate::http::fake::Fake;
use crate::http::listen::in_memory::{Network, network, to_end};
use crate::http::listen::{Limits, Registry, Routes, serve};
use crate::metrics::Metrics;

fn start(limits: Limits) -> (Network, Fake) {
    let (socket, network) = network();
    let fake = Fake::default();
    let registry = Registry::new(&limits);
    let metrics = Arc::new(Metrics::new(""));
    let router = router(fake.clone(), metrics, &limits, registry.clone());
    let routes = Routes { router, once: false };
    tokio::spawn(async move {
        let admit = move |_: &DuplexStream| Some(routes.clone());
        serve(socket, &limits, registry, std::future::pending(), admit).await;
    });
    (network, fake)
}

fn head(len: usize) -> Vec<u8> {
    format!(
        "POST {TARGET} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n"
    )
    .into_bytes()
}

async fn post(network: &Network, len: usize) -> String {
    let mut request = head(len);
    request.resize(request.len() + len, b'x');
    let mut connection = network.connect();
    // Write and read concurrently: an in-memory connection has a small buffer.
    let (mut read, mut write) = tokio::io::split(&mut connection);
    let mut answer = Vec::new();
    let (_, _) = tokio::join!(write.write_all(&request), read.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

/// Opens a connection that sends all but the last byte of a body of maximum length, and then waits.
async fn dawdle(network: &Network) -> DuplexStream {
    let mut request = head(body::LIMIT);
    request.resize(request.len() + body::LIMIT - 1, b'x');
    network.send(&request).await
}

#[tokio::test(start_paused = true)]
async fn values_that_do_not_fit_are_refused_and_small_ones_are_served() {
    let (network, fake) = start(Limits::default());
    let gate = fake.gate();
    let mut at_work = Vec::new();
    for _ in 0..32 {
        let network = network.clone();
        at_work.push(tokio::spawn(async move { post(&network, body::LIMIT).await }));
        gate.arrived.acquire().await.unwrap().forget();
    }
    let start = Instant::now();
    let refused = post(&network, body::LIMIT).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    assert!(refused.contains("\"kind\":\"overloaded\""), "{refused}");
    assert_eq!(start.elapsed(), Limits::default().patience);

    let small = {
        let network = network.clone();
        tokio::spawn(async move { post(&network, 8 * 1024).await })
    };
    gate.arrived.acquire().await.unwrap().forget();
    gate.go.add_permits(34);
    for answer in at_work.into_iter().chain([small]) {
        assert!(answer.await.unwrap().starts_with("HTTP/1.1 200 "));
    }
    let answer = post(&network, body::LIMIT).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "the memory is back");
}

#[tokio::test(start_paused = true)]
async fn stalled_clients_lose_their_memory_to_others() {
    let (network, _fake) = start(Limits::default());
    let mut stalled = Vec::new();
    for _ in 0..32 {
        stalled.push(dawdle(&network).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let answer = post(&network, body::LIMIT).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{:.100}", answer);
    assert!(start.elapsed() < Duration::from_secs(1));
    let answer = to_end(&mut stalled[0]).await;
    assert_eq!(answer, "", "the connection that stalled longest was closed");
}

#[tokio::test(start_paused = true)]
async fn unread_responses_lose_their_places_to_others() {
    let limits = Limits { requests: 2, ..Limits::default() };
    let (network, _fake) = start(limits);
    let mut unread = Vec::new();
    for _ in 0..2 {
        let mut request = head(body::LIMIT);
        request.resize(request.len() + body::LIMIT, b'x');
        unread.push(network.send(&request).await);
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    assert!(post(&network, 1).await.starts_with("HTTP/1.1 200 "));
    assert!(start.elapsed() < Duration::from_secs(1));
}
