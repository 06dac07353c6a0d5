//! What every fuzzer's `main` is.

#[doc(hidden)]
pub use {dekker_fuzz_targets, libfuzzer_sys};

/// A fuzzer that writes its seeds where it is told, and then runs the target of this name.
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
