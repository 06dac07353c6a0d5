//! The behaviour suite against dekker-core itself.

use dekker_tests::behaviours::check;
use dekker_tests::face::NativeMaker;

dekker_tests::face_tests!(|name| check(name, &NativeMaker::RUST_CRYPTO));
