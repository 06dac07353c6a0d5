//! Random histories on the component: see `dekker_tests::histories`.

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_tests::face::ComponentMaker;
use dekker_tests::histories::{options, play};
use dekker_tests::interop::skip;

#[test]
fn histories_of_the_component_keep_the_promises() {
    match ComponentMaker::find() {
        Ok(maker) => play(&maker, 60, &options(DekSourceType::AesGcmKey, Coast::Strict)),
        Err(missing) => skip("histories of the component", &missing.to_string()),
    }
}
