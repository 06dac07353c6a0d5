//! Restores a snapshot of the machine: two copies of one memory continue.

use std::cell::RefCell;
use std::future::Future;
use std::io::Read;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

use crate::host::Host;
use crate::model::Location;

/// Locked for reading by each history while it plays, and for writing by a history that copies the process. A copy inherits the descriptors of every
/// thread: a listener that another history closes, or a lock that it releases, would remain open until the copy ends.
static COPYING: RwLock<()> = RwLock::new(());

thread_local! {
    static PLAYING: RefCell<Option<RwLockReadGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// While this exists, only this thread can copy the process.
pub(super) struct Playing(());

/// Waits until no copy is being made, and marks this thread as playing a history.
pub(super) fn playing() -> Playing {
    let guard = COPYING.read().unwrap_or_else(PoisonError::into_inner);
    PLAYING.set(Some(guard));
    Playing(())
}

impl Drop for Playing {
    fn drop(&mut self) {
        PLAYING.set(None);
    }
}

/// Waits until every other history in this process has ended, and runs `work`. Other histories can start only afterwards.
fn alone<T>(work: impl FnOnce() -> T) -> T {
    let was_playing = PLAYING.take().is_some();
    let copying = COPYING.write().unwrap_or_else(PoisonError::into_inner);
    let done = work();
    drop(copying);
    if was_playing {
        let guard = COPYING.read().unwrap_or_else(PoisonError::into_inner);
        PLAYING.set(Some(guard));
    }
    done
}

/// Copies this process with its memory, lets the copy encrypt these values, and returns what the copy stored. Values for which the copy needs more
/// than its memory, such as a plugin, are left out.
///
/// The copy contains only this thread. So it must not call anything that another thread may have locked. Encrypting in a worker needs no other
/// thread.
pub(super) fn written_by_a_copy(host: &Host, values: &[(Location, Vec<u8>)]) -> Vec<Vec<u8>> {
    alone(|| write_in_a_copy(host, values))
}

fn write_in_a_copy(host: &Host, values: &[(Location, Vec<u8>)]) -> Vec<Vec<u8>> {
    let (read, write) = std::io::pipe().expect("a pipe");
    let (read, write) = (OwnedFd::from(read), OwnedFd::from(write));
    // SAFETY: the copy calls only the functions below, writes to its pipe and exits without running anything else.
    #[allow(unsafe_code)]
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: the call reads and writes no memory of this process. The alarm ends the copy in any case.
        #[allow(unsafe_code)]
        unsafe {
            libc::alarm(10);
        }
        let stored = values.iter().filter_map(|value| write_at_once(host, value));
        let mut bytes = Vec::new();
        for stored in stored {
            bytes.extend_from_slice(&(stored.len() as u32).to_le_bytes());
            bytes.extend_from_slice(&stored);
        }
        let write = write.into_raw_fd();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // SAFETY: `rest` has this length, and the descriptor is open.
            #[allow(unsafe_code)]
            let written = unsafe { libc::write(write, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written..],
                _ => break,
            }
        }
        // SAFETY: the process ends here.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(0)
        }
    }
    assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
    drop(write);
    let mut bytes = Vec::new();
    // SAFETY: the descriptor has no other owner.
    #[allow(unsafe_code)]
    let mut pipe = unsafe { std::fs::File::from_raw_fd(read.into_raw_fd()) };
    pipe.read_to_end(&mut bytes).expect("cannot read what the copy wrote");
    let mut status = 0;
    // SAFETY: `status` is valid for writes.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(waited == child && status == 0, "the copy ended with {status}");
    let mut stored = Vec::new();
    let mut rest = &bytes[..];
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (value, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        stored.push(value.to_vec());
        rest = after;
    }
    stored
}

/// Encrypts a value. Returns `None` if that fails or would have to wait.
fn write_at_once(host: &Host, (at, plaintext): &(Location, Vec<u8>)) -> Option<Vec<u8>> {
    let write = host.to_storage(at.clone(), plaintext.clone().into());
    let write = tokio::task::unconstrained(write);
    match std::pin::pin!(write).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(encrypted)) => Some(encrypted.stored),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}
