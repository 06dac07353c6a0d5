//! Keeps this process' memory, which contains keys and plaintexts, off the disk and away from other processes.
//!
//! - No core dumps: `PR_SET_DUMPABLE` is 0, which also prevents processes of the same user from attaching with ptrace and from reading
//!   `/proc/<pid>/mem`, and `RLIMIT_CORE` is 0.
//! - No swap, if this process may lock memory: `mlockall`, which locks each page when it is first used. If pages were locked earlier, the address
//!   space that WebAssembly reserves would take gigabytes.

use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

#[derive(Args)]
pub(super) struct ProtectArgs {
    /// Allow core dumps and debuggers, to find the cause of a crash: both reveal keys and plaintexts
    #[arg(long, global = true)]
    allow_core_dumps: bool,
}

/// Protects the process' memory. Must be called before anything secret is read.
pub(super) fn protect(args: &ProtectArgs) {
    if args.allow_core_dumps {
        tracing::warn!(
            "--allow-core-dumps: a core dump of this process contains keys and plaintexts"
        );
    } else {
        forbid_core_dumps();
    }
    lock_memory();
}

fn forbid_core_dumps() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be limited");
    }
    // The limit has no effect if the kernel pipes core dumps to a program. This setting does.
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        tracing::warn!(%error, "core dumps cannot be forbidden");
    }
}

/// Locks the memory, if that is permitted. A limit on locked memory does not help even if it is large: each reservation of WebAssembly counts in full
/// and would be refused.
#[cfg(target_os = "linux")]
fn lock_memory() {
    use rustix::mm::{MlockAllFlags, mlockall};

    if getrlimit(Resource::Memlock).current.is_some() && !may_lock_without_limit() {
        tracing::debug!(
            "memory is not locked: this requires CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK"
        );
        return;
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    match mlockall(flags) {
        Ok(()) => tracing::debug!("memory is locked and is never swapped out"),
        Err(error) => tracing::debug!(%error, "memory cannot be locked"),
    }
}

#[cfg(not(target_os = "linux"))]
fn lock_memory() {}

/// Returns whether the process has `CAP_IPC_LOCK` in the initial user namespace. The kernel does not accept the capability of another namespace here.
#[cfg(target_os = "linux")]
fn may_lock_without_limit() -> bool {
    /// The capability's number in `linux/capability.h`.
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
