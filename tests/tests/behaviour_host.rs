//! The behaviour suite against the accelerated component as `dekker` runs it: the host keeps values and keys, and carries out the plans.
//!
//! Without a component every test passes and prints a message; in CI it fails.

use std::sync::LazyLock;

use dekker_tests::behaviours::check_if_found;
use dekker_tests::face::{HostMaker, Missing};

static MAKER: LazyLock<Result<HostMaker, Missing>> = LazyLock::new(HostMaker::find);

dekker_tests::face_tests!(|name| check_if_found(name, &MAKER));
