//! Every recorded value through every face: what upstream wrote reads back, is stale when upstream says so, and is refused when upstream
//! refuses it; and no altered variant passes.

use std::collections::{BTreeMap, BTreeSet};

use dekker_core::provider::transformer::{ErrorKind, TransformError};
use dekker_tests::face::Maker;
use dekker_tests::interop::{Comparison, VectorFile, on_every_face};
use dekker_tests::object::EncryptedObject;
use dekker_tests::sim::{Harness, Read};

/// What upstream wrote, provider by provider.
const FILES: [&str; 7] = [
    "aesgcm",
    "aescbc",
    "secretbox",
    "identity",
    "kms-v1",
    "kms-v2-seed",
    "kms-v2-key",
];

/// The names that the files have for what came of a read.
fn verdict(outcome: &Result<Read, TransformError>) -> &'static str {
    match outcome {
        Ok(read) if read.stale => "stale",
        Ok(_) => "ok",
        Err(error) => match error.kind {
            ErrorKind::DecryptFailed => "authentication failure",
            ErrorKind::Malformed => "malformed",
            ErrorKind::NoMatchingPrefix => "no matching prefix",
            ErrorKind::EncryptedData => "encrypted data",
            ErrorKind::Kms => "kms",
            ErrorKind::NotReady => "not ready",
            ErrorKind::NoncesExhausted => "nonces exhausted",
            ErrorKind::Overloaded => "overloaded",
            ErrorKind::Internal => "internal",
        },
    }
}

fn read_all(name: &str, maker: &dyn Maker) -> Comparison {
    let file = VectorFile::read(name);
    let mut harnesses: BTreeMap<&str, Harness> = BTreeMap::new();
    let mut comparison = Comparison::default();
    for vector in &file.vectors {
        let plaintext = vector.plaintext();
        for read in &vector.reads {
            let harness = harnesses
                .entry(&read.reader)
                .or_insert_with(|| file.harness(maker, &read.reader));
            let outcome = harness.try_read(&vector.resource, vector.key(), vector.stored());
            let what = format!("{name}: {}, by {}", vector.name, read.reader);
            if read.error.starts_with("panic") {
                // What ends upstream's process is a clean error of ours; which one is not upstream's to say.
                comparison.add(outcome.is_ok().then(|| format!("{what}: reads")));
            } else {
                comparison.equal(&what, &verdict(&outcome), &&*read.expect);
            }
            if let Ok(read) = outcome {
                assert_eq!(Some(read.plaintext), plaintext, "{what}");
            }
        }
    }
    assert!(!file.vectors.is_empty());
    comparison
}

#[test]
fn values_that_upstream_wrote_read_as_upstream_reads_them() {
    on_every_face("vectors", |maker| {
        let mut all = Comparison::default();
        for name in FILES {
            all += read_all(name, maker);
        }
        all
    });
}

/// The bits to alter: all of a short value, some of a long one.
fn bits(len: usize) -> impl Iterator<Item = usize> {
    let step = if len <= 256 { 1 } else { len * 8 / 512 };
    (0..len * 8).step_by(step)
}

/// What prost makes of a KMS v2 value.
fn object(stored: &[u8]) -> Option<EncryptedObject> {
    use prost::Message;
    let value = stored.strip_prefix(b"k8s:enc:kms:v2:")?;
    let name = value.iter().position(|byte| *byte == b':')?;
    EncryptedObject::decode(&value[name + 1..]).ok()
}

/// Whether an altered value still is the same object: protobuf has more than one way to write one.
fn is_same_object(before: &[u8], after: &[u8]) -> bool {
    object(before).is_some_and(|before| object(after) == Some(before))
}

fn alter_all(name: &str, maker: &dyn Maker) -> Comparison {
    let file = VectorFile::read(name);
    let mut comparison = Comparison::default();
    for vector in &file.vectors {
        // With identity in the list an altered prefix makes a plaintext, upstream as well.
        let reader = vector.reads.iter().find(|read| read.expect == "ok");
        let Some(reader) = reader.filter(|_| name != "identity") else {
            continue;
        };
        let mut harness = file.harness(maker, &reader.reader);
        let (key, stored) = (vector.key(), vector.stored());
        // Go reads an object with a field of the wrong kind and prost does not: nobody here can say what an altered one should be.
        if name.starts_with("kms-v2") && object(stored).is_none() {
            continue;
        }
        let plaintext = vector.plaintext();
        let mut texts = BTreeSet::new();
        let bits: Vec<usize> = bits(stored.len()).collect();
        let shorter = (0..stored.len()).step_by(stored.len() / 256 + 1);
        let variants = bits.iter().map(|bit| {
            let mut altered = stored.to_vec();
            altered[bit / 8] ^= 1 << (bit % 8);
            altered
        });
        let variants = variants.chain(shorter.map(|len| stored[..len].to_vec()));
        for altered in variants {
            let outcome = harness.try_read(&vector.resource, &key, &altered);
            let passed = match outcome {
                // CBC, KMS v1's fallback, authenticates nothing: a wrong value may come out, the right one must not.
                Ok(read) if matches!(name, "aescbc" | "kms-v1") => {
                    Some(read.plaintext) == plaintext
                }
                Ok(_) => !is_same_object(stored, &altered),
                Err(error) => {
                    if error.kind == ErrorKind::DecryptFailed {
                        texts.insert(error.message);
                    }
                    false
                }
            };
            comparison
                .add(passed.then(|| format!("{name}: {}: an altered value passes", vector.name)));
        }
        assert!(texts.len() <= 1, "one opaque error: {texts:?}");
    }
    comparison
}

#[test]
fn no_altered_value_passes() {
    on_every_face("altered variants", |maker| {
        let mut all = Comparison::default();
        for name in FILES {
            all += alter_all(name, maker);
        }
        all
    });
}
