//! The behaviour suite against the component under wasmtime.
//!
//! Without a component every test passes and prints a message; in CI it fails.

use std::sync::LazyLock;

use dekker_tests::behaviours::check_if_found;
use dekker_tests::face::{ComponentMaker, Missing};

static MAKER: LazyLock<Result<ComponentMaker, Missing>> = LazyLock::new(ComponentMaker::find);

dekker_tests::face_tests!(|name| check_if_found(name, &MAKER));
