//! `etcdctl -w protobuf`.

use super::Pair;

pub(crate) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

pub(crate) fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(number << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}

pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

pub(crate) fn kv_protobuf(pair: &Pair) -> Vec<u8> {
    [
        field(1, pair.key.as_bytes()),
        number(2, 1),
        number(3, pair.revision),
        number(4, 1),
        field(5, &pair.value),
    ]
    .concat()
}

pub(crate) fn header_protobuf() -> Vec<u8> {
    let header = [
        number(1, 14841639068965178418),
        number(2, 10276657743932975437),
        number(3, 1234),
        number(4, 2),
    ];
    field(1, &header.concat())
}

pub(crate) fn range_protobuf(pairs: &[Pair]) -> Vec<u8> {
    let kvs: Vec<u8> = pairs.iter().flat_map(|pair| field(2, &kv_protobuf(pair))).collect();
    [header_protobuf(), kvs, number(4, pairs.len() as u64)].concat()
}

pub(crate) fn watch_protobuf(pairs: &[Pair]) -> Vec<u8> {
    let deleted =
        [number(1, 1), field(2, &[field(1, b"/registry/secrets/a/gone"), number(3, 7)].concat())]
            .concat();
    let one = |pair: &Pair| {
        let event = field(2, &kv_protobuf(pair));
        [header_protobuf(), field(11, &event), field(11, &deleted)].concat()
    };
    pairs.iter().flat_map(one).collect()
}

pub(crate) fn txn_protobuf(pairs: &[Pair]) -> Vec<u8> {
    [header_protobuf(), number(2, 1), field(3, &field(1, &range_protobuf(pairs)))].concat()
}
