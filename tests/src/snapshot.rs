//! Saves and restores the memory and registers of a process with ptrace.
//!
//! This is what a hypervisor or CRIU does to a process, as far as the process itself can see. The kernel's part (descriptors, the contents of pipes,
//! clocks) is not restored. The process must therefore wait in a `read` both when it is saved and when it is restored, and must not depend on a
//! descriptor's state, as an event loop does in the middle of its work.
//!
//! Only for Linux on x86-64. All calls on one [`Traced`] must come from one thread, because ptrace identifies the tracer by its thread.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use libc::{c_void, pid_t};

/// 4 KiB: the unit in which memory is compared and written.
const PAGE: usize = 4096;
/// 16 KiB: more than the vector registers of any processor.
const VECTORS_MAX: usize = 16 * 1024;
/// `NT_X86_XSTATE`: all floating-point and vector registers.
const VECTORS: usize = 0x202;
/// The kernel's internal error numbers for a system call that a stop has interrupted: `-ERESTARTSYS` to `-ERESTART_RESTARTBLOCK`.
const RESTARTS: std::ops::RangeInclusive<i64> = -516..=-512;

/// A process whose threads this thread may stop. Dropping it kills the process.
pub struct Traced {
    pid: pid_t,
    threads: Vec<pid_t>,
    memory: File,
}

/// The writable memory of a stopped process, and its registers.
pub struct Snapshot {
    threads: Vec<(pid_t, Registers)>,
    memory: Vec<(u64, Vec<u8>)>,
}

struct Registers {
    general: libc::user_regs_struct,
    vectors: Vec<u8>,
}

impl Traced {
    /// Attaches to every thread of a child of this process, without stopping any.
    ///
    /// # Errors
    /// Returns an error if ptrace is not permitted.
    pub fn seize(pid: u32) -> io::Result<Self> {
        let pid = pid_t::try_from(pid).map_err(io::Error::other)?;
        let mut traced = Self {
            pid,
            threads: Vec::new(),
            memory: File::options().read(true).write(true).open(format!("/proc/{pid}/mem"))?,
        };
        loop {
            let all = traced.tasks()?;
            let new: Vec<_> = all.iter().filter(|tid| !traced.threads.contains(tid)).collect();
            if new.is_empty() {
                return Ok(traced);
            }
            for tid in new {
                ptrace(libc::PTRACE_SEIZE, *tid, 0, std::ptr::null_mut())?;
            }
            traced.threads = all;
        }
    }

    /// Stops every thread. A thread that is about to end may do so.
    ///
    /// # Errors
    /// Returns an error if ptrace fails, or if a thread has begun since.
    pub fn stop(&mut self) -> io::Result<()> {
        let mut stopped = Vec::new();
        for tid in &self.threads {
            match ptrace(libc::PTRACE_INTERRUPT, *tid, 0, std::ptr::null_mut()) {
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => continue,
                interrupted => interrupted?,
            }
            if wait_for_stop(*tid)? {
                stopped.push(*tid);
            }
        }
        self.threads = stopped;
        if self.tasks()? != self.threads {
            return Err(io::Error::other("a thread has begun"));
        }
        Ok(())
    }

    /// Resumes every thread.
    ///
    /// # Errors
    /// Returns an error if ptrace fails.
    pub fn resume(&self) -> io::Result<()> {
        for tid in &self.threads {
            ptrace(libc::PTRACE_CONT, *tid, 0, std::ptr::null_mut())?;
        }
        Ok(())
    }

    /// Saves a stopped process.
    ///
    /// # Errors
    /// Returns an error if ptrace or a file in `/proc` fails.
    pub fn save(&self) -> io::Result<Snapshot> {
        let threads = self.threads.iter();
        let threads = threads.map(|tid| Ok((*tid, Registers::of(*tid)?)));
        let mut memory = Vec::new();
        for (start, len) in self.writable()? {
            let mut bytes = vec![0; len];
            self.memory.read_exact_at(&mut bytes, start)?;
            memory.push((start, bytes));
        }
        Ok(Snapshot { threads: threads.collect::<io::Result<_>>()?, memory })
    }

    /// Restores a stopped process to a snapshot. Returns the size in bytes of the pages that differed.
    ///
    /// # Errors
    /// Returns an error if ptrace or a file in `/proc` fails, if the process has unmapped memory of the snapshot, or if a thread has ended.
    pub fn restore(&self, snapshot: &Snapshot) -> io::Result<usize> {
        if !snapshot.threads.iter().map(|(tid, _)| tid).eq(&self.threads) {
            return Err(io::Error::other("a thread has ended"));
        }
        let mut altered = 0;
        for (start, bytes) in &snapshot.memory {
            let mut now = vec![0; bytes.len()];
            self.memory.read_exact_at(&mut now, *start)?;
            let pages = bytes.chunks(PAGE).zip(now.chunks(PAGE));
            for (at, (page, now)) in pages.enumerate() {
                if page != now {
                    self.memory.write_all_at(page, start + (at * PAGE) as u64)?;
                    altered += page.len();
                }
            }
        }
        for (tid, registers) in &snapshot.threads {
            registers.put(*tid)?;
        }
        Ok(altered)
    }

