//! A heap that wipes memory when it is freed.
//!
//! Data that crosses the boundary of a WebAssembly module is secret. Plaintexts and DEKs enter as blocks that the module's allocator allocates, and
//! leave as blocks that it frees. Wiping in the allocator erases all of them, and everything else on the heap, automatically.
#![no_std]

use core::alloc::{GlobalAlloc, Layout};

/// An allocator that wipes each block before it frees it with the inner allocator.
#[derive(Debug)]
pub struct Wiping<A>(pub A);

// SAFETY: every block comes from the inner allocator and is freed with the layout it was allocated with. Growing uses the trait's default, which
// allocates a new block, copies the content and frees the old block, so that the old block is wiped too.
#[allow(unsafe_code)]
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller makes the promises that the inner allocator requires.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller owns `layout.size()` bytes at `block` until the inner allocator has them.
        unsafe {
            wipe(block, layout.size());
            // Makes the zeros count as read, so that the compiler does not remove the writes.
            self.0.dealloc(core::hint::black_box(block), layout);
        }
    }
}

/// 128 bytes: blocks up to this length are wiped here, word by word. In WebAssembly, filling a longer block is a call into the runtime, which costs
/// more than that many stores.
const SHORT: usize = 128;

/// Fills a block with zeros.
///
/// # Safety
/// The caller must own `len` bytes at `block`.
#[allow(unsafe_code)]
unsafe fn wipe(block: *mut u8, len: usize) {
    let words = block.cast::<u64>();
    if len > SHORT || !words.is_aligned() {
        // SAFETY: the caller's promise.
        return unsafe { block.write_bytes(0, len) };
    }
    for at in 0..len / 8 {
        // SAFETY: aligned, and within `len`. Volatile, so that the compiler does not turn the loop into such a call.
        unsafe { words.add(at).write_volatile(0) };
    }
    for at in len / 8 * 8..len {
        // SAFETY: within `len`.
        unsafe { block.add(at).write_volatile(0) };
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use core::cell::Cell;
    use std::alloc::System;

    use super::*;

    std::thread_local! {
        static FREED: Cell<Option<[u8; 8]>> = const { Cell::new(None) };
    }

    /// An allocator that records the content of each block that is freed.
    struct Looking;

    #[allow(unsafe_code)]
    // SAFETY: System's own.
    unsafe impl GlobalAlloc for Looking {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as the caller promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            // SAFETY: the test frees blocks of 8 bytes or more.
            unsafe {
                FREED.set(Some(block.cast::<[u8; 8]>().read_unaligned()));
                System.dealloc(block, layout);
            }
        }
    }

    #[test]
    #[allow(unsafe_code)]
    fn freed_and_outgrown_blocks_are_wiped() -> Result<(), core::alloc::LayoutError> {
        let heap = Wiping(Looking);
        let layout = Layout::from_size_align(8, 1)?;
        // SAFETY: the layouts have a size, and each block is freed with its own.
        unsafe {
            let block = heap.alloc(layout);
            block.write_bytes(7, 8);
            let grown = heap.realloc(block, layout, 64);
            assert_eq!(FREED.take(), Some([0; 8]), "outgrown");
            assert_eq!(grown.cast::<[u8; 8]>().read_unaligned(), [7; 8]);
            heap.dealloc(grown, Layout::from_size_align(64, 1)?);
            assert_eq!(FREED.take(), Some([0; 8]), "freed");
        }
        Ok(())
    }

    #[test]
    #[allow(unsafe_code)]
    fn exactly_the_block_is_wiped() {
        for len in [0, 1, 7, 8, 9, 24, 127, 128, 129, 200] {
            for start in [0, 1, 8] {
                let mut memory = [u64::MAX; 32];
                // SAFETY: 256 bytes, of which at most 208 are used.
                unsafe { wipe(memory.as_mut_ptr().cast::<u8>().add(start), len) };
                let bytes = memory.iter().flat_map(|word| word.to_ne_bytes());
                for (at, byte) in bytes.enumerate() {
                    let wiped = (start..start + len).contains(&at);
                    assert_eq!(byte == 0, wiped, "{len} bytes from {start}: {at}");
                }
            }
        }
    }
}
