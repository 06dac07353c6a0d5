//! The few requests of ptrace(2) that the tests make, each with its answer checked.
//!
//! Linux takes them only from the thread that traces, and answers `ESRCH` when the traced thread has been killed.

use std::ffi::{c_int, c_uint, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of};

/// A thread, or a process by its first thread.
pub type Tid = libc::pid_t;

/// Something that [`wait`] saw.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    Exited(c_int),
    Killed(c_int),
    /// It stands before a system call or behind one.
    Call,
    /// It stands for this signal, which it has not got yet.
    Signal(c_int),
    /// It stands for something that ptrace itself reports, such as a new thread.
    Own,
}

/// Where a thread stands.
#[derive(Clone, Copy, Debug)]
pub enum At {
    Entry { number: u64, args: [u64; 6] },
    Elsewhere,
}

/// Asks to be traced by the parent. It makes one system call and allocates nothing.
pub fn trace_me() -> io::Result<()> {
    request(libc::PTRACE_TRACEME, 0, 0, 0)
}

/// System calls are told from signals, new threads are traced too, and all die with the tracer.
pub fn set_up(process: Tid) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
    request(libc::PTRACE_SETOPTIONS, process, 0, options as usize)
}

/// Lets a thread go on to its next system call, with this signal if it is not 0.
pub fn resume(thread: Tid, signal: c_int) -> io::Result<()> {
    request(libc::PTRACE_SYSCALL, thread, 0, signal as usize)
}

/// Where a thread that stands still does so.
pub fn standing_at(thread: Tid) -> io::Result<At> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let size = size_of::<libc::ptrace_syscall_info>();
    let into = info.as_mut_ptr() as usize;
    request(libc::PTRACE_GET_SYSCALL_INFO, thread, size, into)?;
    // SAFETY: plain integers, which may be zero, and which the kernel has filled in as far as it has something to say.
    let info = unsafe { info.assume_init() };
    Ok(match info.op {
        libc::PTRACE_SYSCALL_INFO_ENTRY => {
            // SAFETY: `op` says that this is the one that is filled in.
            let entry = unsafe { info.u.entry };
            At::Entry {
                number: entry.nr,
                args: entry.args,
            }
        }
        _ => At::Elsewhere,
    })
}

/// Waits for what happens next to any process or thread that this thread traces.
pub fn wait() -> io::Result<(Tid, Event)> {
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

/// Sends a signal to a process; it may have ended.
pub fn send(process: Tid, signal: c_int) {
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
