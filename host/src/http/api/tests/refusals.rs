//! Answers that are sent before the end of the request: the client must receive each of them.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::TARGET;
use super::harness::{Server, is_whole};
use crate::http::body;
use crate::http::listen::Limits;
use crate::http::peer::PeerPolicy;

/// The number of clients. All of them must receive their answer.
const CLIENTS: usize = 100;

/// The number of clients if the server reads their bodies before it refuses them: few enough that there is memory for all bodies.
const CHUNKED_CLIENTS: usize = 20;

/// 4 MiB: more than any buffer between a client and the server, and more than the maximum body.
const LONG: usize = 4 * 1024 * 1024;

/// A request that is refused, with its length announced or in chunks.
fn request(target: &str, len: usize, chunked: bool) -> Vec<u8> {
    let method = if target.contains("GET") { "GET" } else { "POST" };
    let target = target.trim_start_matches("GET ");
    let mut request = format!("{method} {target} HTTP/1.1\r\nhost: x\r\n").into_bytes();
    if chunked {
        request.extend(format!("transfer-encoding: chunked\r\n\r\n{len:x}\r\n").bytes());
    } else {
        request.extend(format!("content-length: {len}\r\n\r\n").bytes());
    }
    request.resize(request.len() + len, b'x');
    if chunked {
        request.extend(b"\r\n0\r\n\r\n");
    }
    request
}

/// Sends all of the request and only then reads the answer, as many clients do.
fn send_all_then_read(path: &Path, request: &[u8]) -> Result<String, std::io::Error> {
    let mut stream = UnixStream::connect(path)?;
    stream.write_all(request)?;
    let (mut response, mut part) = (Vec::new(), [0; 4096]);
    while !is_whole(&response) {
        match stream.read(&mut part)? {
            0 => break,
            len => response.extend_from_slice(&part[..len]),
        }
    }
    Ok(String::from_utf8_lossy(&response).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_client_sees_why_its_request_is_refused() {
    let own = rustix::process::geteuid().as_raw();
    let refuse = PeerPolicy::only([own + 1]);
    let welcome = PeerPolicy::same_user_and([]);
    let full = Limits { requests: 0, patience: Duration::ZERO, ..Limits::default() };
    let open = Limits::default;
    let bad = "/v1/to-storage?resource=s&key=k&x=1";
    let table = [
        ("bad query", bad, LONG, false, &welcome, open(), 400),
        ("another user", TARGET, LONG, false, &refuse, open(), 403),
        ("no such path", "/nothing", LONG, false, &welcome, open(), 404),
        ("another method", "GET /v1/to-storage", LONG, false, &welcome, open(), 405),
        ("too long", TARGET, LONG, false, &welcome, open(), 413),
        ("too long, in chunks", TARGET, LONG, true, &welcome, open(), 413),
        ("no place", TARGET, body::LIMIT, false, &welcome, full, 503),
    ];
    for (desc, target, len, chunked, peers, limits, status) in table {
        let server = Server::start_for(peers.clone(), limits);
        let request: std::sync::Arc<[u8]> = request(target, len, chunked).into();
        let count = if chunked { CHUNKED_CLIENTS } else { CLIENTS };
        let clients: Vec<_> = (0..count)
            .map(|_| {
                let (path, request) = (server.path.clone(), request.clone());
                tokio::task::spawn_blocking(move || send_all_then_read(&path, &request))
            })
            .collect();
        let expected = format!("HTTP/1.1 {status} ");
        let mut seen = 0;
        let mut last_fault = None;
        for client in clients {
            match client.await.unwrap() {
                Ok(answer) if answer.starts_with(&expected) => seen += 1,
                other => last_fault = Some(other),
            }
        }
        println!("{desc}: {seen} of {count} saw {status}");
        assert_eq!(seen, count, "{desc}: {last_fault:?}");

        for mut client in [server.http1().await, server.http2().await] {
            if target == "GET /v1/to-storage" {
                continue;
            }
            let answer = client.post(target, &vec![b'x'; len]).await;
            assert_eq!(answer.status, status, "{desc}");
        }
    }
}

#[tokio::test]
async fn a_connection_stays_usable_after_a_refused_body() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect().await;
    for (len, status) in [(LONG, "413"), (1, "200")] {
        let sent = request(TARGET, len, false);
        stream.write_all(&sent).await.unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0);
        }
        let answer = String::from_utf8_lossy(&answer);
        assert_eq!(answer.get(9..12), Some(status), "{answer}");
    }
}

/// curl and others send `Expect: 100-continue` before a long body. They receive the final answer and send no body.
#[tokio::test]
async fn a_client_that_expects_100_continue_sends_no_refused_body() {
    let server = Server::start(Limits::default());
    let mut stream = server.connect().await;
    let head = format!(
        "POST {TARGET} HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {LONG}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // Read to the end: the server must close the connection, because it could not distinguish a late body from the next request.
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    let mut stream = server.connect().await;
    let head = head.replace(&LONG.to_string(), "1");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; 25];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"x").await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}
