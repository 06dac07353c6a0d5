//! The component, seen from the host.

/// The bindings that wasmtime generates from `wasm/wit`.
#[allow(missing_docs)]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../wasm/wit",
        world: "transformer",
    });
}
