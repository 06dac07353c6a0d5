//! Memory that is erased when it is dropped.

use core::hint::black_box;
use core::mem::{MaybeUninit, needs_drop};

/// A value whose bytes are overwritten when it is dropped.
///
/// ring does not erase its keys and provides no access to their bytes. Moving a value into this type may leave a copy on the stack. That copy is not
/// erased; later calls overwrite it.
pub(super) struct Wiped<T>(MaybeUninit<T>);

impl<T> Wiped<T> {
    pub(super) fn new(value: T) -> Self {
        // A `MaybeUninit` never drops its value, and memory that the value points to would not be erased.
        const { assert!(!needs_drop::<T>()) };
        Self(MaybeUninit::new(value))
    }

    pub(super) fn get(&self) -> &T {
        // SAFETY: created with a value, which only `drop` removes.
        #[allow(unsafe_code)]
        unsafe {
            self.0.assume_init_ref()
        }
    }
}

impl<T> Drop for Wiped<T> {
    fn drop(&mut self) {
        self.0 = MaybeUninit::zeroed();
        // `black_box` counts as a read of the zeros, so the compiler does not omit the write.
        black_box(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn dropped_values_are_erased() {
        let mut memory = MaybeUninit::<Wiped<[u8; 64]>>::zeroed();
        memory.write(Wiped::new([7; 64]));
        let at = memory.as_mut_ptr();
        // SAFETY: the value was written and is dropped once; any byte is a valid `u8`.
        unsafe {
            assert_eq!((*at).get(), &[7; 64]);
            at.drop_in_place();
            assert_eq!(at.cast::<[u8; 64]>().read_volatile(), [0; 64]);
        }
    }
}
