//! The behaviour suite against the npm package in a browser.
//!
//! `cargo xtask test browser` builds the package and runs this test; `cargo test` alone does not include it.

use std::sync::LazyLock;

use dekker_tests::behaviours::check;
use dekker_tests::face::JavaScriptMaker;

static MAKER: LazyLock<JavaScriptMaker> = LazyLock::new(JavaScriptMaker::browser);

dekker_tests::face_tests!(|name| check(name, &*MAKER));
