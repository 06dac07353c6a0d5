//! Connections that are held open: idle, with half a request, or with an answer that is never read. A new client must still be served.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::server::Server;
use crate::stage::play;

/// The number of connections that a server keeps. Beyond it, each new connection closes an old one.
const CROWD: usize = 512;

/// HTTP/2's preface and empty settings. The frame layout is in RFC 9113 §4.1.
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The preface, settings that give streams an empty window, and GET /livez as stream 1.
const NEVER_READS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0\0\0\x0d\x01\x05\0\0\0\x01\x82\x86\x04\x06/livez\x01\x01x";

const KINDS: [(&str, &[u8]); 6] = [
    ("silent", b""),
    ("idle HTTP/2", HELLO),
    ("half a header", b"GET /livez HTTP/1.1\r\nho"),
    (
        "half a body",
        b"POST /v1/to-storage?resource=secrets&key=k HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nx",
    ),
    ("an answer unread", NEVER_READS),
    (
        "idle after an answer",
        b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n",
    ),
];

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// Whether the server has not closed the connection.
fn is_open(stream: &Stream) -> bool {
    loop {
        match recv(stream, &mut [0; 1024], RecvFlags::DONTWAIT) {
            Ok((_, 1..)) => {}
            outcome => return outcome == Err(Errno::AGAIN),
        }
    }
}

/// Checks that the new clients were served beside the crowd, and not because its connections timed out, which closes all of them.
fn assert_held(crowd: &[Stream], desc: &str) {
    let open = crowd.iter().filter(|stream| is_open(stream)).count();
    assert!(open >= CROWD / 2, "{desc}: only {open} of {CROWD} connections are left");
}

/// Raises the descriptor limit of this process, which needs a descriptor for each connection too.
fn raise_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be raised");
}

async fn hold(server: &Server, is_health: bool, sent: &[u8]) -> Vec<Stream> {
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        crowd.push(if is_health {
            let mut stream = TcpStream::connect(server.health).await.expect("it listens");
            stream.write_all(sent).await.expect("it reads");
            Stream::Tcp(stream)
        } else {
            let mut stream = UnixStream::connect(&server.api).await.expect("it listens");
            stream.write_all(sent).await.expect("it reads");
            Stream::Unix(stream)
        });
    }
    crowd
}

/// Waits until the server has seen the last of these connections, if it sends an answer at all.
async fn settle(stream: &mut Stream, sent: &[u8]) {
    if sent.is_empty() || sent.ends_with(b"ho") || sent.ends_with(b"\nx") {
        return;
    }
    let answer = &mut [0];
    let read = match stream {
        Stream::Tcp(stream) => stream.read_exact(answer).await,
        Stream::Unix(stream) => stream.read_exact(answer).await,
    };
    read.expect("an answer");
}

#[test]
fn livez_is_answered_while_a_crowd_holds_the_health_port() {
    raise_limit();
    play(async |stage| {
        let server = stage.serve(&[]).await;
        for (desc, sent) in KINDS {
            let mut crowd = hold(&server, true, sent).await;
            settle(crowd.last_mut().expect("a crowd"), sent).await;
            let mut slowest = std::time::Duration::ZERO;
            for _ in 0..20 {
                let start = Instant::now();
                assert_eq!(server.get("/livez").await.ok(), b"ok", "{desc}");
                slowest = slowest.max(start.elapsed());
            }
            assert_held(&crowd, desc);
            println!("{CROWD} held ({desc}): the slowest of 20 /livez took {slowest:?}");
        }
        server.stop().await;
    });
}

#[test]
fn a_new_client_is_served_while_a_crowd_holds_the_api() {
    raise_limit();
    play(async |stage| {
        let server = stage.serve(&[]).await;
        for (desc, sent) in KINDS {
            let mut crowd = hold(&server, false, sent).await;
            settle(crowd.last_mut().expect("a crowd"), sent).await;
            let start = Instant::now();
            let stored = server.write("/k", b"plaintext").await;
            assert_eq!(server.read_well("/k", &stored).await.0, b"plaintext");
            assert_held(&crowd, desc);
            println!("{CROWD} held ({desc}): a write and a read took {:?}", start.elapsed());
        }
        server.stop().await;
    });
}
