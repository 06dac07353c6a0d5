//! Replaces the `:authority` of a request if it is not a host name.
//!
//! A client on a unix socket has no host to name. kube-apiserver up to 1.31 sends the socket's path (`/run/kms.sock`), and gRPC's C-core (Python,
//! C++, Ruby) sends the percent-encoded path (`run%2Fkms.sock`). grpc-go accepts both. h2 answers PROTOCOL_ERROR (hyperium/h2#487), so it must
//! receive another authority: each byte that is not allowed in a host name becomes `-`.
//!
//! The replacement has the same number of bytes. So the entry that it leaves in HPACK's dynamic table has the same size as the client's, and the
//! client's table and h2's stay in step. This module therefore needs no state, nothing else in a block changes, and a block that needs no change is
//! passed on byte for byte. RFC 7541 §4.1 (the size of an entry), §6 (the representations).

mod huffman;

#[cfg(test)]
pub(super) use huffman::tests::encode;

use axum::http::uri;

/// The header's name, and its index in HPACK's static table.
const NAME: &[u8] = b":authority";
const STATIC_INDEX: usize = 1;

/// The result of checking a header block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// No change: h2 accepts the authority, there is none, or the block cannot be parsed here, in which case h2 reports the error.
    AsItIs,
    /// The block to use instead.
    Changed(Vec<u8>),
    /// h2 will refuse the authority: it is empty, and there is no replacement of the same size.
    Hopeless,
}

/// Checks a whole header block (RFC 7541 §6).
pub(super) fn fit(block: &[u8]) -> Block {
    read(block).unwrap_or(Block::AsItIs)
}

/// Returns `None` if the block is malformed.
fn read(block: &[u8]) -> Option<Block> {
    let mut fields = Reader { block, at: 0 };
    let mut changed = Vec::new();
    let mut copied = 0;
    while let Some(first) = block.get(fields.at) {
        // An indexed field or an update of the table's size: no string follows. An indexed entry was checked when it was sent as a literal.
        if first & 0x80 != 0 {
            fields.integer(7)?;
            continue;
        }
        if first & 0xe0 == 0x20 {
            fields.integer(5)?;
            continue;
        }
        let indexing = first & 0x40 != 0;
        let is_authority = match fields.integer(if indexing { 6 } else { 4 })? {
            0 => fields.string()?.is(NAME),
            index => index == STATIC_INDEX,
        };
        let start = fields.at;
        let value = fields.string()?;
        if !is_authority {
            continue;
        }
        let value = value.decode()?;
        if uri::Authority::try_from(&*value).is_ok() {
            continue;
        }
        let fitting = match (&*value, indexing) {
            ([], false) => b"localhost".to_vec(),
            ([], true) => return Some(Block::Hopeless),
            (value, _) => value.iter().map(|byte| host_byte(*byte)).collect(),
        };
        changed.extend_from_slice(block.get(copied..start)?);
        push_string(&mut changed, &fitting);
        copied = fields.at;
    }
    if copied == 0 {
        return Some(Block::AsItIs);
    }
    changed.extend_from_slice(block.get(copied..)?);
    Some(Block::Changed(changed))
}

/// Replaces any byte but RFC 3986's unreserved characters. Every sequence of these is a host name.
fn host_byte(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' => byte,
        _ => b'-',
    }
}

/// Appends a string without Huffman coding (RFC 7541 §5.1 and §5.2).
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    let Some(mut rest) = text.len().checked_sub(0x7f) else {
        out.push(text.len() as u8);
        out.extend_from_slice(text);
        return;
    };
    out.push(0x7f);
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend_from_slice(text);
}

/// A position in a block.
struct Reader<'a> {
    block: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.block.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    /// Reads an integer (RFC 7541 §5.1) of up to 28 bits beyond the prefix, which is more than any length or index here.
    fn integer(&mut self, prefix: u8) -> Option<usize> {
        let most = (1usize << prefix) - 1;
        let mut value = usize::from(self.byte()?) & most;
        if value < most {
            return Some(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = self.byte()?;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// Reads a string (RFC 7541 §5.2).
    fn string(&mut self) -> Option<Text<'a>> {
        let coded = self.block.get(self.at)? & 0x80 != 0;
        let len = self.integer(7)?;
        let end = self.at.checked_add(len)?;
        let octets = self.block.get(self.at..end)?;
        self.at = end;
        Some(Text { octets, coded })
    }
}

/// A string as it is encoded in a block.
struct Text<'a> {
    octets: &'a [u8],
    /// Whether it is Huffman-coded.
    coded: bool,
}

impl Text<'_> {
    fn decode(&self) -> Option<Vec<u8>> {
        if self.coded { huffman::decode(self.octets) } else { Some(self.octets.to_vec()) }
    }

    fn is(&self, text: &[u8]) -> bool {
        // A code has five to thirty bits, so a long string cannot match and need not be decoded.
        if self.octets.len() > 4 * text.len() {
            return false;
        }
        self.decode().is_some_and(|decoded| decoded == text)
    }
}

#[cfg(test)]
mod tests;
