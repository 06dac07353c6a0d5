//! Random histories of an engine, its plugins and its configuration file, played by [`History`]. In every history: no nonce is used twice with one
//! DEK; no write succeeds more than three minutes after the last good Status that named its key ID; every acknowledged write reads back with the
//! right stale flag; every operation ends; and no text contains a key ID.

use std::hash::{BuildHasher, Hasher, RandomState};

use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_core::provider::kms::v2::key_state::Coast;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

use crate::face::Maker;
use crate::model::{History, Mood, Step};

fn mood() -> impl Strategy<Value = Mood> {
    prop_oneof![
        3 => Just(Mood::Well),
        1 => Just(Mood::Down),
        1 => Just(Mood::Silent),
        1 => Just(Mood::Unhealthy),
        1 => Just(Mood::Ahead),
        1 => Just(Mood::Garbled),
        1 => Just(Mood::Lying),
        2 => (1u16..5000).prop_map(Mood::Slow),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<(u8, u8)>().prop_map(|(key, len)| Step::Write(key, len)),
        4 => any::<u16>().prop_map(Step::Read),
        1 => Just(Step::Health),
        2 => (1u32..500).prop_map(Step::Wait),
        3 => (500u32..15_000).prop_map(Step::Wait),
        3 => (15_000u32..200_000).prop_map(Step::Wait),
        2 => (1_000u32..400_000).prop_map(Step::Sleep),
        1 => any::<(bool, bool)>().prop_map(|(is_b, is_v2)| Step::Replace(is_b, is_v2)),
        4 => (any::<bool>(), mood()).prop_map(|(is_b, mood)| Step::Turn(is_b, mood)),
        2 => any::<(bool, u8)>().prop_map(|(is_b, kek)| Step::Rotate(is_b, kek)),
        2 => any::<u8>().prop_map(Step::Reload),
    ]
}

/// Plays `cases` histories on one face. The seed is random and printed; `DEKKER_SEED` sets it.
///
/// # Panics
/// Panics if a history breaks a promise, with the shortest history found that does.
pub fn play(maker: &dyn Maker, cases: u32, options: &Options) {
    let seed = match std::env::var("DEKKER_SEED") {
        Ok(text) => text.parse().expect("DEKKER_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    println!("{cases} histories, DEKKER_SEED={seed}");
    let config = Config {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&vec(step(), 1..60), |steps| {
            let mut history = History::new(maker, options);
            for step in &steps {
                history.play(step);
            }
            history.end();
            Ok(())
        })
        .unwrap();
}

/// Options with which histories reload files and evict DEKs.
pub fn options(dek_source: DekSourceType, coast: Coast) -> Options {
    Options {
        reload: true,
        dek_source,
        coast,
        dek_cache_capacity: 2.try_into().unwrap(),
        ..Options::default()
    }
}
