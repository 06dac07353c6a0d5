//! The behaviour suite against dekker-core with ring.

use dekker_tests::behaviours;
use dekker_tests::face::NativeMaker;

macro_rules! tests {
    ($($group:ident { $($name:ident)* })*) => {
        $(mod $group {
            $(
                #[test]
                fn $name() {
                    super::behaviours::check(stringify!($name), &super::NativeMaker::RING);
                }
            )*
        })*
    };
}

dekker_tests::with_behaviours!(tests);
