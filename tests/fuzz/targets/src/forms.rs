//! Forms of stored values: pieces do not matter, no plaintext contains an encrypted value, and a value that was printed is read back or is a fault.

#[allow(dead_code, reason = "the tests of dekker-forms use the rest")]
#[path = "../../../../core/forms/tests/printed/printers.rs"]
mod printers;

use dekker_forms::{Content, Entry, FaultKind, HEAD, Item, Limits, Reader, read_all};
use serde_json::Value;

use self::printers::wrappings::{ARMOURS, WRAPPINGS};
use self::printers::{PRINTERS, Pair, ambiguous};
use crate::bytes::Bytes;

/// 1 MiB. A dump of one line may claim to repeat it until the limit.
const VALUE_MAX: usize = 1 << 20;

/// Treats any bytes as an input, and as a recipe for one.
///
/// # Panics
/// Panics if a promise is broken.
pub fn run(input: &[u8]) {
    any(input);
    // The form is chosen by the first bytes, which are read at once. Only a longer input is read in pieces.
    if !input.is_empty() && input.len() < HEAD {
        any(&input.repeat(2 * HEAD / input.len() + 1));
    }
    printed(Bytes::new(input));
}

fn limits() -> Limits {
    Limits::default().with_value(VALUE_MAX)
}

/// Reads any bytes.
fn any(input: &[u8]) -> Vec<Item> {
    let items = read_all(input, limits());
    assert!(!items.is_empty(), "neither a value nor a fault");
    assert_eq!(in_pieces(input), items, "pieces matter");
    for item in &items {
        match item {
            Ok(entry) => {
                assert!(entry.bytes.len() <= VALUE_MAX, "longer than the limit");
                // In UTF-16, the offset counts bytes of UTF-8, of which a unit takes up to three.
                assert!(entry.place.offset <= input.len() as u64 * 2, "a place past the end");
                if entry.content != Content::Encrypted {
                    plaintext(entry);
                }
            }
            Err(fault) => {
                assert!(fault.place.offset <= input.len() as u64 * 2, "a place past the end");
                let helpless =
                    matches!(fault.kind, FaultKind::Configuration | FaultKind::EncryptedInside);
                assert_eq!(fault.command().is_none(), helpless, "{fault}");
            }
        }
    }
    items
}

/// Reads the input in pieces whose lengths depend on it.
fn in_pieces(input: &[u8]) -> Vec<Item> {
    let mut state = input.iter().fold(0x9e37_79b9_7f4a_7c15_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Short pieces, or long ones.
    let most = [3, 40, 700, 9000][(state >> 60) as usize % 4];
    let mut reader = Reader::new(limits());
    let mut items = Vec::new();
    let mut rest = input;
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let len = (state >> 33) as usize % most + 1;
        let (mut piece, after) = rest.split_at(len.min(rest.len()));
        while let Some(item) = reader.push(&mut piece) {
            items.push(item);
        }
        assert!(piece.is_empty(), "bytes were left over");
        rest = after;
    }
    items.extend(std::iter::from_fn(|| reader.finish()));
    items
}

/// Checks that a value which is reported as plaintext is.
fn plaintext(entry: &Entry) {
    assert!(!holds_encrypted(&entry.bytes), "an encrypted value is called {:?}", entry.content);
    if entry.content == Content::Json
        && let Ok(object) = serde_json::from_slice::<Value>(&entry.bytes)
    {
        let mut values = vec![&object];
        while let Some(value) = values.pop() {
            match value {
                Value::String(text) => {
                    assert!(!holds_encrypted(text.as_bytes()), "an encrypted value in JSON");
                }
                Value::Array(items) => values.extend(items),
                Value::Object(members) => {
                    for (name, value) in members {
                        assert!(!holds_encrypted(name.as_bytes()), "an encrypted value in JSON");
                        values.push(value);
                    }
                }
                Value::Null | Value::Bool(_) | Value::Number(_) => {}
            }
        }
    }
}

/// Whether the bytes contain `k8s:enc:` in one of the encodings that the gate promises to find. Written without the gate's code.
fn holds_encrypted(bytes: &[u8]) -> bool {
    let contains = |text: &[u8], part: &[u8]| text.windows(part.len()).any(|at| at == part);
    // Wrapped text, and UTF-16.
    let mut dense = bytes.to_vec();
    dense.retain(|byte| !matches!(byte, 0 | b'\n' | b'\r' | b'\t' | b' '));
    // What the prefix is in base64, after as many other bytes as the alignment says: characters that depend on other bytes too are left out.
    let base64 = ["azhzOmVu", "s4czplbm", "rOHM6ZW5"];
    if base64.iter().any(|part| contains(&dense, part.as_bytes()))
        || contains(&dense.to_ascii_lowercase(), b"k8s:enc:")
    {
        return true;
    }
    // Hex, with the separators that tools print: bytes, and words of two and four bytes in little-endian order.
    let mut digits = Vec::new();
    let mut rest = bytes;
    while let Some((byte, after)) = rest.split_first() {
        rest = match (byte, after) {
            (b'0', [b'x' | b'X', after @ ..]) => after,
            (byte, after) => {
                if !b"\0\n\r\t ,:;-_\\xX%\"'|".contains(byte) {
                    digits.push(byte.to_ascii_lowercase());
                }
                after
            }
        };
    }
    ["6b38733a656e633a", "386b3a736e653a63", "3a73386b3a636e65"]
        .iter()
        .any(|part| contains(&digits, part.as_bytes()))
}

