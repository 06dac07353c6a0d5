//! Values in one call have the outcomes that they have alone, in any order and mixture, and are counted as often. The seed is random and printed;
//! `DEKKER_SEED` sets it.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use dekker_core::engine::Options;
use dekker_core::{Location, TransformError};
use dekker_tests::entropy::Seeded;
use dekker_tests::face::{HostMaker, Maker};
use dekker_tests::interop::{print_figures, skip};
use dekker_tests::object::{EncryptedObject, Stored};
use dekker_tests::plugin::Plugin;
use dekker_tests::sim::{Harness, Read, file};

/// How many batches each test makes.
const BATCHES: usize = 200;

/// The most values in a batch.
const LONGEST: u64 = 40;

/// A value to read.
struct Value {
    resource: &'static str,
    key: &'static str,
    stored: Vec<u8>,
}

fn random() -> Seeded {
    let seed = match std::env::var("DEKKER_SEED") {
        Ok(text) => text.parse().expect("DEKKER_SEED is a number"),
        Err(_) => RandomState::new().build_hasher().finish(),
    };
    println!("DEKKER_SEED={seed}");
    Seeded::new(seed)
}

fn below(random: &Seeded, end: u64) -> usize {
    usize::try_from(random.number() % end).expect("it is small")
}

/// Numbers below `end`, often the same one several times in a row.
fn picks(random: &Seeded, end: usize) -> Vec<usize> {
    let mut picks = Vec::new();
    for _ in 0..=below(random, LONGEST) {
        match picks.last() {
            Some(last) if below(random, 2) == 0 => picks.push(*last),
            _ => picks.push(below(random, end as u64)),
        }
    }
    picks
}

fn local(cipher: &str, names: &[&str]) -> String {
    let keys = names.iter().map(|name| {
        // The base64 of 32 bytes that depend on the name.
        let secret = format!("{}=", name.repeat(43).get(..43).expect("43 characters"));
        format!("{{name: {name}, secret: {secret}}}")
    });
    format!("{cipher}: {{keys: [{}]}}", keys.collect::<Vec<_>>().join(", "))
}

/// Secrets have four providers, config maps two keys of one, events plaintext, and other resources no rule.
fn config() -> String {
    let secrets = [file::kms("a"), local("aescbc", &["k"]), file::kms("b"), file::identity()];
    file::config(&[
        file::rule(&["secrets"], &secrets),
        file::rule(&["configmaps"], &[local("aesgcm", &["m", "v"]), file::identity()]),
        file::rule(&["events"], &[file::identity(), file::kms("c")]),
    ])
}

/// Creates an engine that has replaced its first DEK.
fn engine(maker: &dyn Maker, options: &Options, old: &mut Vec<Value>) -> Harness {
    let plugins = ["a", "b", "c"].map(|name| (name, Plugin::new("key-1")));
    let mut harness = Harness::new(maker, &config(), options, plugins);
    old.push(write(&mut harness, "secrets", "/old", b"of an old DEK"));
    harness.plugin("a").key_id = "key-2".into();
    harness.advance_secs(60);
    harness
}

fn write(
    harness: &mut Harness,
    resource: &'static str,
    key: &'static str,
    plaintext: &[u8],
) -> Value {
    let stored = harness.try_write(resource, key, plaintext).expect("a write");
    Value { resource, key, stored }
}

/// Values of every kind: of the engine's own DEK, of other DEKs, keys and providers, in plaintext, altered and cut short.
fn values(maker: &dyn Maker, options: &Options, harness: &mut Harness) -> Vec<Value> {
    let mut values = Vec::new();
    let mut other = engine(maker, options, &mut values);
    for length in [0, 1, 100, 127, 128, 5000] {
        values.push(write(harness, "secrets", "/own", &vec![1; length]));
        values.push(write(&mut other, "secrets", "/other", &vec![2; length]));
    }
    values.push(write(harness, "configmaps", "/map", b"a map"));
    values.push(write(harness, "events", "/event", b"an event"));
    values.push(write(harness, "pods", "/pod", b"a pod"));
    for (resource, provider) in [
        ("secrets", local("aescbc", &["k"])),
        ("secrets", file::kms("b")),
        ("configmaps", local("aesgcm", &["v"])),
        ("configmaps", local("aesgcm", &["w"])),
        ("events", file::kms("c")),
    ] {
        let only = file::config(&[file::rule(&[resource], &[provider])]);
        let plugins = ["b", "c"].map(|name| (name, Plugin::new("key-1")));
        let mut writer = Harness::new(maker, &only, options, plugins);
        values.push(write(&mut writer, resource, "/provider", b"of one provider"));
    }
    let mut altered = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let (len, position) = (value.stored.len(), value.stored.len() / 2);
        let mut other_bytes = value.stored.clone();
        if let Some(byte) = other_bytes.get_mut(position) {
            *byte ^= 1;
        }
        altered.push(Value { stored: other_bytes, ..*value });
        let cut = value.stored[..len.saturating_sub(1 + at % 30)].to_vec();
        altered.push(Value { stored: cut, ..*value });
        altered.push(Value { key: "/elsewhere", stored: value.stored.clone(), ..*value });
        altered.push(Value { resource: "pods", stored: value.stored.clone(), ..*value });
    }
    values.extend(altered);
    values
}

fn outcome(
    harness: &mut Harness,
    value: &Value,
    tried: Option<dekker_core::Decrypted>,
) -> Result<Read, TransformError> {
    match tried {
        Some(decrypted) => Ok(Read {
            plaintext: decrypted.plaintext.expose().to_vec(),
            stale: decrypted.is_stale(),
            state: decrypted.state,
            prefix: decrypted.transformer_prefix.to_string(),
        }),
        None => harness.try_read(value.resource, value.key, &value.stored),
    }
}

