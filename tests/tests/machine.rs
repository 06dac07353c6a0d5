//! Random histories on the component: see `dekker_tests::histories`.

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_tests::face::ComponentMaker;
use dekker_tests::histories::{options, play};

#[test]
fn histories_of_the_component_keep_the_promises() {
    match ComponentMaker::find() {
        Ok(maker) => play(
            &maker,
            60,
            &options(DekSourceType::AesGcmKey, Coast::Strict),
        ),
        Err(missing) if std::env::var_os("CI").is_some_and(|ci| ci == "true") => {
            panic!("{missing}")
        }
        Err(missing) => eprintln!("SKIPPED: {missing}"),
    }
}
