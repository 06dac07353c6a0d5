//! dekker-core as a component: the world `transformer` of `wasm/wit`, which imports only `wasi:random`; or, with the feature `accelerated`, the
//! world `transformer-accelerated`, which also imports `dekker:crypto/keys` and contains no cipher.
//!
//! Data that crosses the boundary is secret. Plaintexts and DEKs enter as lists that this allocator allocates for the canonical ABI, and leave as
//! lists that it frees after the host has read them. The allocator therefore wipes all memory that it frees (`dekker-memory`). This erases every
//! such list and everything else on the heap automatically.
#![no_std]

extern crate alloc;

#[cfg(not(feature = "accelerated"))]
#[allow(unsafe_code, missing_docs, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "transformer",
        // The host makes one call at a time, and no call blocks.
        async: false,
        generate_all,
    });
}

#[cfg(feature = "accelerated")]
#[allow(unsafe_code, missing_docs, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "transformer-accelerated",
        async: false,
        generate_all,
    });
}

mod convert;
mod engine;
#[cfg(feature = "accelerated")]
mod imported_keys;
#[cfg(feature = "accelerated")]
mod leases;
mod memory;
#[cfg(feature = "accelerated")]
mod plans;
mod tools;

use dekker_core::crypto::entropy::{Entropy, EntropyError};

#[cfg(not(feature = "accelerated"))]
use dekker_core::crypto::rustcrypto::RustCrypto as Keys;
#[cfg(feature = "accelerated")]
use imported_keys::ImportedKeys as Keys;

struct Component;

bindings::export!(Component with_types_in bindings);

/// `wasi:random`, provided by the host. Each nonce or key takes one call, so that it costs one system call.
struct WasiRandom;

impl Entropy for WasiRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        // For the random part of a counted nonce, avoid a list, for which the host would have to call back to allocate memory.
        if bytes.len() <= size_of::<u64>() {
            let mut random = bindings::wasi::random::random::get_random_u64().to_le_bytes();
            for (byte, random) in bytes.iter_mut().zip(random) {
                *byte = random;
            }
            zeroize::Zeroize::zeroize(&mut random);
            return Ok(());
        }
        let mut random = bindings::wasi::random::random::get_random_bytes(bytes.len() as u64);
        if random.len() != bytes.len() {
            return Err(EntropyError);
        }
        bytes.copy_from_slice(&random);
        zeroize::Zeroize::zeroize(&mut random);
        Ok(())
    }
}

/// Ends the instance. A panic is a bug in this code; no memory content is revealed.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
