//! A child process whose output is captured, and which does not outlive its test.

use std::io::{Read, Write};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::until;

/// A running command. Dropping it kills it, and prints its output if the test has failed.
pub(crate) struct Process {
    name: String,
    child: Child,
    pub stdout: Capture,
    pub stderr: Capture,
}

impl Process {
    /// Starts the command, with `input` on its standard input.
    pub(crate) fn start(command: Command, input: &[u8]) -> Self {
        let (process, unread) = Self::start_unread(command, input);
        drop(unread);
        process
    }

    /// Does the same, but leaves standard error unread until the second value is dropped.
    pub(crate) fn start_unread(mut command: Command, input: &[u8]) -> (Self, Unread) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let name = format!("{command:?}");
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut stdin = child.stdin.take().expect("piped");
        let input = input.to_vec();
        // A command may close its input without reading it.
        thread::spawn(move || drop(stdin.write_all(&input)));
        let (unread, read) = mpsc::channel();
        let stderr = child.stderr.take().expect("piped");
        let process = Self {
            name,
            stdout: Capture::of(child.stdout.take().expect("piped")),
            stderr: Capture::of(Gated { stderr, read }),
            child,
        };
        (process, Unread { _gate: unread })
    }

    /// Waits until standard output contains `text`, and returns all of standard output.
    ///
    /// # Panics
    /// Panics if the process ends first.
    pub(crate) async fn says(&mut self, text: &str) -> String {
        let said = until(&format!("{} says {text:?}", self.name), async || {
            // Checks for the end first: everything printed before it has then been read.
            let ended = self.stdout.is_closed();
            let said = self.stdout.text();
            (said.contains(text) || ended).then_some(said)
        })
        .await;
        assert!(said.contains(text), "{} ended and said {said:?}", self.name);
        said
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process ID"), signal).expect("it runs, or is not waited for");
    }

    /// Returns whether the process has ended, even if its output is still open.
    pub(crate) fn is_gone(&self) -> bool {
        let pid = self.child.id();
        let status = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        // The parent has not waited for it yet, so it remains as a zombie.
        status.is_ok_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z")))
    }

    /// Waits until the process has ended and its output is closed.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let what = format!("{} ends", self.name);
        until(&what, async || {
            let status = self.child.try_wait().expect("a child");
            status.filter(|_| self.stdout.is_closed() && self.stderr.is_closed())
        })
        .await
    }

    /// Waits for the end of the process and returns its exit code and output.
    pub(crate) async fn finished(mut self) -> Finished {
        let status = self.ended().await;
        Finished { code: status.code(), stdout: self.stdout.bytes(), stderr: self.stderr.text() }
    }
}

/// While this value exists, the process' standard error is not read.
pub(crate) struct Unread {
    _gate: mpsc::Sender<()>,
}

struct Gated {
    stderr: ChildStderr,
    read: mpsc::Receiver<()>,
}

impl Read for Gated {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        // No message is ever sent: the call returns when the sender is dropped.
        let _ = self.read.recv();
        self.stderr.read(buffer)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both calls fail if the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let (out, err) = (self.stdout.text(), self.stderr.text());
            eprintln!("--- {}\n--- stdout\n{out}--- stderr\n{err}---", self.name);
        }
    }
}

/// The exit code and the output of a command that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// `None` if a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Finished {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Returns the standard output of a command that succeeded.
    ///
    /// # Panics
    /// Panics if the command failed.
    pub(crate) fn done(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.stdout
    }
}

/// The output that a process has written so far.
#[derive(Clone)]
pub(crate) struct Capture(Arc<Mutex<Captured>>);

#[derive(Default)]
struct Captured {
    bytes: Vec<u8>,
    closed: bool,
}

impl Capture {
    /// Reads to the end on a separate thread.
    pub(crate) fn of(mut from: impl Read + Send + 'static) -> Self {
        let capture = Self(Arc::default());
        let to = capture.clone();
        thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(len @ 1..) = from.read(&mut buffer) {
                to.with(|captured| captured.bytes.extend(&buffer[..len]));
            }
            to.with(|captured| captured.closed = true);
        });
        capture
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.with(|captured| captured.bytes.clone())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }

    /// Returns whether the process, and every other holder of the descriptor, has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.with(|captured| captured.closed)
    }

    fn with<T>(&self, act: impl FnOnce(&mut Captured) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
