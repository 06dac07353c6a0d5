//! The behaviour suite against the npm package in a browser.
//!
//! `cargo xtask test browser` builds the package and runs this test; `cargo test` alone does not include it.

use std::sync::LazyLock;

use dekker_tests::behaviours;
use dekker_tests::face::JavaScriptMaker;

static MAKER: LazyLock<JavaScriptMaker> = LazyLock::new(JavaScriptMaker::browser);

macro_rules! tests {
    ($($group:ident { $($name:ident)* })*) => {
        $(mod $group {
            $(
                #[test]
                fn $name() {
                    super::behaviours::check(stringify!($name), &*super::MAKER);
                }
            )*
        })*
    };
}

dekker_tests::with_behaviours!(tests);
