//! An input that arrives in pieces.

use dekker_forms::{Item, Limits, Reader};

/// Reads the input in pieces of these lengths, again and again.
pub(crate) fn in_pieces(input: &[u8], lens: &[usize]) -> Vec<Item> {
    let mut reader = Reader::new(Limits::default());
    let mut items = Vec::new();
    let mut rest = input;
    let mut lens = lens.iter().cycle();
    while !rest.is_empty() {
        let len = lens.next().copied().unwrap_or(1).clamp(1, rest.len());
        let (mut piece, after) = rest.split_at(len);
        while let Some(item) = reader.push(&mut piece) {
            items.push(item);
        }
        rest = after;
    }
    while let Some(item) = reader.finish() {
        items.push(item);
    }
    items
}
