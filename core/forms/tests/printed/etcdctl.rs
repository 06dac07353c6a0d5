//! What a real etcdctl 3.4.23, etcd's gateway and jq print (cases/etcdctl.sh wrote the files) is read back.

use dekker_forms::{Entry, FaultKind, HEAD, Item, Limits, read_all};

use super::pieces::in_pieces;

fn file(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/cases/etcdctl/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn read(name: &str) -> Vec<Item> {
    read_all(&file(name), Limits::default())
}

fn entries(name: &str) -> Vec<Entry> {
    let items = read(name);
    items.into_iter().map(|item| item.unwrap_or_else(|fault| panic!("{name}: {fault}"))).collect()
}

/// A pair: its name below `/registry/secrets/default/`, the file of its value, and its revision.
type Pair = (&'static str, &'static str, u64);

const PAIRS: [Pair; 4] =
    [("1", "1.value", 2), ("2", "2.value", 3), ("3", "3.value", 4), ("4", "4.value", 5)];
/// The key is put, and deleted afterwards.
const GONE: Pair = ("gone", "1.value", 6);

#[test]
fn every_output_of_etcdctl_is_read_back() {
    let watched: Vec<Pair> = PAIRS.into_iter().chain([GONE]).collect();
    let with_previous: Vec<Pair> = PAIRS.into_iter().chain([GONE, GONE]).collect();
    // Name, pairs, whether the form keeps the key, whether it keeps the revision.
    for (name, pairs, key, revision) in [
        ("get-simple.txt", &PAIRS[..], true, false),
        ("get-json.txt", &PAIRS, true, true),
        ("get-fields.txt", &PAIRS, true, true),
        ("get-protobuf.txt", &PAIRS, true, true),
        ("get-hex.txt", &PAIRS, true, false),
        ("values.txt", &PAIRS, false, false),
        ("values-hex.txt", &PAIRS, false, false),
        ("gateway.txt", &PAIRS, true, true),
        ("jq.txt", &PAIRS, true, true),
        ("jq-kvs.txt", &PAIRS, true, true),
        ("jq-each.txt", &PAIRS, true, true),
        ("jq-sorted.txt", &PAIRS, true, true),
        ("jq-values.txt", &PAIRS, false, false),
        ("jq-raw.txt", &PAIRS, false, false),
        ("jq-array.txt", &PAIRS, false, false),
        ("one-simple.txt", &PAIRS[..1], true, false),
        ("one-json.txt", &PAIRS[..1], true, true),
        ("one-fields.txt", &PAIRS[..1], true, true),
        ("one-protobuf.txt", &PAIRS[..1], true, true),
        ("txn-simple.txt", &PAIRS[..2], true, false),
        ("txn-json.txt", &PAIRS[..2], true, true),
        ("txn-fields.txt", &PAIRS[..2], true, true),
        ("txn-protobuf.txt", &PAIRS[..2], true, true),
        ("watch-simple.txt", &watched, true, false),
        ("watch-json.txt", &watched, true, true),
        ("watch-fields.txt", &watched, true, true),
        ("watch-protobuf.txt", &watched, true, true),
        ("watch-hex.txt", &watched, true, false),
        ("gateway-watch.txt", &watched, true, true),
        ("watch-prev-simple.txt", &with_previous, true, false),
        ("watch-prev-json.txt", &with_previous, true, true),
        ("watch-prev-fields.txt", &with_previous, true, true),
        ("watch-prev-protobuf.txt", &with_previous, true, true),
    ] {
        let entries = entries(name);
        assert_eq!(entries.len(), pairs.len(), "{name}: {entries:#?}");
        for (entry, (pair, value, at)) in entries.iter().zip(pairs) {
            let full = format!("/registry/secrets/default/{pair}");
            assert_eq!(entry.key.as_deref(), key.then_some(full.as_bytes()), "{name}");
            assert_eq!(entry.revision, revision.then_some(*at), "{name}");
            let value = file(value);
            assert!(entry.readings().any(|bytes| bytes == value), "{name}: {pair}: {entry:?}");
        }
    }
}

#[test]
fn pieces_do_not_matter() {
    let folder = format!("{}/tests/cases/etcdctl", env!("CARGO_MANIFEST_DIR"));
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let input = file(&name);
        for len in [1, 5, 100] {
            assert_eq!(in_pieces(&input, &[len]), read(&name), "{name} in pieces of {len}");
        }
    }
}

/// Beyond the head, by which the form is chosen, the machines read what arrives.
#[test]
fn pieces_do_not_matter_where_the_end_of_a_value_is_uncertain() {
    for text in [
        // The value in protobuf begins at the end of a piece.
        &b"/registry/a/7\nk8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x03\n\x01a\x1a\0\"\0\n/r/8\nPUT\n"
            [..],
        // A piece ends within the line end of what may be the next key.
        b"/registry/a/\n/registry/\r\n/",
    ] {
        let input = text.repeat(2 * HEAD / text.len() + 1);
        let whole = read_all(&input, Limits::default());
        for len in [1, 2, 3, 7, 40] {
            let items = in_pieces(&input, &[len]);
            assert_eq!(items, whole, "{} in pieces of {len}", text.escape_ascii());
        }
    }
}

#[test]
fn answers_without_values_are_faults() {
    for (name, kind, count) in [
        ("keys-simple.txt", FaultKind::NoValue, 4),
        ("keys-json.txt", FaultKind::NoValue, 4),
        ("keys-fields.txt", FaultKind::NoValue, 4),
        ("keys-protobuf.txt", FaultKind::NoValue, 4),
        ("none-simple.txt", FaultKind::Empty, 1),
        ("none-json.txt", FaultKind::NoValues, 1),
        ("none-fields.txt", FaultKind::NoValues, 1),
        ("none-protobuf.txt", FaultKind::NoValues, 1),
    ] {
        let items = read(name);
        let is_right = |item: &Item| item.as_ref().is_err_and(|fault| fault.kind == kind);
        assert!(items.len() == count && items.iter().all(is_right), "{name}: {items:?}");
    }
}
