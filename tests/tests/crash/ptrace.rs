//! The few ptrace(2) requests that the tests make. Each checks the result.
//!
//! Linux accepts them only from the tracing thread, and returns `ESRCH` if the traced thread has been killed.

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of};

/// A thread ID; the first thread's ID stands for the process.
pub(crate) type Tid = libc::pid_t;

/// An event that [`wait`] returns.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Exited(c_int),
    Killed(c_int),
    /// The thread stopped before or after a system call.
    Call,
    /// The thread stopped because of this signal, which has not been delivered yet.
    Signal(c_int),
    /// The thread stopped for an event of ptrace itself, such as a new thread.
    Own,
}

/// Where a thread is stopped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum At {
    Entry { number: u64, args: [u64; 6] },
    Elsewhere,
}

/// Makes the parent trace this process. Makes one system call and allocates nothing.
pub(crate) fn trace_me() -> io::Result<()> {
    request(libc::PTRACE_TRACEME, 0, 0, 0)
}

/// Makes stops at system calls distinguishable from signals, traces new threads too, and kills all of them if the tracer ends.
pub(crate) fn set_up(process: Tid) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, process, 0, options as usize)
}

/// Resumes a thread until its next system call, and delivers this signal if it is not 0.
pub(crate) fn resume(thread: Tid, signal: c_int) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, thread, 0, signal as usize)
}

/// Returns where a stopped thread is.
pub(crate) fn standing_at(thread: Tid) -> io::Result<At> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    let into = info.as_mut_ptr() as usize;
    request(libc::PTRACE_GET_SYSCALL_INFO, thread, size, into)?;
    // SAFETY: the structure holds plain integers, which may be zero. The kernel has filled in the part that it reports.
    let info = unsafe { info.assume_init() };
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says that the kernel has filled in this field.
            let entry = unsafe { info.u.entry };
            At::Entry { number: entry.nr, args: entry.args }
        }
        _ => At::Elsewhere,
    })
}

/// Waits for the next event of any process or thread that this thread traces.
pub(crate) fn wait() -> io::Result<(Tid, Event)> {
    let mut status = 0;
    // SAFETY: the kernel writes one integer.
    let thread = unsafe { libc::waitpid(-1, &mut status, libc::__WALL | libc::__WNOTHREAD) };
    if thread < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = if libc::WIFEXITED(status) {
        Event::Exited(libc::WEXITSTATUS(status))
    } else if libc::WIFSIGNALED(status) {
        Event::Killed(libc::WTERMSIG(status))
    } else {
        match libc::WSTOPSIG(status) {
            signal if signal == libc::SIGTRAP | 0x80 => Event::Call,
            _ if status >> 16 != 0 => Event::Own,
            signal => Event::Signal(signal),
        }
    };
    Ok((thread, event))
}

/// Sends a signal to a process. The process may already have ended.
pub(crate) fn send(process: Tid, signal: c_int) {
    // SAFETY: it takes two integers.
    unsafe { libc::kill(process, signal) };
}

fn request(request: c_uint, thread: Tid, at: usize, data: usize) -> io::Result<()> {
    let (at, data) = (at as *mut c_void, data as *mut c_void);
    // SAFETY: the requests above write into this process only where `data` says, and there `standing_at` has room for it.
    match unsafe { libc::ptrace(request, thread, at, data) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
