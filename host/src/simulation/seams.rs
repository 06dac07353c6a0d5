//! Replaces parts of the system in a simulation: clock, threads, file watchers, descriptors, traps.
//!
//! A history runs on one thread, and the replacements apply to that thread only. Other tests use the real system.

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

/// The time of day at which every history begins, 2026-01-02T03:04:05Z.
const EPOCH: Duration = Duration::from_secs(1_767_323_045);
/// The machine's uptime at that time, 1 hour.
const UPTIME: Duration = Duration::from_secs(3600);

thread_local! {
    static SEAMS: RefCell<Option<Seams>> = const { RefCell::new(None) };
}

struct Seams {
    began: Instant,
    /// How long the machine has slept. This is part of `CLOCK_BOOTTIME` but not of the timers' clock.
    slept: Duration,
    /// When the machine last slept, by the timers' clock, and for how long.
    last_sleep: Option<(Instant, Duration)>,
    /// How far the time of day runs ahead of `CLOCK_BOOTTIME`, as after the restore of a snapshot.
    ahead: Duration,
    spawned: Vec<AbortHandle>,
    accepted: Vec<(PathBuf, OwnedFd)>,
    /// The number of calls into a guest before the one that traps.
    trap: Option<u32>,
    disk_is_full: bool,
}

/// While this exists, this thread is simulated.
pub(super) struct Installed(());

/// Installs the replacements on this thread. Must be called within a runtime whose time is paused.
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

/// Lets the machine sleep. No timer runs during the sleep.
pub(super) fn sleep_machine(time: Duration) {
    with(|seams| {
        seams.slept += time;
        seams.last_sleep = Some((Instant::now(), time));
    });
}

/// Returns the earliest time at which an operation that began at `begun` and whose result arrives now can have ended. This is now, with one
/// exception: if the machine has slept since `begun` and no timer has run since, it is the time before the sleep, because the operation may have
/// ended then.
pub(super) fn earliest_end(begun: Duration) -> Option<Duration> {
    let now = boot_time()?;
    let last_sleep = with(|seams| seams.last_sleep)?;
    Some(match last_sleep {
        Some((at, time)) if at == Instant::now() && begun + time <= now => now - time,
        _ => now,
    })
}

/// Turns the machine into one restored from a snapshot that was taken this long ago.
pub(super) fn restore_machine(time: Duration) {
    with(|seams| seams.ahead += time);
}

/// Returns the embedded component. It is compiled once for all histories.
pub(crate) fn component(memory_max: usize) -> wasmtime::Result<Component> {
    static COMPONENT: OnceLock<Component> = OnceLock::new();
    if let Some(component) = COMPONENT.get() {
        return Ok(component.limited(memory_max));
    }
    let component = Component::embedded(MEMORY_MAX)?;
    Ok(COMPONENT.get_or_init(|| component).limited(memory_max))
}

/// Runs a task that outside of simulations has a dedicated thread.
pub(crate) fn spawn(task: impl Future<Output = ()> + Send + 'static) {
    let task = tokio::spawn(task).abort_handle();
    with(|seams| seams.spawned.push(task));
}

/// Returns the tasks spawned since the last call.
pub(super) fn spawned() -> Vec<AbortHandle> {
    with(|seams| std::mem::take(&mut seams.spawned)).unwrap_or_default()
}

/// Registers a server's new connection.
pub(crate) fn accepted(stream: &UnixStream) {
    let path = stream.local_addr().ok();
    let path = path.and_then(|address| address.as_pathname().map(Path::to_path_buf));
    if let (Some(path), Ok(copy)) = (path, stream.as_fd().try_clone_to_owned()) {
        with(|seams| seams.accepted.push((path, copy)));
    }
}

/// Closes every connection that was accepted at this path, as happens when a process ends.
pub(super) fn cut(path: &Path) {
    with(|seams| {
        seams.accepted.retain(|(at, connection)| {
            let is_cut = at == path;
            if is_cut {
                // The connection may already have ended.
                let _ = rustix::net::shutdown(connection, rustix::net::Shutdown::Both);
            }
            !is_cut
        });
    });
}

/// Makes a call into any guest trap, after `calls` more calls.
pub(super) fn trap_after(calls: u32) {
    with(|seams| seams.trap = Some(calls));
}

/// Cancels a trap that has not happened yet.
pub(super) fn trap_no_more() {
    with(|seams| seams.trap = None);
}

/// Returns whether a future call will trap.
pub(super) fn will_trap() -> bool {
    with(|seams| seams.trap.is_some()).unwrap_or(false)
}

/// Returns whether the call that now begins traps.
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

/// Fails if the disk is full.
///
/// # Errors
/// Returns `ENOSPC` if the disk is full.
pub(crate) fn write_to_disk() -> std::io::Result<()> {
    match with(|seams| seams.disk_is_full) {
        Some(true) => Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
        Some(false) | None => Ok(()),
    }
}
