//! A component, compiled ahead of time for the machine that builds Dekker.
//!
//! `cargo xtask build` runs `dekker-precompile`, whose work dekker-host embeds. Both make their engine here, so that it is the same one. A
//! machine whose processor lacks what the builder's had, or another version of wasmtime, has another [`fingerprint`]: there the component is
//! compiled at the start, which takes about a second.

use std::hash::{DefaultHasher, Hash, Hasher};

use wasmtime::component::Component;
use wasmtime::{Config, Engine, Result};

/// 8 bytes: the fingerprint in front of compiled code, little-endian.
const FINGERPRINT_LEN: usize = 8;

/// The engine that compiles and runs Dekker's components. A call into one can be ended by counting epochs.
///
/// # Errors
/// When wasmtime does not run on this machine.
pub fn engine() -> Result<Engine> {
    let mut config = Config::new();
    config.epoch_interruption(true);
    Engine::new(&config)
}

/// Two engines of the same fingerprint run the same compiled code. It follows from wasmtime's version, the engine's settings and the processor.
pub fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Compiles a component: `fingerprint[8, little-endian] code`.
///
/// # Errors
/// When it is none.
pub fn compile(engine: &Engine, component: &[u8]) -> Result<Vec<u8>> {
    let code = engine.precompile_component(component)?;
    let mut compiled = fingerprint(engine).to_le_bytes().to_vec();
    compiled.extend_from_slice(&code);
    Ok(compiled)
}

/// What [`compile`] made, unless it was made for another engine.
///
/// # Safety
/// `compiled` must have come from [`compile`] unaltered, or be empty: it is machine code, and is run.
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
    fn compiled_code_loads_in_an_engine_like_its_own_only() {
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
