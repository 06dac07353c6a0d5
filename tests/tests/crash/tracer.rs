//! A process whose system calls are traced. It can be killed or held at its N-th call that writes.
//!
//! Linux accepts ptrace requests only from the tracing thread. Each process therefore has a thread here that starts it, resumes it after each system
//! call, and waits for its end.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use tokio::sync::watch;

use crate::process::Capture;
use crate::ptrace::{self, At, Event, Tid};
use crate::stage::skip;
use crate::syscalls::writing;
use crate::wait::PATIENCE;

/// A traced process. Dropping it kills it.
pub(crate) struct Traced {
    pid: Tid,
    orders: Arc<Orders>,
    seen: watch::Receiver<Seen>,
    tracer: Option<JoinHandle<()>>,
    pub stdout: Capture,
    pub stderr: Capture,
}

/// What to do at a call that writes, before the call is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// Kill the process; the call is not made.
    Kill,
    /// Hold the whole process until [`Traced::release`].
    Hold,
}

/// What has happened to the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The call at which it was killed or held.
    pub hit: Option<String>,
    pub end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exit(i32),
    Signal(i32),
}

#[derive(Default)]
struct Orders {
    order: Mutex<Order>,
    changed: Condvar,
}

#[derive(Default)]
struct Order {
    /// The call at which to act, counted in calls that write from now on: 1 is the next.
    at: Option<(u64, Then)>,
    held: bool,
}

impl Orders {
    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether this system permits tracing. If it does not, the test is skipped, or fails in CI.
pub(crate) fn may_trace() -> bool {
    match Traced::start(Command::new("/bin/true"), None) {
        Ok(_) => true,
        Err(error) => {
            assert_ne!(
                std::env::var("CI").as_deref(),
                Ok("true"),
                "ptrace is not permitted, and no test is skipped in CI: {error}"
            );
            skip(&format!("ptrace is not permitted: {error}"));
            false
        }
    }
}

impl Traced {
    /// Starts the process. With an order, calls that write are counted from the first instruction.
    ///
    /// # Errors
    /// Returns an error if the process cannot be started or traced.
    pub(crate) fn start(mut command: Command, order: Option<(u64, Then)>) -> io::Result<Self> {
        let orders = Orders::default();
        orders.lock().at = order;
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // SAFETY: between fork and exec this makes one system call and allocates nothing.
        unsafe { command.pre_exec(ptrace::trace_me) };
        let orders = Arc::new(orders);
        let (started, start) = mpsc::channel();
        let (see, seen) = watch::channel(Seen::default());
        let obeyed = Arc::clone(&orders);
        let tracer = thread::spawn(move || {
            let mut child = match command.spawn() {
                Ok(child) => child,
                Err(error) => return started.send(Err(error)).unwrap_or(()),
            };
            let pid = Tid::try_from(child.id()).expect("a process ID");
            let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
            let outputs =
                (Capture::of(stdout.expect("piped")), Capture::of(stderr.expect("piped")));
            // The receiver is gone only if the test has failed.
            let _ = started.send(Ok((pid, outputs)));
            trace(pid, &obeyed, &see);
        });
        let (pid, (stdout, stderr)) = start.recv().map_err(io::Error::other)??;
        Ok(Self { pid, orders, seen, tracer: Some(tracer), stdout, stderr })
    }

    /// Counts calls that write from now on, and acts at the `at`-th.
    pub(crate) fn order(&self, at: u64, then: Then) {
        self.orders.lock().at = Some((at, then));
    }

    /// Resumes the process after a hold, and cancels the order.
    pub(crate) fn release(&self) {
        let mut order = self.orders.lock();
        order.at = None;
        order.held = false;
        self.orders.changed.notify_all();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        ptrace::send(self.pid, signal.as_raw());
    }

    pub(crate) fn seen(&self) -> Seen {
        self.seen.borrow().clone()
    }

    /// Waits until the order was executed or the process has ended.
    pub(crate) async fn hit_or_ended(&self) -> Seen {
        self.until(|seen| seen.hit.is_some() || seen.end.is_some()).await
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&self) -> End {
        self.until(|seen| seen.end.is_some()).await;
        self.seen().end.expect("waited for")
    }

    async fn until(&self, mut seen: impl FnMut(&Seen) -> bool) -> Seen {
        let mut changes = self.seen.clone();
        let waiting = changes.wait_for(|now| seen(now));
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(Ok(now)) => now.clone(),
            // The tracer's thread has ended, and so has the process.
            Ok(Err(_)) => self.seen(),
            Err(_) => panic!("a traced process neither made the expected call nor ended"),
        }
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        if self.seen().end.is_none() {
            self.signal(Signal::KILL);
        }
        self.release();
        if let Some(tracer) = self.tracer.take() {
            // The result only shows whether the thread panicked.
            let _ = tracer.join();
        }
        if thread::panicking() {
            let (out, err) = (self.stdout.text(), self.stderr.text());
            eprintln!("--- traced\n--- stdout\n{out}--- stderr\n{err}---");
        }
    }
}

/// Traces the process and all its threads until they end.
fn trace(process: Tid, orders: &Orders, see: &watch::Sender<Seen>) {
    let mut set_up = false;
    loop {
        let (thread, event) = match ptrace::wait() {
            Ok(seen) => seen,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => panic!("waiting for a traced process: {error}"),
        };
        let deliver = match event {
            Event::Exited(code) if thread == process => return end(see, End::Exit(code)),
            Event::Killed(signal) if thread == process => return end(see, End::Signal(signal)),
            Event::Exited(_) | Event::Killed(_) => continue,
            Event::Call => {
                at_call(process, thread, orders, see);
                0
            }
            Event::Signal(libc::SIGTRAP) if thread == process && !set_up => {
                set_up = true;
                // This fails only if the process is gone; the next event is then its end.
                let _ = ptrace::set_up(thread);
                0
            }
            // Tracing of a new thread begins with this event.
            Event::Signal(libc::SIGSTOP) | Event::Own => 0,
            Event::Signal(signal) => signal,
        };
        // This fails only if the thread was killed in the meantime.
        let _ = ptrace::resume(thread, deliver);
    }
}

fn end(see: &watch::Sender<Seen>, end: End) {
    see.send_modify(|seen| seen.end = Some(end));
}

/// Handles a stop before or after a system call.
fn at_call(process: Tid, thread: Tid, orders: &Orders, see: &watch::Sender<Seen>) {
    if orders.lock().at.is_none() {
        return;
    }
    // This fails only if the thread was killed in the meantime.
    let (number, args) = match ptrace::standing_at(thread) {
        Ok(At::Entry { number, args }) => (number, args),
        Ok(At::Elsewhere) | Err(_) => return,
    };
    let Some(call) = writing(thread, number, args) else {
        return;
    };
    let mut order = orders.lock();
    let then = match &mut order.at {
        None => return,
        Some((left @ 2.., _)) => {
            *left -= 1;
            return;
        }
        Some((_, then)) => *then,
    };
    order.at = None;
    match then {
        Then::Kill => {
            // A thread that is killed before its call does not make the call.
            ptrace::send(process, libc::SIGKILL);
            see.send_modify(|seen| seen.hit = Some(call));
        }
        Then::Hold => {
            order.held = true;
            see.send_modify(|seen| seen.hit = Some(call));
            // The other threads are not resumed during the hold: each stops at its next call.
            let released = orders.changed.wait_while(order, |order| order.held);
            drop(released.unwrap_or_else(PoisonError::into_inner));
        }
    }
}
