//! The behaviour suite against the accelerated component as `dekker` runs it, with each value in a call for many values.
//!
//! Without a component every test passes and prints a message; in CI it fails.

use std::sync::LazyLock;

use dekker_tests::behaviours::check_if_found;
use dekker_tests::face::{HostMaker, Missing};

static MAKER: LazyLock<Result<HostMaker, Missing>> = LazyLock::new(HostMaker::find_in_batches);

dekker_tests::face_tests!(|name| check_if_found(name, &MAKER));
