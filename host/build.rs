//! Embeds the component that `cargo xtask build` put at `<target>/dekker/transformer-accelerated.wasm`.

use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    // The target directory may be anywhere; OUT_DIR is always inside it.
    let found = out
        .ancestors()
        .map(|dir| dir.join("dekker/transformer-accelerated.wasm"))
        .find(|path| path.is_file());
    let Some(component) = found else {
        println!(
            "cargo::error=the component is not built: run `cargo xtask build`, which builds it and then this crate"
        );
        return;
    };
    println!("cargo::rerun-if-changed={}", component.display());
    println!("cargo::rerun-if-changed=build.rs");
    embed(&component, &out.join("transformer-accelerated.wasm"));
}

fn embed(from: &Path, to: &Path) {
    if let Err(error) = fs::copy(from, to) {
        println!("cargo::error=cannot copy {}: {error}", from.display());
    }
}