    /// Returns the IDs of all threads, sorted.
    fn tasks(&self) -> io::Result<Vec<pid_t>> {
        let mut threads = Vec::new();
        for task in std::fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let name = task?.file_name();
            let tid: Option<pid_t> = name.to_str().and_then(|name| name.parse().ok());
            threads.extend(tid);
        }
        threads.sort_unstable();
        Ok(threads)
    }

    /// Returns the start and length of each private mapping that is writable, or that holds code which the process generated.
    fn writable(&self) -> io::Result<Vec<(u64, usize)>> {
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", self.pid))?;
        let mut writable = Vec::new();
        for line in maps.lines() {
            // `start-end perms offset device inode path`
            let mut fields = line.split_ascii_whitespace();
            let (Some(range), Some(perms)) = (fields.next(), fields.next()) else {
                continue;
            };
            let inode = fields.nth(2).unwrap_or("0");
            let of_kernel = ["[vdso]", "[vvar]", "[vvar_vclock]", "[vsyscall]"];
            if fields.next().is_some_and(|path| of_kernel.contains(&path)) || !perms.ends_with('p')
            {
                continue;
            }
            let is_made_code = perms.contains('x') && inode == "0";
            if !(perms.contains('w') || is_made_code) {
                continue;
            }
            let number = |text: &str| u64::from_str_radix(text, 16).map_err(io::Error::other);
            let (start, end) = range.split_once('-').unwrap_or((range, range));
            let start = number(start)?;
            let len = number(end)?.saturating_sub(start);
            writable.push((start, usize::try_from(len).map_err(io::Error::other)?));
        }
        Ok(writable)
    }
}

/// Kills the process. Its first thread, for which its parent waits, only counts as ended after the tracer has seen all other threads end.
impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: no memory is touched.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        for tid in self.threads.iter().filter(|tid| **tid != self.pid) {
            let mut status = 0;
            // SAFETY: `status` is written, and belongs to this frame.
            while unsafe { libc::waitpid(*tid, &raw mut status, libc::__WALL) } == *tid
                && libc::WIFSTOPPED(status)
            {}
        }
    }
}

impl Registers {
    fn of(tid: pid_t) -> io::Result<Self> {
        // SAFETY: the structure is plain numbers.
        let mut general: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        let data = (&raw mut general).cast();
        ptrace(libc::PTRACE_GETREGS, tid, 0, data)?;
        let mut vectors = vec![0; VECTORS_MAX];
        let mut part =
            libc::iovec { iov_base: vectors.as_mut_ptr().cast(), iov_len: vectors.len() };
        let data = (&raw mut part).cast();
        ptrace(libc::PTRACE_GETREGSET, tid, VECTORS, data)?;
        vectors.truncate(part.iov_len);
        // An interrupted system call is made again from the beginning, because the kernel's own record of it is from another time.
        if general.orig_rax.cast_signed() >= 0 && RESTARTS.contains(&general.rax.cast_signed()) {
            general.rax = general.orig_rax;
            general.rip -= 2;
        }
        general.orig_rax = u64::MAX;
        Ok(Self { general, vectors })
    }

    fn put(&self, tid: pid_t) -> io::Result<()> {
        let mut general = self.general;
        let data = (&raw mut general).cast();
        ptrace(libc::PTRACE_SETREGS, tid, 0, data)?;
        let mut vectors = self.vectors.clone();
        let mut part =
            libc::iovec { iov_base: vectors.as_mut_ptr().cast(), iov_len: vectors.len() };
        let data = (&raw mut part).cast();
        ptrace(libc::PTRACE_SETREGSET, tid, VECTORS, data)
    }
}

/// Returns `true` if the thread has stopped, `false` if it has ended.
fn wait_for_stop(tid: pid_t) -> io::Result<bool> {
    loop {
        let mut status = 0;
        // SAFETY: `status` is written, and belongs to this frame.
        checked(unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) }.into())?;
        if !libc::WIFSTOPPED(status) {
            return Ok(false);
        }
        if status >> 16 == libc::PTRACE_EVENT_STOP {
            return Ok(true);
        }
        // A signal arrived first: deliver it. The thread stops after that.
        let signal = libc::WSTOPSIG(status) as usize;
        ptrace(libc::PTRACE_CONT, tid, 0, signal as *mut c_void)?;
    }
}

fn ptrace(request: libc::c_uint, tid: pid_t, address: usize, data: *mut c_void) -> io::Result<()> {
    // SAFETY: each caller passes the memory that the request reads or writes, which outlives the call; no other memory of this process is
    // touched.
    checked(unsafe { libc::ptrace(request, tid, address as *mut c_void, data) })
}

fn checked(returned: libc::c_long) -> io::Result<()> {
    if returned == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
