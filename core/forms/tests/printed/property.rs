//! Random values in random forms, wrapped and damaged at random: the same bytes come back, or a fault, and never plaintext.

use std::hash::{BuildHasher, Hasher, RandomState};

use dekker_forms::{Content, Item, Limits, read_all};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::RngSeed;

use super::pieces::in_pieces;
use super::printers::ambiguous;
use super::printers::wrappings::{ARMOURS, WRAPPINGS};
use super::printers::{PRINTERS, Pair, Printer};

/// Random bytes, among them many that mean something to a form.
fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let special = b"\n\r\0/:\"'\\*{|k8s ".to_vec();
    vec(prop_oneof![4 => any::<u8>(), 1 => select(special)], len)
}

fn encrypted() -> impl Strategy<Value = Vec<u8>> {
    let provider = select(vec!["aesgcm:v1", "aescbc:v1", "secretbox:v1", "kms:v1", "kms:v2"]);
    let name = "[a-z0-9]{1,12}|aescbckey-2026-03-09T09:46:54\\+01:00";
    // A payload begins and ends with bytes that are not text, so that it is never valid UTF-8.
    (provider, name, prop_oneof![20 => bytes(28..600), 1 => bytes(3000..9000)]).prop_map(
        |(provider, name, payload)| {
            let head = format!("k8s:enc:{provider}:{name}:").into_bytes();
            let mut value = [head, vec![0xff, 0xc0], payload].concat();
            ambiguous::avoid(&mut value);
            value
        },
    )
}

fn key() -> impl Strategy<Value = String> {
    "/registry/[a-z]{3,12}(/[a-z0-9.-]{1,30}){1,3}"
}

fn pair() -> impl Strategy<Value = Pair> {
    (key(), encrypted(), 1..1_000_000_u64).prop_map(|(key, value, revision)| Pair {
        key,
        value,
        revision,
    })
}

fn printer() -> impl Strategy<Value = &'static Printer> {
    (0..PRINTERS.len()).prop_map(|index| &PRINTERS[index])
}

fn same(item: &Item, pair: &Pair) -> bool {
    item.as_ref().is_ok_and(|entry| entry.readings().any(|bytes| bytes == pair.value))
}

/// `PROPTEST_CASES` cases, 500 by default. The seed is random and printed; `DEKKER_SEED` sets it.
fn config() -> ProptestConfig {
    let number = |name: &str| {
        let text = std::env::var(name).ok()?;
        Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
    };
    let seed = number("DEKKER_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish());
    let cases = number("PROPTEST_CASES").unwrap_or(500);
    println!("{cases} cases, DEKKER_SEED={seed}");
    ProptestConfig {
        cases: cases.try_into().expect("PROPTEST_CASES fits in 32 bits"),
        rng_seed: RngSeed::Fixed(seed),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn values_come_back(
        pairs in vec(pair(), 1..5),
        printer in printer(),
        armour in select(ARMOURS),
        wrapping in select(WRAPPINGS),
        lens in vec(1..3000_usize, 1..4),
    ) {
        let pairs = if printer.many { &pairs[..] } else { &pairs[..1] };
        let printed = armour.1(&(printer.print)(pairs));
        let (wrapping, input) = match std::str::from_utf8(&printed) {
            Ok(text) if printer.text || armour.0 != "nothing" => (wrapping.0, wrapping.1(text)),
            _ => ("none", printed),
        };
        let items = read_all(&input, Limits::default());
        let right = items.len() == pairs.len()
            && items.iter().zip(pairs).all(|(item, pair)| same(item, pair));
        prop_assert!(right, "{} in {}, {wrapping}: {items:?}\n{:?}", printer.name, armour.0, String::from_utf8_lossy(&input));
        for (item, pair) in items.iter().zip(pairs) {
            let entry = item.as_ref().unwrap();
            prop_assert_eq!(entry.content, Content::Encrypted, "{}", printer.name);
            let key = printer.keeps.key.then_some(pair.key.as_bytes());
            prop_assert_eq!(entry.key.as_deref(), key, "{}", printer.name);
        }
        prop_assert_eq!(in_pieces(&input, &lens), items, "{}", printer.name);
    }

    #[test]
    fn damaged_values_are_never_plaintext(
        pairs in vec(pair(), 1..4),
        printer in printer(),
        armour in select(ARMOURS),
        damage in 0..9,
        at in any::<Index>(),
        byte in any::<u8>(),
    ) {
        let pairs = if printer.many { &pairs[..] } else { &pairs[..1] };
        let mut input = armour.1(&(printer.print)(pairs));
        let at = at.index(input.len());
        match damage {
            0 => input.truncate(at),
            1 => drop(input.drain(..at)),
            2 => input[at] = byte,
            3 => drop(input.remove(at)),
            4 => input.insert(at, byte),
            5 => input = String::from_utf8_lossy(&input).into_owned().into_bytes(),
            6 => input = input.iter().map(|byte| char::from(*byte)).collect::<String>().into_bytes(),
            7 => input.make_ascii_uppercase(),
            _ => {
                let tail = input.split_off(at);
                input.extend(tail.iter().rev());
            }
        }
        let items = read_all(&input, Limits::default());
        for entry in items.iter().flatten() {
            prop_assert_eq!(entry.content, Content::Encrypted, "{}: {:?}", printer.name, entry);
        }
        prop_assert!(!items.is_empty());
        prop_assert_eq!(in_pieces(&input, &[at + 1, 1, 100]), items);
    }

    #[test]
    fn random_bytes_never_panic(
        parts in vec(
            prop_oneof![
                bytes(0..40),
                "[ -~\n]{0,40}".prop_map(String::into_bytes),
                (printer(), pair(), any::<Index>(), any::<Index>()).prop_map(|(printer, pair, from, to)| {
                    let text = (printer.print)(&[pair]);
                    let (from, to) = (from.index(text.len()), to.index(text.len()));
                    text[from.min(to)..from.max(to)].to_vec()
                }),
                select(vec![
                    &b"k8s:enc:"[..], b"k8s\0\n", b"{\"", b"[{\"key\":\"", b"\"value\":\"", b"\"Key\" : \"",
                    b"00000000  ", b"0000000 ", b"*\n", b"\\x", b"X'", b"/registry/", b"PUT\n", b"DELETE\n",
                    b"\xff\xfe", b"\xef\xbb\xbf", b"\n\x02\x18\x01\x12", b"\xed\xda\x0c\xed", b" | ", b"===", b"\\ud800",
                ]).prop_map(<[u8]>::to_vec),
            ],
            0..8,
        ),
        lens in vec(1..50_usize, 1..4),
    ) {
        let input = parts.concat();
        let items = read_all(&input, Limits::default());
        prop_assert!(!items.is_empty());
        prop_assert_eq!(in_pieces(&input, &lens), items);
    }
}
