//! A fuzz target for the key file and the list of known keys.

use super::known::Known;
use super::{Damage, Kek, KekId, Keys, MAX_KEYS, key_file};
use crate::kms::keyring::kek::Secret;

/// Parses the input as `keyring.json` and as `keyring.ids`.
///
/// # Panics
/// Panics if a property does not hold.
pub(crate) fn run(input: &[u8]) {
    match key_file::decode(input) {
        Ok(keys) => round_trip(&keys),
        Err(damage) => refused(input, &damage),
    }
    if let Some(known) = Known::parse(input) {
        let again = Known::parse(known.text().as_bytes());
        assert_eq!(again, Some(known), "another list");
    }
}

fn round_trip(keys: &Keys) {
    assert!(!keys.all.is_empty() && keys.all.len() <= MAX_KEYS);
    let written = key_file::encode(keys);
    let room = key_file::capacity(keys.all.len());
    assert!(written.len() <= room, "a copy of the keys was left behind");
    let again = key_file::decode(&written).expect("a written keyring");
    assert!(again.same_ids(keys), "other keys");
    for (one, other) in keys.all.iter().zip(&again.all) {
        assert!(one.is_the_same(other), "another key");
        assert_eq!(one.created(), other.created());
    }
    let known = Known::of(keys);
    assert_eq!(Known::parse(known.text().as_bytes()).as_ref(), Some(&known));
    assert!(known.is(keys) && known.missing_in(keys) == 0);
    // What the current key encrypted can be decrypted after the keyring was written and read.
    let sealed = keys.current().seal(b"a DEK").expect("it is short");
    let opened = again.current().open(&sealed).expect("its own");
    assert_eq!(*opened, b"a DEK");
}

fn refused(input: &[u8], damage: &Damage) {
    assert!(!damage.to_string().is_empty(), "a refusal has a message");
    if let Damage::Syntax { line, column } = damage {
        let lines = input.iter().filter(|byte| **byte == b'\n').count() + 1;
        assert!(*line <= lines, "a line past the end");
        assert!(*column <= input.len() + 1, "a column past the end");
    }
}

/// Seeds: files with one key and with several, of the next version and damaged, and lists.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let kek = |at: u8| {
        let id = KekId::parse(&format!("{at:032x}")).expect("an ID");
        let secret = Box::new(Secret([at; Secret::LEN]));
        Kek::from_parts(id, u64::MAX >> at, secret)
    };
    let mut keys = Keys::new(kek(0));
    let one = key_file::encode(&keys).to_vec();
    let list = Known::of(&keys).text();
    keys.push(kek(1));
    keys.push(kek(2));
    let several = key_file::encode(&keys).to_vec();
    let text = String::from_utf8(one.clone()).expect("JSON");
    vec![
        several,
        text.replace("\"version\":1", "\"version\":2").into_bytes(),
        text.replace("\"created\"", "\"extra\":[{}],\n \"created\"").into_bytes(),
        text.replace("00000000000000000000", "\\u00300").into_bytes(),
        one[..one.len() / 2].to_vec(),
        one,
        format!("{list}{list}").into_bytes(),
        b"sha256:short\n".to_vec(),
        Vec::new(),
    ]
}
