//! What keeps this process' memory, which holds keys and plaintexts, off the disk and away from others.
//!
//! - No core dump: `PR_SET_DUMPABLE` is 0, which also keeps processes of the same user from attaching with ptrace and from reading
//!   `/proc/<pid>/mem`, and `RLIMIT_CORE` is 0.
//! - No swap, where this process may lock memory: `mlockall`, for each page once it is used. Locked before that, the address space that
//!   WebAssembly reserves would be gigabytes.

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(Args)]
pub(super) struct ProtectArgs {
    /// Let a crash leave a core dump and a debugger attach, for finding faults: both show keys and plaintexts
    #[arg(long, global = true)]
    allow_core_dumps: bool,
}

/// Before anything secret is read.
pub(super) fn protect(args: &ProtectArgs) {
    if args.allow_core_dumps {
        tracing::warn!("--allow-core-dumps: a core dump of this process holds keys and plaintexts");
    } else {
        forbid_core_dumps();
    }
    lock_memory();
}

fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be limited");
    }
    // The limit does not hold where the kernel pipes core dumps to a program; this does.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "core dumps cannot be forbidden");
    }
}

/// As far as that is permitted. A limit that is only large is none: each reservation of WebAssembly's counts whole, and would be refused.
#[cfg(target_os = "linux")]
fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};

    if getrlimit(Resource::Memlock).current.is_some() && !may_lock_without_limit() {
        tracing::debug!(
            "memory is not locked: it takes CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK"
        );
        return;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match mlockall(flags) {
        Ok(()) => tracing::debug!("memory is locked: none of it goes to swap"),
        Err(error) => tracing::debug!(%error, "memory cannot be locked"),
    }
}

#[cfg(not(target_os = "linux"))]
fn lock_memory() {}

/// `CAP_IPC_LOCK`, and not that of a user namespace, which the kernel does not ask here.
#[cfg(target_os = "linux")]
fn may_lock_without_limit() -> bool {
    /// Its number in `linux/capability.h`.
    const CAP_IPC_LOCK: u32 = 14;

    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let status = read("/proc/self/status");
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    let uid_map = read("/proc/self/uid_map");
    let in_first_namespace = uid_map.split_whitespace().eq(["0", "0", "4294967295"]);
    in_first_namespace && effective.is_some_and(|bits| bits & 1 << CAP_IPC_LOCK != 0)
}
