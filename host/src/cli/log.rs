//! Writes log lines to standard error, whose reader may be slow or may have stopped.
//!
//! Lines are put into a queue and written by a dedicated thread, so that a full pipe blocks only the log. The queue is limited in bytes. Lines for
//! which there is no room are dropped and counted, and when the reader reads again, the log reports the number of dropped lines.
//!
//! tracing-appender is unsuitable: it counts lines and not bytes, reports nothing when it recovers, and on exit writes to the stream that may be
//! blocked.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tracing_subscriber::fmt::MakeWriter;

/// The capacity of the queue, 1 MiB. This is about 5,000 lines.
const QUEUE_MAX: usize = 1 << 20;

/// How long the exit waits for the queue to be written, 1 second.
const FLUSH: Duration = Duration::from_secs(1);

/// A handle to the log. Clones share the queue.
#[derive(Clone)]
pub(super) struct Log(Arc<Shared>);

struct Shared {
    queue: Mutex<Queue>,
    /// Notified when there are lines to write or dropped lines to report.
    filled: Condvar,
    /// Notified when everything has been written.
    drained: Condvar,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether the thread is writing a line that it has taken from the queue.
    is_writing: bool,
    /// The number of lines dropped since the log last reported any.
    unreported: u64,
    /// The number of lines dropped since the start.
    dropped: u64,
}

impl Log {
    /// Starts a thread that writes to standard error and lives as long as the process.
    ///
    /// # Errors
    /// Returns an error if standard error cannot be duplicated or the thread cannot be started.
    pub(super) fn to_stderr() -> anyhow::Result<Self> {
        // Not the standard library's handle: a thread that is blocked in a write would hold its lock.
        let out = io::stderr().as_fd().try_clone_to_owned().context("cannot use standard error")?;
        Self::to(File::from(out)).context("cannot start the log")
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let log = Self(Arc::new(Shared {
            queue: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
        }));
        let writer = log.clone();
        std::thread::Builder::new()
            .name("dekker-log".to_owned())
            .spawn(move || writer.write_for_ever(out))?;
        Ok(log)
    }

    /// Adds a line, or drops it if the queue is full. Never waits for the reader.
    pub(super) fn say(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.bytes.saturating_add(line.len()) > QUEUE_MAX {
            queue.unreported += 1;
            queue.dropped += 1;
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Returns the number of lines dropped since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.queue().dropped
    }

    /// Waits until everything is written, but at most for [`FLUSH`].
    pub(super) fn flush(&self) {
        let pending =
            |queue: &mut Queue| queue.is_writing || !queue.lines.is_empty() || queue.unreported > 0;
        // After that time, the remaining lines are given up.
        let _ = self.0.drained.wait_timeout_while(self.queue(), FLUSH, pending);
    }

    /// Sends panic messages to this log. The default panic hook would wait for the reader.
    pub(super) fn take_panics(&self) {
        let log = self.clone();
        std::panic::set_hook(Box::new(move |panic| {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("<unnamed>");
            let place = panic.location().map(ToString::to_string);
            let place = place.as_deref().unwrap_or("an unknown place");
            let what = panic.payload_as_str().unwrap_or("no text");
            let backtrace = std::backtrace::Backtrace::capture();
            let backtrace = match backtrace.status() {
                std::backtrace::BacktraceStatus::Captured => format!("{backtrace}\n"),
                _ => String::new(),
            };
            let line = format!("thread '{name}' panicked at {place}: {what}\n{backtrace}");
            log.say(line.as_bytes());
        }));
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // The queue is never left in an inconsistent state, even by a panic.
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_for_ever(&self, mut out: impl Write) {
        loop {
            let mut queue = self.queue();
            queue.is_writing = false;
            if queue.lines.is_empty() && queue.unreported == 0 {
                self.0.drained.notify_all();
            }
            let idle = |queue: &mut Queue| queue.lines.is_empty() && queue.unreported == 0;
            let mut queue =
                self.0.filled.wait_while(queue, idle).unwrap_or_else(PoisonError::into_inner);
            let Some(line) = queue.lines.pop_front() else {
                // All earlier lines have been written, so the reader is reading again.
                let lines = std::mem::take(&mut queue.unreported);
                drop(queue);
                tracing::warn!(lines, "log lines were dropped because the log was not read");
                continue;
            };
            queue.bytes -= line.len();
            queue.is_writing = true;
            drop(queue);
            // The reader may be gone.
            let _ = out.write_all(&line);
        }
    }
}

/// Each write is one line, because tracing-subscriber writes whole lines.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.say(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// An output that accepts a write only after a message on `go`.
    struct Stalled {
        go: mpsc::Receiver<()>,
        written: mpsc::Sender<Vec<u8>>,
    }

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // After the sender is dropped, all writes are accepted.
            let _ = self.go.recv();
            let _ = self.written.send(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn stalled() -> (Log, mpsc::Sender<()>, mpsc::Receiver<Vec<u8>>) {
        let (go, go_rx) = mpsc::channel();
        let (written, written_rx) = mpsc::channel();
        let out = Stalled { go: go_rx, written };
        (Log::to(out).unwrap(), go, written_rx)
    }

    #[test]
    fn lines_keep_their_order_and_flush_writes_all_of_them() {
        let (log, go, written) = stalled();
        drop(go);
        for n in 0..100 {
            log.say(format!("{n}\n").as_bytes());
        }
        log.flush();
        let lines: Vec<_> = written.try_iter().collect();
        let expected: Vec<_> = (0..100).map(|n| format!("{n}\n").into_bytes()).collect();
        assert_eq!(lines, expected);
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn a_stalled_reader_loses_lines_and_blocks_nothing() {
        let (log, go, written) = stalled();
        let line = [b'x'; 1024];
        // The thread takes one line at some point; then the queue fills.
        for _ in 0..3 * QUEUE_MAX / line.len() {
            log.say(&line);
        }
        let dropped = log.dropped();
        let kept = 3 * QUEUE_MAX / line.len() - usize::try_from(dropped).unwrap();
        let full = QUEUE_MAX / line.len();
        assert!((full..=full + 1).contains(&kept), "{kept}");
        log.flush();
        assert_eq!(written.try_iter().count(), 0, "the exit does not wait for the reader");
        drop(go);
        for _ in 0..kept {
            assert_eq!(written.recv().unwrap(), line);
        }
        log.say(b"afterwards");
        assert_eq!(written.recv().unwrap(), b"afterwards");
        assert_eq!(log.dropped(), dropped);
    }

    #[test]
    fn a_line_longer_than_the_queue_is_dropped() {
        let (log, go, written) = stalled();
        drop(go);
        log.say(&vec![b'x'; QUEUE_MAX + 1]);
        log.say(b"short");
        log.flush();
        assert_eq!(written.try_iter().collect::<Vec<_>>(), [b"short"]);
        assert_eq!(log.dropped(), 1);
    }
}