fn on_host(test: impl Fn(&dyn Maker, &Options)) {
    let maker = match HostMaker::find() {
        Ok(maker) => maker,
        Err(missing) => return skip("batches", &missing.to_string()),
    };
    let seed = dekker_core::crypto::keys::DekSourceType::HkdfSha256XnonceAesGcmSeed;
    test(&maker, &Options::default());
    test(&maker, &Options { dek_source: seed, ..Options::default() });
}

#[test]
fn reads_in_one_call_have_the_outcomes_that_they_have_alone() {
    let random = random();
    on_host(|maker, options| {
        let mut old = Vec::new();
        let mut alone = engine(maker, options, &mut old);
        let mut together = engine(maker, options, &mut old);
        let own = [values(maker, options, &mut alone), values(maker, options, &mut together)];
        // Both read the values of the other, too. Each DEK is known before the batches begin.
        let values: Vec<Value> = own.into_iter().flatten().chain(old).collect();
        for value in &values {
            let of_alone = outcome(&mut alone, value, None);
            assert_eq!(outcome(&mut together, value, None).is_ok(), of_alone.is_ok());
        }
        let before = [alone.face.metrics(), together.face.metrics()];
        let mut done = [0, 0];
        for _ in 0..BATCHES {
            let picked: Vec<&Value> =
                picks(&random, values.len()).into_iter().map(|at| &values[at]).collect();
            let batch: Vec<_> = picked.iter().map(|value| (at(value), &*value.stored)).collect();
            let now = together.now;
            let tried = together.face.from_storage_many(&batch, now).expect("it has the call");
            assert_eq!(tried.len(), batch.len());
            for (value, tried) in picked.into_iter().zip(tried) {
                done[usize::from(tried.is_some())] += 1;
                let of_batch = outcome(&mut together, value, tried);
                assert_eq!(of_batch, outcome(&mut alone, value, None), "{}", value.key);
            }
        }
        print_figures(&format!("reads in batches: {} there, {} alone", done[1], done[0]));
        assert!(done[1] > done[0] / 4, "most values that can be read are read in the batch");
        let after = [alone.face.metrics(), together.face.metrics()];
        let [of_alone, of_together] = [0, 1].map(|at| difference(&before[at], &after[at]));
        assert_eq!(of_together, of_alone);
    });
}

#[test]
fn writes_in_one_call_have_the_outcomes_that_they_have_alone() {
    let random = random();
    on_host(|maker, options| {
        let mut old = Vec::new();
        let mut alone = engine(maker, options, &mut old);
        let mut together = engine(maker, options, &mut old);
        let before = [alone.face.metrics(), together.face.metrics()];
        let resources = ["secrets", "configmaps", "events", "pods", "leases.coordination.k8s.io"];
        let mut nonces = BTreeSet::new();
        let mut sealed = 0;
        for _ in 0..BATCHES {
            let picked = picks(&random, resources.len());
            let plaintexts: Vec<_> = picked.iter().map(|_| vec![9; below(&random, 300)]).collect();
            let place = |resource| Location { resource: resources[resource], key: b"/k" };
            let batch = picked.iter().map(|at| place(*at)).zip(&plaintexts);
            let batch: Vec<(Location<'_>, &[u8])> = batch.map(|(at, text)| (at, &**text)).collect();
            let now = together.now;
            let written = together.face.to_storage_many(&batch, now).expect("it has the call");
            assert_eq!(written.len(), batch.len());
            for ((at, plaintext), written) in batch.into_iter().zip(written) {
                let written = written.expect("no plugin is needed");
                let stored = alone.try_write(at.resource, at.key, plaintext).expect("a write");
                assert_eq!(written.stored.len(), stored.len(), "{at:?}");
                let read = together.try_read(at.resource, at.key, &written.stored);
                let read = read.expect("it reads back");
                assert_eq!(
                    (&*read.plaintext, &*read.prefix),
                    (plaintext, &*written.transformer_prefix)
                );
                let of_alone = alone.try_read(at.resource, at.key, &stored).expect("it reads back");
                assert_eq!(of_alone, read);
                if let Some(object) = EncryptedObject::find(&written.stored) {
                    sealed += 1;
                    assert!(nonces.insert(object.encrypted_data[..12].to_vec()), "a nonce repeats");
                }
            }
        }
        print_figures(&format!("writes in batches: {sealed} with a DEK, all nonces different"));
        let after = [alone.face.metrics(), together.face.metrics()];
        let [of_alone, of_together] = [0, 1].map(|at| difference(&before[at], &after[at]));
        assert_eq!(of_together, of_alone);
    });
}

fn at(value: &Value) -> Location<'_> {
    Location { resource: value.resource, key: value.key.as_bytes() }
}

type Metrics = std::collections::BTreeMap<String, Vec<dekker_tests::face::Sample>>;

/// How much each sample has grown, without those that have not.
fn difference(before: &Metrics, after: &Metrics) -> Vec<String> {
    let mut grown = Vec::new();
    for (name, samples) in after {
        for (labels, value) in samples {
            let earlier = before.get(name).into_iter().flatten();
            let earlier = earlier.filter(|(of, _)| of == labels).map(|(_, value)| value);
            let difference = value - earlier.sum::<f64>();
            if difference != 0.0 {
                grown.push(format!("{name} {labels:?} {difference}"));
            }
        }
    }
    grown.sort();
    grown
}
