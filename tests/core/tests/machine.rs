//! Random histories on dekker-core in native code: see `dekker_tests::histories`.

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_tests::face::NativeMaker;
use dekker_tests::histories::{options, play};

#[test]
fn histories_with_keys_keep_the_promises() {
    let options = options(DekSourceType::AesGcmKey, Coast::Strict);
    play(&NativeMaker::RUST_CRYPTO, 1500, &options);
}

#[test]
fn histories_with_seeds_keep_the_promises() {
    let seed = DekSourceType::HkdfSha256XnonceAesGcmSeed;
    play(&NativeMaker::RUST_CRYPTO, 500, &options(seed, Coast::Strict));
}

#[test]
fn histories_that_coast_as_upstream_keep_the_promises() {
    let options = options(DekSourceType::AesGcmKey, Coast::Upstream);
    play(&NativeMaker::RUST_CRYPTO, 500, &options);
}

#[test]
fn histories_with_rings_keys_keep_the_promises() {
    let options = options(DekSourceType::AesGcmKey, Coast::Strict);
    play(&NativeMaker::RING, 500, &options);
}
