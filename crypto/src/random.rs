//! Random bytes, obtained from the kernel when they are needed.
//!
//! No bytes come from memory. When a snapshot of a process or its machine is restored, its memory is as it was at the snapshot. Random bytes that it
//! already contained are then used a second time: for AES-GCM, the same nonce under the same key. This rules out a block that is fetched ahead, a
//! generator that is seeded once, and the vDSO's getrandom (Linux 6.11; glibc's `getrandom` has used it since 2.41). The state of the vDSO's
//! generator is in the process' memory, and is renewed only when the kernel's generator is reseeded. After CRIU or a debugger has restored the
//! process' memory, it returns the same bytes again. So on Linux this module makes the system call itself, without the C library's `getrandom`.
//!
//! The kernel's own generator is in the memory of its machine. Linux (5.18 and later) reseeds it at once when a virtual machine's generation ID
//! changes. Under a hypervisor without a generation ID, two machines that are restored from one snapshot may get the same bytes until the next
//! reseeding.

/// Fills `bytes` with one system call. Intended for a few bytes at a time.
///
/// # Errors
/// Returns an error if the kernel provides no random bytes.
pub fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let bytes = from_system_call(bytes);
    if bytes.is_empty() {
        return Ok(());
    }
    // For other systems, and for a sandbox that forbids the system call: there `getrandom::fill` uses the device.
    getrandom::fill(bytes)
}

/// Fills `bytes` with the system call. Returns the part that could not be filled.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn from_system_call(mut bytes: &mut [u8]) -> &mut [u8] {
    while !bytes.is_empty() {
        // SAFETY: the pointer and the length are of one slice, which the kernel fills and does not keep.
        #[allow(unsafe_code)]
        let filled =
            unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
        match usize::try_from(filled) {
            // The kernel fills requests of up to 256 bytes completely. A signal may interrupt a longer one.
            Ok(filled) => bytes = &mut bytes[filled..],
            Err(_) if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {
            }
            Err(_) => break,
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::vec;

    use super::*;

    #[test]
    fn every_length_is_filled_to_its_end() {
        for len in (0..40).chain([255, 256, 257, 1000, 70_000]) {
            let mut bytes = vec![0; len];
            fill(&mut bytes).unwrap();
            // Eight zeros at a given place have a probability of 2⁻⁶⁴.
            assert!(!bytes.windows(8).any(|window| window == [0; 8]), "{len}");
        }
    }

    #[test]
    fn ten_thousand_nonces_are_distinct() {
        let nonces: HashSet<_> = std::iter::repeat_with(|| {
            let mut nonce = [0; 12];
            fill(&mut nonce).map(|()| nonce).unwrap()
        })
        .take(10_000)
        .collect();
        assert_eq!(nonces.len(), 10_000);
    }
}
