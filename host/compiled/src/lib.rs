//! The embedded component, compiled ahead of time on the machine that builds Dekker.
//!
//! `cargo xtask build` runs `dekker-precompile`, and dekker-host embeds the result. Both create their engine here, so that it is the same. On a
//! machine whose processor lacks features of the builder's, or with another version of wasmtime, the [`fingerprint`] is different. The component is
//! then compiled at the start, which takes about a second.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::component::Component;
use wasmtime::{Config, Engine, Result};

/// 8 bytes: the fingerprint before the compiled code, little-endian.
const FINGERPRINT_LEN: usize = 8;

/// Creates the engine that compiles and runs Dekker's components. Epoch interruption is on, so that a call into a component can be ended.
///
/// # Errors
/// Returns an error if wasmtime does not support this machine.
pub fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    Engine::new(&config)
}

/// Returns a hash of wasmtime's version, the engine's settings and the processor. Engines with the same fingerprint can run the same compiled code.
pub fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiles a component to `fingerprint[8, little-endian] code`.
///
/// # Errors
/// Returns an error if `component` is not a valid component.
pub fn compile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>> {
    let code = engine.precompile_component(component)?;
    let mut compiled = fingerprint(engine).to_le_bytes().to_vec();
    compiled.extend_from_slice(&code);
    Ok(compiled)
}

/// Loads the result of [`compile`]. Returns `None` if it was made for another engine, or is empty or cannot be loaded.
///
/// # Safety
/// `compiled` must be the unaltered result of [`compile`], or empty: it contains machine code, which is run.
#[allow(unsafe_code)]
pub unsafe fn load(engine: &Engine, compiled: &[u8]) -> Option<Component> {
    let (made_for, code) = compiled.split_first_chunk::<FINGERPRINT_LEN>()?;
    if u64::from_le_bytes(*made_for) != fingerprint(engine) {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe { Component::deserialize(engine, code) }.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The smallest component: magic, version 13, layer 1.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    #[allow(unsafe_code)]
    fn compiled_code_loads_only_in_a_matching_engine() {
        let own = engine().unwrap();
        let compiled = compile(&own, EMPTY).unwrap();
        let other = Engine::new(&Config::new()).unwrap();
        assert_ne!(fingerprint(&own), fingerprint(&other));
        // SAFETY: it is what `compile` made, or empty.
        unsafe {
            assert!(load(&own, &compiled).is_some());
            assert!(load(&engine().unwrap(), &compiled).is_some());
            assert!(load(&other, &compiled).is_none());
            assert!(load(&own, &[]).is_none());
        }
    }
}
