//! The behaviour suite against dekker-core itself.

use dekker_tests::behaviours;
use dekker_tests::face::NativeMaker;

macro_rules! tests {
    ($($group:ident { $($name:ident)* })*) => {
        $(mod $group {
            $(
                #[test]
                fn $name() {
                    super::behaviours::check(stringify!($name), &super::NativeMaker::RUST_CRYPTO);
                }
            )*
        })*
    };
}

dekker_tests::with_behaviours!(tests);
