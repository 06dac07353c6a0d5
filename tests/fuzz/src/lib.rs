//! The entry point that all fuzzers share.

#[doc(hidden)]
pub use {dekker_fuzz_targets, libfuzzer_sys};

/// Defines a fuzzer for the target with this name. If `DEKKER_FUZZ_SEEDS` names a folder, the fuzzer writes the seeds there first.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        static TARGET: std::sync::LazyLock<$crate::dekker_fuzz_targets::Target> =
            std::sync::LazyLock::new(|| $crate::dekker_fuzz_targets::named($name));

        $crate::libfuzzer_sys::fuzz_target!(
            init: $crate::dekker_fuzz_targets::write_seeds($name),
            |input: &[u8]| (TARGET.run)(input)
        );
    };
}
