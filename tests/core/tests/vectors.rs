//! Every recorded value in native code: see `dekker_tests::vectors`.

use dekker_tests::interop::Faces;
use dekker_tests::vectors;

#[test]
fn values_that_upstream_wrote_read_as_upstream_reads_them() {
    vectors::values_that_upstream_wrote_read_as_upstream_reads_them(Faces::Native);
}

#[test]
fn no_altered_value_passes() {
    vectors::no_altered_value_passes(Faces::Native);
}

#[test]
fn kms_values_open_with_their_dek_alone() {
    vectors::kms_values_open_with_their_dek_alone(Faces::Native);
}

#[test]
fn a_value_sealed_with_a_given_dek_is_read_with_the_plugin() {
    vectors::a_value_sealed_with_a_given_dek_is_read_with_the_plugin(Faces::Native);
}
