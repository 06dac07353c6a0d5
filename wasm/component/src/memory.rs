//! A heap that wipes what is freed.

#![allow(unsafe_code)]

use core::alloc::{GlobalAlloc, Layout};

use dlmalloc::GlobalDlmalloc;

#[cfg_attr(target_arch = "wasm32", global_allocator)]
static HEAP: Wiping<GlobalDlmalloc> = Wiping(GlobalDlmalloc);

/// Wipes a block before it goes back to the allocator within.
struct Wiping<A>(A);

// SAFETY: every block comes from the inner allocator and goes back to it with the layout it was made with. Growing uses the trait's
// default: a new block, a copy, and the old block freed, so that the old one is wiped as well.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Wiping<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the inner allocator's.
        unsafe { self.0.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { self.0.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller owns `layout.size()` bytes at `block` until the inner allocator has them.
        unsafe {
            block.write_bytes(0, layout.size());
            // The zeros count as read, so the compiler may not leave them out.
            self.0.dealloc(core::hint::black_box(block), layout);
        }
    }
}
