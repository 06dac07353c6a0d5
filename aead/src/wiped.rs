//! Memory that is erased when it is given up.

use std::hint::black_box;
use std::mem::{MaybeUninit, needs_drop};

/// A value whose bytes are overwritten when it is dropped.
///
/// ring erases no key of its own, and has no way to reach one. What moving a value here may have left on the stack is not erased; it is
/// overwritten by whatever runs next.
pub(crate) struct Wiped<T>(MaybeUninit<T>);

impl<T> Wiped<T> {
    pub(crate) fn new(value: T) -> Self {
        // Nobody would drop it, and what it points to would not be erased either.
        const { assert!(!needs_drop::<T>()) };
        Self(MaybeUninit::new(value))
    }

    pub(crate) fn get(&self) -> &T {
        // SAFETY: made with a value, and only `drop` takes that away.
        #[allow(unsafe_code)]
        unsafe {
            self.0.assume_init_ref()
        }
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0 = MaybeUninit::zeroed();
        // The zeros count as read, so the compiler may not leave them out.
        black_box(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn what_is_dropped_is_erased() {
        let mut memory = MaybeUninit::<Wiped<[u8; 64]>>::zeroed();
        memory.write(Wiped::new([7; 64]));
        let at = memory.as_mut_ptr();
        // SAFETY: it was written and is dropped once; bytes are valid whatever they hold.
        unsafe {
            assert_eq!((*at).get(), &[7; 64]);
            at.drop_in_place();
            assert_eq!(at.cast::<[u8; 64]>().read_volatile(), [0; 64]);
        }
    }
}
