//! Where a simulation takes the place of the system: clock, threads, files' watchers, descriptors, traps.
//!
//! A history runs on one thread, and so what it has put in place is that thread's alone: other tests see the system.

use std::cell::RefCell;
use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::guest::{Component, MEMORY_MAX};

/// 2026-01-02T03:04:05Z: when every history begins.
const EPOCH: Duration = Duration::from_secs(1_767_323_045);
/// One hour: for how long the machine has been up by then.
const UPTIME: Duration = Duration::from_secs(3600);

thread_local! {
    static SEAMS: RefCell<Option<Seams>> = const { RefCell::new(None) };
}

struct Seams {
    began: Instant,
    /// How long the machine has slept: `CLOCK_BOOTTIME` knows, the clock of timers does not.
    slept: Duration,
    /// When it slept last, by the clock of timers, and for how long.
    last_sleep: Option<(Instant, Duration)>,
    /// How far the time of day has run ahead of `CLOCK_BOOTTIME`, as after a restored snapshot.
    ahead: Duration,
    spawned: Vec<AbortHandle>,
    accepted: Vec<(PathBuf, OwnedFd)>,
    /// The call into a guest that traps, counted from the next one.
    trap: Option<u32>,
    disk_is_full: bool,
}

/// From here on this thread is a history's, until the value is dropped.
pub(super) struct Installed(());

/// Within a runtime whose time is paused.
pub(super) fn install() -> Installed {
    SEAMS.set(Some(Seams {
        began: Instant::now(),
        slept: Duration::ZERO,
        last_sleep: None,
        ahead: Duration::ZERO,
        spawned: Vec::new(),
        accepted: Vec::new(),
        trap: None,
        disk_is_full: false,
    }));
    Installed(())
}

impl Drop for Installed {
    fn drop(&mut self) {
        SEAMS.set(None);
    }
}

fn with<T>(work: impl FnOnce(&mut Seams) -> T) -> Option<T> {
    SEAMS.with_borrow_mut(|seams| seams.as_mut().map(work))
}

pub(crate) fn is_simulated() -> bool {
    SEAMS.with_borrow(Option::is_some)
}

pub(crate) fn boot_time() -> Option<Duration> {
    with(|seams| UPTIME + seams.slept + seams.began.elapsed())
}

pub(crate) fn time_of_day() -> Option<Duration> {
    with(|seams| EPOCH + seams.slept + seams.ahead + seams.began.elapsed())
}

/// The machine sleeps: no timer runs meanwhile.
pub(super) fn sleep_machine(time: Duration) {
    with(|seams| {
        seams.slept += time;
        seams.last_sleep = Some((Instant::now(), time));
    });
}

/// The time now, and if the machine has slept since then and no timer has run after that sleep, the time before it: what had been done by then may
/// be heard of only now.
pub(super) fn earliest_end(begun: Duration) -> Option<Duration> {
    let now = boot_time()?;
    let last_sleep = with(|seams| seams.last_sleep)?;
    Some(match last_sleep {
        Some((at, time)) if at == Instant::now() && begun + time <= now => now - time,
        _ => now,
    })
}

/// The machine is a copy of what it was so long ago.
pub(super) fn restore_machine(time: Duration) {
    with(|seams| seams.ahead += time);
}

/// The embedded component: compiled once for all histories.
pub(crate) fn component(memory_max: usize) -> wasmtime::Result<Component> {
    static COMPONENT: OnceLock<Component> = OnceLock::new();
    if let Some(component) = COMPONENT.get() {
        return Ok(component.limited(memory_max));
    }
    let component = Component::embedded(MEMORY_MAX)?;
    Ok(COMPONENT.get_or_init(|| component).limited(memory_max))
}

/// Runs what has a thread of its own elsewhere as a task.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let task = tokio::spawn(task).abort_handle();
    with(|seams| seams.spawned.push(task));
}

/// What was spawned since this was last asked.
pub(super) fn spawned() -> Vec<AbortHandle> {
    with(|seams| std::mem::take(&mut seams.spawned)).unwrap_or_default()
}

/// A server has a new connection.
pub(crate) fn accepted(stream: &UnixStream) {
    let path = stream.local_addr().ok();
    let path = path.and_then(|address| address.as_pathname().map(Path::to_path_buf));
    if let (Some(path), Ok(copy)) = (path, stream.as_fd().try_clone_to_owned()) {
        with(|seams| seams.accepted.push((path, copy)));
    }
}

/// Ends every connection that was accepted at this path, as the end of its process does.
pub(super) fn cut(path: &Path) {
    with(|seams| {
        seams.accepted.retain(|(at, connection)| {
            let is_cut = at == path;
            if is_cut {
                // One that has ended already is as good.
                let _ = rustix::net::shutdown(connection, rustix::net::Shutdown::Both);
            }
            !is_cut
        });
    });
}

/// The call after this many into any guest will trap.
pub(super) fn trap_after(calls: u32) {
    with(|seams| seams.trap = Some(calls));
}

/// No call traps any more.
pub(super) fn trap_no_more() {
    with(|seams| seams.trap = None);
}

/// Whether a call will trap.
pub(super) fn will_trap() -> bool {
    with(|seams| seams.trap.is_some()).unwrap_or(false)
}

/// Whether the call that begins traps.
pub(crate) fn traps() -> bool {
    with(|seams| match seams.trap {
        Some(0) => {
            seams.trap = None;
            true
        }
        Some(calls) => {
            seams.trap = Some(calls - 1);
            false
        }
        None => false,
    })
    .unwrap_or(false)
}

pub(super) fn fill_disk(is_full: bool) {
    with(|seams| seams.disk_is_full = is_full);
}

/// Whether a write to a file fails.
///
/// # Errors
/// `ENOSPC`.
pub(crate) fn write_to_disk() -> std::io::Result<()> {
    match with(|seams| seams.disk_is_full) {
        Some(true) => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        Some(false) | None => Ok(()),
    }
}
