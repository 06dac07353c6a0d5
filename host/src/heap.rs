//! How much freed memory the process keeps.

/// 16 MiB: how much freed memory glibc keeps at the end of each of its heaps. Several values of the greatest length with their copies fit.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: libc::c_int = 16 << 20;

/// Makes the time for large values independent of what the process has freed before.
///
/// By default glibc adapts to the largest block that was ever freed: it returns memory to the kernel after each value that is larger than that, and
/// the kernel must map and zero every page of it again for the next one, which takes longer than the encryption. With a fixed limit it keeps as much
/// from the beginning, and never more than [`KEPT`] in each heap; larger blocks go back to the kernel at once. Without glibc this does nothing.
pub(crate) fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for limit in [libc::M_TRIM_THRESHOLD, libc::M_MMAP_THRESHOLD] {
        // SAFETY: `mallopt` takes two numbers and may be called at any time.
        #[allow(unsafe_code)]
        let is_set = unsafe { libc::mallopt(limit, KEPT) };
        if is_set == 0 {
            // Only speed depends on it.
            tracing::debug!(limit, "glibc does not accept a limit for freed memory");
        }
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Returns how many pages the kernel has provided to this thread.
    fn faults() -> i64 {
        // SAFETY: the kernel fills the whole structure.
        #[allow(unsafe_code)]
        unsafe {
            let mut usage = std::mem::zeroed::<libc::rusage>();
            assert_eq!(libc::getrusage(libc::RUSAGE_THREAD, &mut usage), 0);
            usage.ru_minflt
        }
    }

    #[test]
    fn memory_of_large_values_is_used_again() {
        keep_freed_memory();
        let use_once = || drop(std::hint::black_box(vec![1u8; 2 << 20]));
        use_once();
        let before = faults();
        for _ in 0..32 {
            use_once();
        }
        // 2 MiB have 512 pages.
        assert!(faults() - before < 512, "{} pages for 32 values", faults() - before);
    }
}
