//! dekker-core as a component: the world `transformer` of `wasm/wit`, importing nothing but `wasi:random`; or, with the feature `accelerated`,
//! the world `transformer-accelerated`, which also imports `dekker:crypto/keys` and has no cipher of its own.
//!
//! What crosses the boundary is secret: plaintexts and DEKs come in as lists that the canonical ABI has this allocator make, and go out as
//! lists that it frees after the host has read them. So the allocator wipes whatever it frees (`dekker-memory`), which erases every such list,
//! and everything else on the heap, without anybody having to remember it.
#![no_std]

extern crate alloc;

#[cfg(not(feature = "accelerated"))]
#[allow(unsafe_code, missing_docs, clippy::all)]
mod bindings {
    wit_bindgen::generate!({
        path: "../wit",
        world: "transformer",
        // The host calls one function at a time, and none of them waits.
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
mod tools;

use dekker_core::crypto::entropy::{Entropy, EntropyError};

#[cfg(not(feature = "accelerated"))]
use dekker_core::crypto::rustcrypto::RustCrypto as Keys;
#[cfg(feature = "accelerated")]
use imported_keys::ImportedKeys as Keys;

struct Component;

bindings::export!(Component with_types_in bindings);

/// `wasi:random`, which the host answers: one question for each nonce or key, so that it takes one system call.
struct WasiRandom;

impl Entropy for WasiRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), EntropyError> {
        // The random part of a counted nonce needs no list, for which the host would have to call back for memory.
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

/// A panic is a fault of this code. It ends the instance; nothing of what was in memory is shown.
#[cfg(target_arch = "wasm32")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    core::arch::wasm32::unreachable()
}