/// Prints values in a form, wrapped as the bytes choose: each is read back, or there is a fault.
fn printed(mut bytes: Bytes<'_>) {
    let printer = bytes.pick(PRINTERS);
    let (armour, wrap) = bytes.pick(ARMOURS);
    let (wrapping, write) = bytes.pick(WRAPPINGS);
    let count = if printer.many { bytes.byte() % 3 + 1 } else { 1 };
    let pairs: Vec<Pair> = (0..count).map(|index| pair(index, &mut bytes)).collect();
    let printed = wrap(&(printer.print)(&pairs));
    let input = match std::str::from_utf8(&printed) {
        Ok(text) if printer.text || *armour != "nothing" => write(text),
        _ => printed,
    };
    let items = any(&input);
    let what = || format!("{} in {armour}, {wrapping}", printer.name);
    let mut expected = pairs.iter();
    for entry in items.iter().flatten() {
        let is_same = |pair: &&Pair| entry.readings().any(|bytes| bytes == pair.value);
        let found = expected.find(is_same);
        let pair = found.unwrap_or_else(|| panic!("{}: another value: {entry:?}", what()));
        assert_eq!(entry.content, Content::Encrypted, "{}", what());
        if let Some(key) = &entry.key {
            assert_eq!(key, pair.key.as_bytes(), "{}: another key", what());
        }
    }
    if items.iter().all(Result::is_ok) {
        assert_eq!(items.len(), pairs.len(), "{}: values are missing", what());
    }
}

/// Takes an encrypted value from the bytes.
fn pair(index: u8, bytes: &mut Bytes<'_>) -> Pair {
    let provider = bytes.pick(&["aesgcm:v1", "aescbc:v1", "secretbox:v1", "kms:v1", "kms:v2"]);
    let name = bytes.pick(&["key1", "aescbckey-2026-03-09T09:46:54+01:00"]);
    // The payload begins with bytes that are not text, so that the value never looks like a text that a tool printed.
    let mut value =
        [b"k8s:enc:", provider.as_bytes(), b":", name.as_bytes(), b":\xff\xc0"].concat();
    value.extend(vec![0xa7; 28]);
    let mut before = 0;
    for byte in bytes.run() {
        // In the plain output of etcdctl, a line of a value may look like the next key or value, or like a prompt.
        let is_ambiguous = before == b'\n' && matches!(byte, b' '..=b'~');
        before = if is_ambiguous { 0x80 } else { *byte };
        value.push(before);
    }
    ambiguous::avoid(&mut value);
    Pair {
        key: format!("/registry/secrets/default/{index}"),
        value,
        revision: 5 + u64::from(index),
    }
}

/// Returns every form of a few values, every form around one, inputs that are not values, and a recipe for each form.
pub fn seeds() -> Vec<Vec<u8>> {
    let value = |head: &str, len: u8| {
        let payload = (0..len).map(|byte| byte.wrapping_mul(73).wrapping_add(200));
        head.bytes().chain(payload).collect()
    };
    let pairs: Vec<Pair> = [
        value("k8s:enc:aesgcm:v1:key1:", 40),
        value("k8s:enc:aescbc:v1:aescbckey-2026-03-09T09:46:54+01:00:", 48),
        b"k8s\0\n\x0c\n\x02v1\x12\x06Secret\x12\x03\n\x01a\x1a\0\"\0".to_vec(),
        b"{\"apiVersion\":\"example.com/v1\",\"kind\":\"CronTab\",\"spec\":\"\\u0061\"}\n".to_vec(),
    ]
    .into_iter()
    .zip(5..)
    .map(|(value, revision)| Pair { key: format!("/registry/a/{revision}"), value, revision })
    .collect();
    let some = |printer: &printers::Printer| {
        if printer.many { &pairs[..] } else { &pairs[..1] }
    };
    let mut seeds: Vec<Vec<u8>> =
        PRINTERS.iter().map(|printer| (printer.print)(some(printer))).collect();
    let get = seeds[1].clone();
    seeds.extend(ARMOURS.iter().skip(2).map(|(_, wrap)| wrap(&get)));
    let json = "{\"header\":{},\"kvs\":[{\"key\":\"L3JlZ2lzdHJ5L2EvYg==\",\"value\":\"azhzOmVuYzphZXNjYmM6djE6azo=\"}]}\n";
    seeds.extend(WRAPPINGS.iter().map(|(_, write)| write(json)));
    seeds.extend(
        [
            "apiVersion: v1\nkind: Secret\ndata:\n  a: azhzOmVuYzphZXNnY20=\n",
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{\"x\":\"\\u006b8s:enc:\"}}",
            "{\"level\":\"warn\"}\nError: context deadline exceeded\n",
            "{\"header\":{},\"kvs\":[{\"key\":\"L2Jvb3Q=\",\"value\":\"NmIzODczM2E2NTZlNjMzYQ==\"}]}",
            "00000000  6b 38 73 3a 65 6e 63 3a  61 65 73 67 63 6d 3a 76\n*\n00000100\n",
        ]
        .map(|text| text.into()),
    );
    // A recipe: printer, armour, wrapping, how many values; then provider, name and payload of each.
    seeds.extend((0..PRINTERS.len()).map(|index| {
        let index = index as u8;
        let mut recipe = vec![index, index, index.wrapping_mul(3), 1, index, index, 9];
        recipe.extend(b"\n\x80\r\n0:\"'|\0");
        recipe
    }));
    seeds
}
