//! dekker-core for JavaScript: the engine's WebAssembly module of the npm package `dekker`. What needs no engine, no cipher and no configuration is in
//! the module of `dekker-js-inspect`.
//!
//! A thin layer over the sans-IO engine, with one function for each of the engine's. The driver that carries out the engine's actions is written in
//! JavaScript, in `package/` beside this crate. Numbers are JavaScript's: operation and call IDs, and times in milliseconds since the Unix epoch,
//! all below 2^53.
//!
//! Data that crosses the boundary is secret. wasm-bindgen copies byte arrays into blocks of this module's heap and frees them after the call, and
//! the heap wipes every freed block (`dekker-memory`). Copies on the JavaScript side must be erased there; the driver does so.

mod convert;
mod engine;
mod keys;
mod many;
#[expect(
    unreachable_pub,
    reason = "wasm-bindgen exports its functions to JavaScript, and requires `pub`"
)]
mod tools;

use dekker_core::crypto::entropy::{Entropy, EntropyError};
use dekker_memory::Wiping;
use dlmalloc::GlobalDlmalloc;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[cfg_attr(target_arch = "wasm32", global_allocator)]
static HEAP: Wiping<GlobalDlmalloc> = Wiping(GlobalDlmalloc);

/// The kernel's random bytes at the time of the call, if JavaScript can reach the kernel; otherwise those of `crypto.getRandomValues`. In a browser
/// they come from the browser, which makes no promise about snapshots.
struct JsEntropy;

#[wasm_bindgen(raw_module = "./random.js")]
extern "C" {
    #[wasm_bindgen(js_name = fillFromKernel, catch)]
    fn fill_from_kernel(bytes: &mut [u8]) -> Result<bool, JsValue>;
}

impl Entropy for JsEntropy {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        match fill_from_kernel(bytes) {
            Ok(true) => Ok(()),
            Ok(false) => getrandom::fill(bytes).map_err(|_| EntropyError),
            // If the kernel fails, do not fall back to a generator in memory.
            Err(_) => Err(EntropyError),
        }
    }
}

/// Makes a panic, which is a bug in this code, end the instance with an exception that contains only the location. The panic's own message may
/// contain a value.
#[wasm_bindgen(start)]
fn start() {
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(at) => wasm_bindgen::throw_str(&format!("panic at {}:{}", at.file(), at.line())),
        None => wasm_bindgen::throw_str("panic"),
    }));
}
