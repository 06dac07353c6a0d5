//! What every fuzzer's `main` is.

#[doc(hidden)]
pub use {dekker_fuzz_targets, libfuzzer_sys};

/// A fuzzer for the target of this name. If `DEKKER_FUZZ_SEEDS` names a folder, it writes the seeds there first.
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
