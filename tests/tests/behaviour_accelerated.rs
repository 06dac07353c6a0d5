//! The behaviour suite against the accelerated component under wasmtime, with the same host keys as in `dekker`.
//!
//! Without a component every test passes and prints a message; in CI it fails.

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
            // Bypasses the capture of the test harness, so that people see it.
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
