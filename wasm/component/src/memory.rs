//! The heap.

use dekker_memory::Wiping;
use dlmalloc::GlobalDlmalloc;

#[cfg_attr(target_arch = "wasm32", global_allocator)]
static HEAP: Wiping<GlobalDlmalloc> = Wiping(GlobalDlmalloc);
