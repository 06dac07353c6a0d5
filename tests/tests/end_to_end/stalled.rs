//! A server whose output is not read.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Stdio};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;
use tokio::time::timeout;

use crate::http::Connection;
use crate::process::Process;
use crate::server::{Server, metric};
use crate::stage::play;
use crate::wait::{PATIENCE, until};

const KEY: &[u8] = b"/registry/secrets/default/token";

/// A process that is killed when its test ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both calls fail if the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn dropped(server: &Server) -> f64 {
    metric(&server.metrics().await, "dekker_log_lines_dropped_total", &[])
}

/// Writes and reads until log lines are dropped, and returns how many rounds that took. Every request must still be answered.
async fn fill_log(server: &Server) -> u32 {
    assert_eq!(dropped(server).await, 0.0);
    let mut connection = server.connect().await;
    let mut requests = 0_u32;
    while dropped(server).await == 0.0 {
        let answer = timeout(PATIENCE, connection.write(KEY, &[7; 1000])).await;
        let mut stored =
            answer.expect("it does not wait for the log's reader").expect("an answer").ok();
        // A different unknown DEK each time: the plugin is asked, and the trace of that call is about 30 kB.
        for (byte, other) in stored.iter_mut().rev().zip(requests.to_le_bytes()) {
            *byte ^= !other;
        }
        let answer = timeout(PATIENCE, connection.read(KEY, &stored)).await;
        let answer = answer.expect("this does not wait for it either").expect("an answer");
        assert_eq!(answer.status, 502, "{}", answer.text());
        requests += 1;
    }
    requests
}

#[test]
fn an_unread_log_blocks_nothing_and_reports_its_losses_afterwards() {
    play(async |stage| {
        let (process, unread) =
            Process::start_unread(stage.serve_command(&["--log", "trace"]), b"");
        let mut server = Server::ready(process).await;
        assert!(fill_log(&server).await > 10, "the queue holds some lines");
        assert_eq!(server.get("/readyz").await.status, 200);

        drop(unread);
        until("it reports its lost lines", async || {
            let log = server.process.stderr.text();
            log.contains("log lines were dropped because the log was not read").then_some(())
        })
        .await;
        server.process.signal(Signal::TERM);
        assert_eq!(server.process.ended().await.code(), Some(0));
    });
}

#[test]
fn an_unread_log_does_not_delay_the_shutdown() {
    play(async |stage| {
        let (process, unread) =
            Process::start_unread(stage.serve_command(&["--log", "trace"]), b"");
        let server = Server::ready(process).await;
        fill_log(&server).await;
        server.process.signal(Signal::TERM);
        // The server first closes its sockets, then its log, and then exits.
        until("it has ended, unread", async || server.process.is_gone().then_some(())).await;
        drop(unread);
    });
}

#[test]
fn unread_standard_output_delays_neither_start_nor_shutdown() {
    play(async |stage| {
        // A pipe that is completely full.
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let flags = fcntl_getfl(&writer).expect("flags");
        fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("no blocking");
        let mut full = File::from(std::os::fd::OwnedFd::from(writer));
        while full.write(&[0; 4096]).is_ok() {}
        while full.write(&[0]).is_ok() {}
        fcntl_setfl(&full, flags).expect("blocking again");

        let mut command = stage.serve_command(&[]);
        command.stdin(Stdio::null()).stdout(full).stderr(Stdio::null());
        let mut child = Killed(command.spawn().expect("it starts"));
        let socket = stage.state().join("api.sock");
        let mut connection =
            until("it listens", async || Connection::unix(&socket).await.ok()).await;
        let answer = timeout(PATIENCE, connection.write(KEY, b"hunter2")).await;
        answer.expect("in time").expect("an answer").ok();
        let pid = i32::try_from(child.0.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.expect("a process ID"), Signal::TERM).expect("it runs");
        let status = until("it ends", async || child.0.try_wait().expect("a child")).await;
        assert_eq!(status.code(), Some(0));
    });
}
