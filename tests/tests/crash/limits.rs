//! Servers with too few descriptors, too little memory, or a log without a reader.

use std::io::PipeReader;
use std::path::Path;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use crate::http::target;
use crate::life::{Life, READY, behind};
use crate::seed::report;
use crate::server::{Server, addresses};
use crate::stage::play;
use crate::wait::{breathe, until};

/// Applies a limit of `ulimit` to the process of this command only.
fn limited(command: &Command, limit: &str) -> Command {
    let script = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    behind("/bin/sh", &["-c".to_owned(), script], command)
}

#[test]
fn a_server_keeps_serving_with_64_descriptors() {
    play(async |stage| {
        let mut life = Life::new(&stage, "state");
        life.serve(&stage).await.stop().await;
        let server = Server::start(limited(&life.serve_command(&stage), "-n 64")).await;
        let mut connection = server.connect().await;
        life.write(&mut connection).await.expect("an answer");
        // More connections than there are descriptors, on both interfaces. Those that cannot be accepted wait in the kernel's queue.
        let (mut api, mut health) = (Vec::new(), Vec::new());
        for _ in 0..100 {
            api.push(UnixStream::connect(&server.api).await.expect("a queue of 1024"));
            health.push(TcpStream::connect(server.health).await.expect("a queue"));
        }
        // Idle connections must give way to those with a request. A configuration file that cannot be opened now is loaded later.
        for _ in 0..20 {
            write_reconnecting(&mut life, &server).await;
        }
        let hash = life.change_configuration();
        server.process.signal(rustix::process::Signal::HUP);
        write_reconnecting(&mut life, &server).await;
        drop((api, health));
        until("the server is ready", async || {
            let answer = server.get("/readyz").await;
            (answer.status == 200).then_some(())
        })
        .await;
        until("the configuration is in use", async || {
            let status = server.status().await;
            (status["configFile"]["loadedHash"] == *hash).then_some(())
        })
        .await;
        life.write_with_new(&server).await;
        drop(connection);
        let log = server.stop().await;
        assert!(!log.contains("panicked"), "{log}");
        life.finish(&stage).await;
    });
}

/// Writes a value on a separate connection, and tries again with another one if the server closes it.
async fn write_reconnecting(life: &mut Life, server: &Server) {
    until("a value is written", async || {
        let mut connection = server.connect().await;
        life.write(&mut connection).await.ok()
    })
    .await;
}

/// 2 MiB: the largest body that is served.
const BODY: usize = 2 << 20;

/// 256 MiB of writable private memory; the bodies together have 1000 MiB.
const MEMORY: &str = "-d 262144";

#[test]
fn a_server_with_little_memory_refuses_requests_and_does_not_abort() {
    play(async |stage| {
        let mut life = Life::new(&stage, "state");
        life.serve(&stage).await.stop().await;
        let mut server = Server::start(limited(&life.serve_command(&stage), MEMORY)).await;
        let mut connection = server.connect().await;
        life.write(&mut connection).await.expect("an answer");
        let mut requests = JoinSet::new();
        for at in 0..500 {
            let api = server.api.clone();
            requests.spawn(async move { write_large(&api, at).await });
        }
        let (mut served, mut refused, mut others) = (0, 0, Vec::new());
        while let Some(status) = requests.join_next().await {
            match status.expect("no panic") {
                Ok(200) => served += 1,
                Ok(503) => refused += 1,
                other => others.push(format!("{other:?}")),
            }
        }
        report(&format!(
            "500 bodies of 2 MiB with 256 MiB of memory: {served} served, {refused} refused with 503, {} without either",
            others.len()
        ));
        if server.process.stdout.is_closed() {
            let status = server.process.ended().await;
            panic!("it ended: {status}: {}", server.process.stderr.text());
        }
        assert!(others.is_empty(), "{}: {}", others.len(), others[0]);
        assert!(served > 0, "nothing was served");
        life.write(&mut connection).await.expect("an answer");
        drop(connection);
        let log = server.stop().await;
        assert!(!log.contains("panicked"), "{log}");
        life.finish(&stage).await;
    });
}

/// Sends one request with a body of zeros, which is not copied for each request. Reads the whole answer and returns its status.
async fn write_large(api: &Path, at: usize) -> std::io::Result<u16> {
    static CHUNK: [u8; 64 << 10] = [0; 64 << 10];
    let target = target("to-storage", "secrets", format!("/large/{at}").as_bytes());
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: dekker\r\nconnection: close\r\ncontent-length: {BODY}\r\n\r\n"
    );
    let (mut from, mut to) = UnixStream::connect(api).await?.into_split();
    let send = async {
        to.write_all(head.as_bytes()).await?;
        for _ in 0..BODY / CHUNK.len() {
            to.write_all(&CHUNK).await?;
        }
        std::io::Result::Ok(to)
    };
    let receive = async {
        let mut start = [0; 12];
        from.read_exact(&mut start).await?;
        let mut buffer = vec![0; 64 << 10];
        while from.read(&mut buffer).await? > 0 {}
        std::io::Result::Ok(start)
    };
    // A refusal may arrive before everything was sent. Sending then fails, but the answer is still valid.
    let (_, start) = tokio::join!(send, receive);
    let start = String::from_utf8_lossy(&start?).into_owned();
    let status = start.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.parse().ok());
    status.ok_or_else(|| std::io::Error::other(start))
}

#[test]
fn an_unread_log_blocks_no_request() {
    play(async |stage| {
        let mut life = Life::new(&stage, "state");
        life.serve(&stage).await.stop().await;
        let (unread, log) = std::io::pipe().expect("a pipe");
        let mut command = life.serve_command(&stage);
        command.args(["--log", "trace"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().expect("the binary");
        // Closes the command's copy of the pipe's writing end too.
        drop(command);
        let stdout = crate::process::Capture::of(child.stdout.take().expect("piped"));
        let _ended = KillOnDrop(child);
        let banner = until("it is ready", async || {
            let said = stdout.text();
            said.contains(READY).then_some(said)
        })
        .await;
        let (api, _) = addresses(&banner);
        let mut connection = crate::http::Connection::unix(&api).await.expect("it listens");
        let mut requests = 0;
        while !is_full(&unread) {
            life.write(&mut connection).await.expect("an answer");
            requests += 1;
            breathe().await;
        }
        for _ in 0..200 {
            life.write(&mut connection).await.expect("an answer");
        }
        report(&format!(
            "an unread log: full after {requests} requests, 200 of 200 served after that"
        ));
        drop(_ended);
        life.finish(&stage).await;
    });
}

/// Whether a pipe of 64 KiB is almost full: it has no room for another line, or for another page.
fn is_full(pipe: &PipeReader) -> bool {
    let waiting = rustix::io::ioctl_fionread(pipe).expect("a pipe");
    waiting >= 60 << 10
}

struct KillOnDrop(std::process::Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
