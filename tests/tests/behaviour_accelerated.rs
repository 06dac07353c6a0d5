//! The behaviour suite against the accelerated component under wasmtime, with the same host keys as in `dekker`.
//!
//! Without a component every test passes and prints a message; in CI it fails.

use std::sync::LazyLock;

use dekker_tests::behaviours::check_if_found;
use dekker_tests::face::{ComponentMaker, Missing};

static MAKER: LazyLock<Result<ComponentMaker, Missing>> =
    LazyLock::new(ComponentMaker::find_accelerated);

dekker_tests::face_tests!(|name| check_if_found(name, &MAKER));
