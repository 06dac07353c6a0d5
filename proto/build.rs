//! Generates Rust from the `.proto` files. protox parses them in process, so protoc is not needed.

use std::error::Error;

const FILES: [&str; 5] = [
    "kms/v2.proto",
    "kms/v1beta1.proto",
    "encrypted_object.proto",
    "dekker/plugin.proto",
    "dekker/values.proto",
];

/// Messages whose derived `Debug` would print a key, a plaintext or a key ID. `src/redact.rs` implements theirs by hand.
const REDACTED: [&str; 12] = [
    ".v2.StatusResponse",
    ".v2.DecryptRequest",
    ".v2.DecryptResponse",
    ".v2.EncryptRequest",
    ".v2.EncryptResponse",
    ".v1beta1.DecryptRequest",
    ".v1beta1.DecryptResponse",
    ".v1beta1.EncryptRequest",
    ".v1beta1.EncryptResponse",
    ".dekker.storage.EncryptedObject",
    ".dekker.v1.Value",
    ".dekker.v1.Outcome",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    tonic_prost_build::configure()
        .btree_map(".")
        .skip_debug(REDACTED)
        // Slices of the request's body, which are not copied.
        .bytes(".dekker.v1.Value")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
