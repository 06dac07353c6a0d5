//! A Node process whose memory and registers are restored never repeats a nonce.
//!
//! `cargo xtask test node` builds the package and runs this test; `cargo test` alone does not include it.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use std::process::Command;

use dekker_tests::restored::{BATCH, Provider, expect_no_nonce_twice};

#[test]
fn npm_package_repeats_no_nonce_after_its_memory_is_restored() {
    for provider in Provider::ALL {
        expect_no_nonce_twice(writer(provider), provider);
    }
}

fn writer(provider: Provider) -> Command {
    let mut command = Command::new("node");
    command
        // Memory that V8 has returned to the system could not be restored: that of garbage, and that of code that it compiles again for speed.
        .args(["--single-threaded", "--min-semi-space-size=64", "--max-semi-space-size=64"])
        .arg("--no-wasm-tier-up")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/node/restored-writer.js"))
        .args([provider.name(), &provider.config(), &BATCH.to_string()]);
    command
}
