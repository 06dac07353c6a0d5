//! Embeds the accelerated component from `<target>/dekker/transformer-accelerated.wasm`, where `cargo xtask build` writes it, and the precompiled
//! code that `cargo xtask build` made from it.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    if env::var_os("CARGO_FEATURE_ENGINE").is_none() {
        return;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // The target directory may be anywhere, but OUT_DIR is always inside it.
    let found = out
        .ancestors()
        .map(|dir| dir.join("dekker"))
        .find(|dir| dir.join("transformer-accelerated.wasm").is_file());
    let Some(built) = found else {
        println!(
            "cargo::error=the component is not built: run `cargo xtask build`, which builds it and then this crate"
        );
        return;
    };
    let component = built.join("transformer-accelerated.wasm");
    println!("cargo::rerun-if-changed=build.rs");
    let component = embed(&component, &out.join("transformer-accelerated.wasm"), None);

    // Embed the precompiled code only if it was compiled from exactly this component. Otherwise the component is compiled at each start.
    let compiled = built.join("compiled");
    let input = fs::read(compiled.join("input.wasm")).unwrap_or_default();
    let is_its_own = component.is_some_and(|component| component == input);
    let code = compiled.join("output.wasm");
    embed(
        &code,
        &out.join("transformer-accelerated.cwasm"),
        (!is_its_own).then_some(b"".as_slice()),
    );
}

/// Copies `from` to `to`, or writes `instead` to `to` if it is given. Returns the bytes written.
fn embed(from: &Path, to: &Path, instead: Option<&[u8]>) -> Option<Vec<u8>> {
    println!("cargo::rerun-if-changed={}", from.display());
    let bytes = match instead {
        Some(bytes) => Ok(bytes.to_vec()),
        None => fs::read(from),
    };
    match bytes.and_then(|bytes| fs::write(to, &bytes).map(|()| bytes)) {
        Ok(bytes) => Some(bytes),
        Err(error) => {
            println!("cargo::error=cannot copy {}: {error}", from.display());
            None
        }
    }
}
