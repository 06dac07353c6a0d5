//! The behaviour suite against the accelerated component under wasmtime, with the keys that `dekker` lends it.
//!
//! Without a component every test passes and says so, except in CI, where that is a failure.

use std::sync::LazyLock;

use dekker_tests::behaviours;
use dekker_tests::face::{ComponentMaker, Missing};

static MAKER: LazyLock<Result<ComponentMaker, Missing>> =
    LazyLock::new(ComponentMaker::find_accelerated);

fn check(name: &str) {
    match &*MAKER {
        Ok(maker) => behaviours::check(name, maker),
        Err(missing) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            panic!("{missing}")
        }
        Err(missing) => {
            // Past the capture of the test harness, so that a person sees it.
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {missing}");
        }
    }
}

macro_rules! tests {
    ($($group:ident { $($name:ident)* })*) => {
        $(mod $group {
            $(
                #[test]
                fn $name() {
                    super::check(stringify!($name));
                }
            )*
        })*
    };
}

dekker_tests::with_behaviours!(tests);
