//! A snapshot of the machine, restored: two copies of one memory go on.

use std::cell::RefCell;
use std::future::Future;
use std::io::Read;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

use crate::host::Host;
use crate::model::Location;

/// Held for reading by each history while it plays, and for writing by one that copies the process. A copy has the descriptors of every thread:
/// a listener that another history closes, or a lock that it gives up, would live on until the copy ends.
static COPYING: RwLock<()> = RwLock::new(());

thread_local! {
    static PLAYING: RefCell<Option<RwLockReadGuard<'static, ()>>> = const { RefCell::new(None) };
}

/// While it is there no other thread copies the process, unless this one does.
pub(super) struct Playing(());

/// Waits until no copy is left.
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

/// Lets every other history of this process come to its end first, and holds the next ones up until `work` is done.
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

/// Copies this process with its memory, lets the copy write these values, and tells what it stored. What needs more than the memory, such
/// as a plugin, the copy does not do.
///
/// Only this thread is in the copy, so it calls nothing that another one may have locked: a worker's writes need no other thread.
pub(super) fn written_by_a_copy(host: &Host, values: &[(Location, Vec<u8>)]) -> Vec<Vec<u8>> {
    alone(|| write_in_a_copy(host, values))
}

fn write_in_a_copy(host: &Host, values: &[(Location, Vec<u8>)]) -> Vec<Vec<u8>> {
    let (read, write) = std::io::pipe().expect("a pipe");
    let (read, write) = (OwnedFd::from(read), OwnedFd::from(write));
    // SAFETY: the copy calls the functions below, writes to its pipe and ends without running anything else.
    #[allow(unsafe_code)]
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a call that reads and writes no memory of this process. Whatever happens, the copy ends.
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
            // SAFETY: `rest` is so long, and the descriptor is open.
            #[allow(unsafe_code)]
            let written = unsafe { libc::write(write, rest.as_ptr().cast(), rest.len()) };
            match usize::try_from(written) {
                Ok(written) if written > 0 => rest = &rest[written..],
                _ => break,
            }
        }
        // SAFETY: it ends here.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(0)
        }
    }
    assert!(child > 0, "fork: {}", std::io::Error::last_os_error());
    drop(write);
    let mut bytes = Vec::new();
    // SAFETY: nobody else has it.
    #[allow(unsafe_code)]
    let mut pipe = unsafe { std::fs::File::from_raw_fd(read.into_raw_fd()) };
    pipe.read_to_end(&mut bytes).expect("what the copy wrote");
    let mut status = 0;
    // SAFETY: `status` is a place for it.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert!(
        waited == child && status == 0,
        "the copy ended with {status}"
    );
    let mut stored = Vec::new();
    let mut rest = &bytes[..];
    while let Some((len, after)) = rest.split_first_chunk::<4>() {
        let (value, after) = after.split_at(u32::from_le_bytes(*len) as usize);
        stored.push(value.to_vec());
        rest = after;
    }
    stored
}

/// A write that waits for nobody.
fn write_at_once(host: &Host, (at, plaintext): &(Location, Vec<u8>)) -> Option<Vec<u8>> {
    let write = host.to_storage(at.clone(), plaintext.clone().into());
    let write = tokio::task::unconstrained(write);
    match std::pin::pin!(write).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(encrypted)) => Some(encrypted.stored),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}
