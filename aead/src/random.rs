//! Random bytes, from the kernel at the moment they are wanted.
//!
//! Nothing comes from memory. When a snapshot of a process or of its machine is restored, the memory of that moment is there again, and bytes
//! that lay in it ahead of use are used a second time: for AES-GCM, the same nonce under the same key. That rules out a block that is fetched
//! ahead, a generator that is seeded once, and the vDSO's getrandom (Linux 6.11; glibc's `getrandom` is that since 2.41). Its state is in the
//! process' memory, and is renewed when the kernel's generator is reseeded: after CRIU or a debugger has put the process' memory back, it gives
//! the same bytes again. So on Linux this is the system call, past the C library.
//!
//! The kernel's own generator is in the memory of its machine. Linux (5.18 and later) reseeds it at once when a virtual machine's generation ID
//! changes; under a hypervisor that has none, two machines from one snapshot may be given the same bytes until the next reseeding.

/// Fills `bytes`, which are few, with one system call.
///
/// # Errors
/// When the kernel gives none.
pub fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let bytes = from_system_call(bytes);
    if bytes.is_empty() {
        return Ok(());
    }
    // Elsewhere; and where a sandbox forbids the system call, which leaves the device.
    getrandom::fill(bytes)
}

/// What could not be filled.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn from_system_call(mut bytes: &mut [u8]) -> &mut [u8] {
    while !bytes.is_empty() {
        // SAFETY: the pointer and the length are of one slice, which the kernel fills and does not keep.
        #[allow(unsafe_code)]
        let filled =
            unsafe { libc::syscall(libc::SYS_getrandom, bytes.as_mut_ptr(), bytes.len(), 0) };
        match usize::try_from(filled) {
            // Requests of up to 256 bytes are always filled whole; a longer one may be interrupted.
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

    use super::*;

    #[test]
    fn every_length_is_filled_to_its_end() {
        for len in (0..40).chain([255, 256, 257, 1000, 70_000]) {
            let mut bytes = vec![0; len];
            fill(&mut bytes).unwrap();
            // 2⁻⁶⁴ for eight zeros at one place.
            assert!(!bytes.windows(8).any(|window| window == [0; 8]), "{len}");
        }
    }

    #[test]
    fn no_two_are_the_same() {
        let nonces: HashSet<_> = std::iter::repeat_with(|| {
            let mut nonce = [0; 12];
            fill(&mut nonce).map(|()| nonce).unwrap()
        })
        .take(10_000)
        .collect();
        assert_eq!(nonces.len(), 10_000);
    }
}
