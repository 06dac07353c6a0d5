//! Every recorded value. What upstream reads must read back with the same staleness, and what upstream rejects must be rejected. No altered variant
//! may pass.
//!
//! `tests/vectors.rs` runs this on every face, and `core/tests/vectors.rs` in native code alone, so that mutants of core meet these values.

use std::collections::{BTreeMap, BTreeSet};

use dekker_core::{ErrorKind, TransformError};

use crate::face::Maker;
use crate::interop::{Comparison, Faces, VectorFile, print_figures};
use crate::object::{EncryptedObject, Stored};
use crate::sim::{Harness, Read};

/// The files of values that upstream wrote, by provider.
const FILES: [&str; 7] =
    ["aesgcm", "aescbc", "secretbox", "identity", "kms-v1", "kms-v2-seed", "kms-v2-key"];

/// Returns the name that the files use for the outcome of a read.
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
            ErrorKind::ReadOnly => "read-only",
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
            let harness =
                harnesses.entry(&read.reader).or_insert_with(|| file.harness(maker, &read.reader));
            let outcome = harness.try_read(&vector.resource, vector.key(), vector.stored());
            let what = format!("{name}: {}, by {}", vector.name, read.reader);
            // What an engine remembers of the last value must not change the outcome.
            let again = harness.try_read(&vector.resource, vector.key(), vector.stored());
            comparison.equal(&format!("{what}, again"), &again, &outcome);
            if read.error.starts_with("panic") {
                // Where upstream panics, Dekker must return an error; any error will do.
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

/// Reads every recorded value, and compares plaintext, staleness and the kind of error with upstream's.
///
/// # Panics
/// Panics if a face does not agree.
pub fn values_that_upstream_wrote_read_as_upstream_reads_them(faces: Faces) {
    faces.compare("vectors", |maker| {
        let mut all = Comparison::default();
        for name in FILES {
            all += read_all(name, maker);
        }
        all
    });
}

/// Returns the bits to alter: all bits of a short value, some of a long one.
fn bits(len: usize) -> impl Iterator<Item = usize> {
    let step = if len <= 256 { 1 } else { len * 8 / 512 };
    (0..len * 8).step_by(step)
}

/// Returns whether an altered value still encodes the same object; protobuf has several encodings.
fn is_same_object(before: &[u8], after: &[u8]) -> bool {
    EncryptedObject::find(before).is_some_and(|before| EncryptedObject::find(after) == Some(before))
}

fn alter_all(name: &str, every: usize, maker: &dyn Maker) -> Comparison {
    let file = VectorFile::read(name);
    let mut comparison = Comparison::default();
    for vector in &file.vectors {
        // If `identity` is in the list, a value with an altered prefix is plaintext, as in upstream.
        let reader = vector.reads.iter().find(|read| read.expect == "ok");
        let Some(reader) = reader.filter(|_| name != "identity") else {
            continue;
        };
        let mut harness = file.harness(maker, &reader.reader);
        let (key, stored) = (vector.key(), vector.stored());
        // Go decodes an object with a field of the wrong type and prost does not, so this test does not know what an altered one should be.
        if name.starts_with("kms-v2") && EncryptedObject::find(stored).is_none() {
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
        for altered in variants.step_by(every) {
            let outcome = harness.try_read(&vector.resource, &key, &altered);
            let passed = match outcome {
                // AES-CBC, also the fallback of KMS v1, has no authentication: an altered value may decrypt to something else, but not to the right
                // plaintext.
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

/// Reads each recorded value with one bit altered or bytes missing at its end.
///
/// # Panics
/// Panics if a face does not agree.
pub fn no_altered_value_passes(faces: Faces) {
    // Each message to a browser takes milliseconds. Node runs the same module with all variants.
    let every = match std::env::var("DEKKER_FACE").as_deref() {
        Ok("browser") => {
            print_figures(
                "of the altered variants the browser sees every eighth: Node has seen all, with the same module",
            );
            8
        }
        _ => 1,
    };
    faces.compare("altered variants", |maker| {
        let mut all = Comparison::default();
        for name in FILES {
            all += alter_all(name, every, maker);
        }
        all
    });
}

const KMS: [&str; 3] = ["kms-v1", "kms-v2-seed", "kms-v2-key"];

/// Opens KMS values with their DEK, without a plugin, and with a wrong DEK.
///
/// # Panics
/// Panics if a face does not agree.
pub fn kms_values_open_with_their_dek_alone(faces: Faces) {
    faces.compare("values with a given DEK", |maker| {
        let mut all = Comparison::default();
        for name in KMS {
            let file = VectorFile::read(name);
            for (vector, dek) in file.with_deks() {
                let (stored, key) = (vector.stored(), vector.key());
                let what = format!("{name}: {}", vector.name);
                let opened = maker.open_with_dek(stored, &key, &dek.plaintext);
                let plaintext = opened.map(|opened| opened.plaintext.expose().to_vec());
                all.add((plaintext.ok() != vector.plaintext()).then(|| what.clone()));
                let mut wrong = dek.plaintext.clone();
                wrong[0] ^= 1;
                let refused = maker.open_with_dek(stored, &key, &wrong);
                // AES-CBC, the fallback of KMS v1, has no authentication.
                let kind = refused.map_or_else(|error| error.kind, |_| ErrorKind::DecryptFailed);
                all.equal(&format!("{what}, wrong DEK"), &kind, &ErrorKind::DecryptFailed);
            }
        }
        all
    });
}

/// Seals values with the DEK of an existing one, and reads them with the plugin.
///
/// # Panics
/// Panics if a face does not agree.
pub fn a_value_sealed_with_a_given_dek_is_read_with_the_plugin(faces: Faces) {
    faces.compare("values sealed with a given DEK", |maker| {
        let mut all = Comparison::default();
        for name in ["kms-v2-seed", "kms-v2-key"] {
            let file = VectorFile::read(name);
            let mut current = file.harness(maker, "current");
            for (vector, dek) in file.with_deks() {
                let Some(reader) = vector.reads.iter().find(|read| read.reader == "current") else {
                    continue;
                };
                let like = (vector.stored(), &*vector.key());
                if vector.resource != "secrets"
                    || !["ok", "stale"].contains(&&*reader.expect)
                    || EncryptedObject::find(like.0).is_none()
                {
                    continue;
                }
                let what = format!("{name}: {}", vector.name);
                let sealed =
                    maker.seal_with_dek(b"new", b"/new", like, &dek.plaintext).expect(&what);
                let read = current.try_read("secrets", b"/new", &sealed.stored).expect(&what);
                assert_eq!(read.plaintext, b"new", "{what}");
                all.equal(&what, &read.stale, &(reader.expect == "stale"));
                let envelope = |stored| {
                    let object = EncryptedObject::find(stored).expect("an object");
                    (
                        object.key_id,
                        object.encrypted_dek_source,
                        object.annotations,
                        object.encrypted_dek_source_type,
                    )
                };
                assert_eq!(envelope(&sealed.stored), envelope(like.0), "{what}");
                let mut wrong = dek.plaintext.clone();
                wrong[0] ^= 1;
                let refused = maker.seal_with_dek(b"new", b"/new", like, &wrong).unwrap_err();
                assert_eq!(refused.kind, ErrorKind::DecryptFailed, "{what}");
                let elsewhere =
                    maker.seal_with_dek(b"new", b"/new", (like.0, b"/elsewhere"), &dek.plaintext);
                assert_eq!(elsewhere.unwrap_err().kind, ErrorKind::DecryptFailed, "{what}");
            }
        }
        all
    });
}
