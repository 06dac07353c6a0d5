//! Large, many, or rejected bodies: each client gets an answer, and memory stays bounded.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustix::process::{Resource, Rlimit, prlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::http::target;
use crate::server::Server;
use crate::stage::{play, skip};

/// 2 MiB: the size of the longest plaintext.
const LONGEST: usize = 2 * 1024 * 1024;

/// The number of concurrent clients.
const CLIENTS: usize = 500;

/// 200 MB, in the kB of /proc.
const RSS_MAX: u64 = 200_000;

#[derive(Clone)]
enum Address {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

fn request(target: &str, len: usize) -> Arc<[u8]> {
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {len}\r\n\r\n"
    );
    let mut request = head.into_bytes();
    request.resize(request.len() + len, b'x');
    request.into()
}

/// Sends the whole request before it reads the answer, and returns the status.
async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &[u8],
) -> std::io::Result<u16> {
    stream.write_all(request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
    status.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}

/// Runs many clients at the same time, each on a separate connection, and returns how many saw each status or error.
async fn outcomes(to: &Address, request: &Arc<[u8]>, clients: usize) -> BTreeMap<String, usize> {
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (to, request) = (to.clone(), request.clone());
        tasks.spawn(async move {
            match to {
                Address::Unix(path) => exchange(UnixStream::connect(path).await?, &request).await,
                Address::Tcp(address) => {
                    exchange(TcpStream::connect(address).await?, &request).await
                }
            }
        });
    }
    let mut seen = BTreeMap::new();
    while let Some(outcome) = tasks.join_next().await {
        let outcome = match outcome.expect("no panic") {
            Ok(status) => status.to_string(),
            Err(error) => error.kind().to_string(),
        };
        *seen.entry(outcome).or_default() += 1;
    }
    seen
}

/// Returns a line of /proc/<pid>/status, in kB.
fn memory(server: &Server, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process.id()));
    let status = status.expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kb = line.and_then(|line| line.trim_start_matches(':').split_whitespace().next());
    kb.and_then(|kb| kb.parse().ok()).expect("a number of kB")
}

fn all_have_an_answer(seen: &BTreeMap<String, usize>) -> bool {
    seen.keys().all(|status| status == "200" || status == "503") && seen.contains_key("200")
}

#[test]
fn many_large_bodies_are_all_answered_in_bounded_memory() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let before = memory(&server, "VmRSS");
        let api = Address::Unix(server.api.clone());
        let request = request(&target("to-storage", "secrets", b"/k"), LONGEST);
        for round in 0..3 {
            let seen = outcomes(&api, &request, CLIENTS).await;
            let (peak, after) = (memory(&server, "VmHWM"), memory(&server, "VmRSS"));
            println!(
                "round {round}: {CLIENTS} bodies of 2 MiB: {seen:?}; RSS {before} kB before, at most {peak} kB, {after} kB after"
            );
            assert!(all_have_an_answer(&seen), "{seen:?}");
            assert!(peak < RSS_MAX, "{peak} kB");
        }
        server.write("/k", b"still there").await;
        server.stop().await;
    });
}

/// `ulimit -v`: a request for which memory is not available is refused, and the process does not abort.
#[test]
fn many_large_bodies_are_all_answered_under_a_memory_limit() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let api = Address::Unix(server.api.clone());
        let to = target("to-storage", "secrets", b"/k");
        // Four concurrent requests, four times: the workers allocate what they keep before the limit is set.
        for _ in 0..4 {
            let seen = outcomes(&api, &request(&to, LONGEST), 4).await;
            assert_eq!(seen.get("200"), Some(&4), "{seen:?}");
        }
        let limit = (memory(&server, "VmSize") + 100 * 1024) * 1024;
        let limit = Rlimit { current: Some(limit), maximum: Some(limit) };
        let pid =
            rustix::process::Pid::from_raw(i32::try_from(server.process.id()).expect("a pid"));
        prlimit(pid, Resource::As, limit).expect("our own child");
        let seen = outcomes(&api, &request(&to, LONGEST), CLIENTS).await;
        println!("{CLIENTS} bodies of 2 MiB with 100 MiB to spare: {seen:?}");
        assert!(all_have_an_answer(&seen), "{seen:?}");
        server.write("/k", b"still there").await;
        server.stop().await;
    });
}

#[test]
fn a_client_that_sends_its_whole_body_before_it_reads_sees_the_refusal() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let api = Address::Unix(server.api.clone());
        let health = Address::Tcp(server.health);
        let long = 4 * LONGEST;
        let table = [
            ("too long", &api, target("to-storage", "secrets", b"/k"), 413),
            ("bad query", &api, "/v1/to-storage?x=1".to_owned(), 400),
            ("no such path", &api, "/nothing".to_owned(), 404),
            ("health: no such path", &health, "/nothing".to_owned(), 404),
            ("health: another method", &health, "/livez".to_owned(), 405),
        ];
        for (desc, to, target, status) in table {
            let seen = outcomes(to, &request(&target, long), 100).await;
            println!("{desc}: {seen:?} of 100");
            assert_eq!(seen.get(&status.to_string()), Some(&100), "{desc}: {seen:?}");
        }
        curl(&server.api, &stage.file("long", vec![b'x'; long]));
        server.stop().await;
    });
}

/// curl sends `Expect: 100-continue` with a long body, or sends the body at once if this header is disabled.
fn curl(api: &Path, body: &Path) {
    let to = target("to-storage", "secrets", b"/k");
    for expect in ["Expect: 100-continue", "Expect:"] {
        let curl = Command::new("curl")
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "-H", expect])
            .arg("--unix-socket")
            .arg(api)
            .arg("--data-binary")
            .arg(format!("@{}", body.display()))
            .arg(format!("http://dekker{to}"))
            .output();
        let Ok(output) = curl else {
            return skip("curl is not installed; the clients above send the same requests");
        };
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said, "413", "{expect}: {output:?}");
    }
}
