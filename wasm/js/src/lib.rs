//! dekker-core for JavaScript: the WebAssembly module of the npm package `dekker`.
//!
//! A thin face of the sans-IO engine, one function for one of its own; the driver that does what the engine says is JavaScript, in `package/`
//! beside this crate. Numbers are JavaScript's: operation and call ids, and times in milliseconds since the Unix epoch, all below 2^53.
//!
//! What crosses the boundary is secret. wasm-bindgen copies byte arrays into blocks of this module's heap and frees them after the call, and
//! the heap wipes whatever is freed (`dekker-memory`). What JavaScript holds is JavaScript's to erase; the driver does.

mod convert;
mod engine;
mod keys;
mod tools;

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_memory::Wiping;
use dlmalloc::GlobalDlmalloc;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[cfg_attr(target_arch = "wasm32", global_allocator)]
static HEAP: Wiping<GlobalDlmalloc> = Wiping(GlobalDlmalloc);

/// The kernel's random bytes at that moment, where JavaScript can reach it; elsewhere those of `crypto.getRandomValues`. In a browser they come
/// from the browser, which keeps no promise about snapshots.
struct Surroundings;

#[wasm_bindgen(raw_module = "./random.js")]
extern "C" {
    #[wasm_bindgen(js_name = fillFromKernel, catch)]
    fn fill_from_kernel(bytes: &mut [u8]) -> Result<bool, JsValue>;
}

impl Entropy for Surroundings {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match fill_from_kernel(bytes) {
            Ok(true) => Ok(()),
            Ok(false) => getrandom::fill(bytes).map_err(|_| EntropyError),
            // A kernel that fails is no reason to take bytes from memory.
            Err(_) => Err(EntropyError),
        }
    }
}

/// A panic is a fault of this code. It ends the instance as an exception that says where, and nothing of what was in memory: a panic's own
/// message may quote a value.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(at) => wasm_bindgen::throw_str(&format!("panic at {}:{}", at.file(), at.line())),
        None => wasm_bindgen::throw_str("panic"),
    }));
}
