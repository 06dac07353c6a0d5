//! Inspection for JavaScript: the small WebAssembly module of the npm package `dekker`. It describes stored values, finds them in the forms in which
//! people hold them, and names the resource of a storage key. It contains no engine, no cipher and no reader of configurations.
//!
//! Results are created by JavaScript functions (`package/found.js` in `wasm/js`), because a general serializer is larger than this whole layer.
#![no_std]

extern crate alloc;

#[expect(
    unreachable_pub,
    reason = "wasm-bindgen exports its functions to JavaScript, and requires `pub`"
)]
mod forms;
mod objects;

use alloc::string::String;
use alloc::vec::Vec;

use dekker_core::inspect::inspect_json_with;
use dekker_forms::KeyName;
use dekker_memory::Wiping;
use dlmalloc::GlobalDlmalloc;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

/// Stored values may be plaintext, so freed memory is wiped, as in the engine's module.
#[cfg_attr(target_arch = "wasm32", global_allocator)]
static HEAP: Wiping<GlobalDlmalloc> = Wiping(GlobalDlmalloc);

/// Ends the instance. A panic is a bug in this code. Its message and place are left out: with those of all panics and the code that formats them, the
/// compressed module would be several kilobytes larger.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}

/// Describes a stored value as JSON. `prefixes` are those of a configuration's values. Other texts are ignored.
///
/// # Errors
/// Returns what is wrong with the value and what is known of it, as JSON in a string.
#[wasm_bindgen]
pub fn inspect(stored: &[u8], prefixes: Vec<String>) -> Result<String, JsValue> {
    inspect_json_with(stored, &names(&prefixes)).map_err(|fault| JsValue::from_str(&fault))
}

/// Returns the names in prefixes.
fn names(prefixes: &[String]) -> Vec<KeyName<'_>> {
    prefixes.iter().filter_map(|prefix| KeyName::of_value_prefix(prefix)).collect()
}
