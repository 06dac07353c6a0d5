//! Published test vectors on every face, each as a value that a configured provider could have stored.

#[path = "published_vectors/cavp.rs"]
mod cavp;
#[path = "published_vectors/provider.rs"]
mod provider;
#[path = "published_vectors/secretbox.rs"]
mod secretbox;
#[path = "published_vectors/sets.rs"]
mod sets;
#[path = "published_vectors/vector.rs"]
mod vector;
#[path = "published_vectors/wycheproof.rs"]
mod wycheproof;

use std::collections::BTreeSet;

use dekker_core::ErrorKind;
use dekker_tests::face::Maker;
use dekker_tests::interop::{Comparison, on_every_face, print_figures};

use self::provider::Provider;
use self::vector::{Ending, Set};

/// Reads the vectors of a set as values of one provider. Each must open or be rejected as its author says, except where upstream differs.
fn read_all(set: &Set, provider: Provider, maker: &dyn Maker) -> Comparison {
    let mut comparison = Comparison::default();
    let mut harness = provider.harness(maker, &set.vectors);
    let mut opened = BTreeSet::new();
    for vector in &set.vectors {
        let what = format!("{}, {}: {}", set.name, provider.name(), vector.id);
        let stored = provider.stored(vector, &set.sealed(vector));
        let differs = match harness.try_read("secrets", &vector.aad, &stored) {
            Ok(read) => {
                opened.extend((!vector.valid).then_some(vector.id));
                let is_plaintext = set.is_plaintext(vector, &read.plaintext);
                (!is_plaintext).then(|| "another plaintext".into())
            }
            // Other errors do not count: a missing key or a failing plugin would reject every vector.
            Err(error) => match error.kind {
                ErrorKind::DecryptFailed | ErrorKind::Malformed => {
                    vector.valid.then(|| "refused".into())
                }
                _ => Some(format!("not even tried: {error}")),
            },
        };
        comparison.add(differs.map(|differs| format!("{what}: {differs}")));
    }
    let what = format!("{}, {}: invalid and opened", set.name, provider.name());
    comparison.equal(&what, &opened, &set.open_in_upstream);
    comparison
}

/// Writes the valid vectors of a set with one provider and the vector's IV. The same bytes must be stored, and must read back.
fn write_all(set: &Set, provider: Provider, every: usize, maker: &dyn Maker) -> Comparison {
    let mut comparison = Comparison::default();
    let valid = set.vectors.iter().filter(|vector| vector.valid);
    for vector in valid.step_by(every) {
        let what = format!("{}, {}: {}", set.name, provider.name(), vector.id);
        let mut harness = provider.harness(maker, std::slice::from_ref(vector));
        harness.face.choose_random(&vector.iv);
        let (aad, plaintext) = (&vector.aad, &vector.plaintext);
        let written = harness.try_write("secrets", aad, plaintext).expect(&what);
        let expected = provider.stored(vector, &vector.sealed);
        let is_same = match set.ending {
            Ending::Own => written == expected,
            // A whole block of padding follows.
            Ending::Unpadded => {
                written.starts_with(&expected) && written.len() == expected.len() + 16
            }
        };
        comparison.add((!is_same).then(|| format!("{what}: other bytes are stored")));
        let read = harness.try_read("secrets", aad, &written).expect(&what);
        assert_eq!(&read.plaintext, plaintext, "{what}");
    }
    comparison
}

#[test]
fn no_published_vector_is_missing() {
    let counts = sets::all().into_iter().map(|set| {
        let left_out: usize = set.left_out.values().sum();
        (set.name, set.vectors.len(), left_out)
    });
    let expected = [
        ("Wycheproof AES-GCM", 197, 119),
        ("NIST CAVP GCM", 1125, 0),
        ("Wycheproof AES-CBC", 216, 0),
        ("NIST CAVP CBC", 1099, 0),
        ("libsodium secretbox", 21, 0),
        ("TweetNaCl.js secretbox", 138, 0),
    ];
    assert_eq!(counts.collect::<Vec<_>>(), expected);
}

#[test]
fn published_vectors_open_or_are_refused() {
    let sets = sets::all();
    for set in &sets {
        let valid = set.vectors.iter().filter(|vector| vector.valid).count();
        let mut figures = format!("{}: {} vectors, {valid} valid", set.name, set.vectors.len());
        if !set.open_in_upstream.is_empty() {
            figures += &format!(
                "; {} invalid that open, as in upstream: {:?}",
                set.open_in_upstream.len(),
                set.open_in_upstream
            );
        }
        if !set.left_out.is_empty() {
            let count: usize = set.left_out.values().sum();
            figures += &format!(
                "; {count} left out for the length of their IV, by its bits: {:?}",
                set.left_out
            );
        }
        print_figures(&figures);
    }
    on_every_face("published vectors read", |maker| {
        let mut all = Comparison::default();
        for set in &sets {
            for provider in set.providers() {
                all += read_all(set, *provider, maker);
            }
        }
        all
    });
}

#[test]
fn valid_published_vectors_are_written_with_their_iv() {
    // Each key needs a separate engine, and each message to a browser takes milliseconds.
    let every = match std::env::var("DEKKER_FACE").as_deref() {
        Ok("browser") => {
            print_figures(
                "of the valid published vectors the browser writes every eighth: Node has written all, with the same module",
            );
            8
        }
        _ => 1,
    };
    let sets = sets::all();
    on_every_face("published vectors written", |maker| {
        let mut all = Comparison::default();
        if !maker.is_repeatable() {
            return all;
        }
        for set in &sets {
            for provider in set.providers() {
                // KMS providers count their nonces, so no IV can be chosen.
                if let Provider::Local(_) = provider {
                    all += write_all(set, *provider, every, maker);
                }
            }
        }
        all
    });
}
