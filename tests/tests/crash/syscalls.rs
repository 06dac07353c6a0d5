//! System calls with an effect that outlives the call: on files, their names, sockets, or what peers receive.

use std::ffi::c_long;
use std::fs;

use crate::ptrace::Tid;

/// Calls that always count.
const WRITING: &[(c_long, &str)] = &[
    (libc::SYS_bind, "bind"),
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fchmodat, "fchmodat"),
    (libc::SYS_fchown, "fchown"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_listen, "listen"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_symlinkat, "symlinkat"),
    (libc::SYS_unlinkat, "unlinkat"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_chmod, "chmod"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_creat, "creat"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_link, "link"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_mkdir, "mkdir"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_rename, "rename"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_symlink, "symlink"),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_unlink, "unlink"),
];

/// Calls that count unless their descriptor is only used to wake a thread of the same process.
const WRITING_TO: &[(c_long, &str)] = &[
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_write, "write"),
    (libc::SYS_writev, "writev"),
];

/// Describes what this call writes to; `None` if it does not count as writing.
pub(crate) fn writing(pid: Tid, number: u64, args: [u64; 6]) -> Option<String> {
    let number = c_long::try_from(number).ok()?;
    let find = |table: &[(c_long, &'static str)]| {
        let found = table.iter().find(|(known, _)| *known == number);
        found.map(|(_, name)| *name)
    };
    if let Some(name) = find(WRITING) {
        return Some(name.to_owned());
    }
    if let Some(name) = find(WRITING_TO) {
        let target = fs::read_link(format!("/proc/{pid}/fd/{}", args[0]));
        let target = target.map_or_else(|_| "?".to_owned(), |to| to.display().to_string());
        return (!target.contains("[eventfd]")).then(|| format!("{name} to {target}"));
    }
    let flags = match number {
        libc::SYS_openat => args[2],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => args[1],
        _ => return None,
    };
    let creates = flags & u64::from(libc::O_CREAT.unsigned_abs()) != 0;
    creates.then(|| "open with O_CREAT".to_owned())
}
