//! What stands around a form: another form, another encoding of the text, other line ends.

use super::digits::{base64, hex, wrapped};
use super::dumps::{hexdump, hexdump_c, xxd};

/// A name, and a function that wraps a text.
pub(crate) type Wrapping = (&'static str, fn(&str) -> Vec<u8>);

/// A name, and a function that prints bytes as text.
pub(crate) type Armour = (&'static str, fn(&[u8]) -> Vec<u8>);

/// Ways to hold a text that lose nothing.
pub(crate) const WRAPPINGS: &[Wrapping] = &[
    ("none", |text| text.into()),
    ("CRLF", |text| text.replace('\n', "\r\n").into()),
    ("BOM", |text| format!("\u{feff}{text}").into()),
    ("UTF-16", |text| text.encode_utf16().flat_map(u16::to_le_bytes).collect()),
    ("UTF-16 with BOM", |text| {
        format!("\u{feff}{text}").encode_utf16().flat_map(u16::to_be_bytes).collect()
    }),
    ("empty lines", |text| format!("\n\n{text}\n\n").into()),
    ("prompt", |text| format!("# etcdctl get x\n{text}").into()),
    ("no line end", |text| text.trim_end().into()),
];

/// Forms around a form.
pub(crate) const ARMOURS: &[Armour] = &[
    ("nothing", <[u8]>::to_vec),
    ("nothing", <[u8]>::to_vec),
    ("base64", |bytes| wrapped(&base64(bytes), 76)),
    ("base64 -w0", |bytes| base64(bytes).into()),
    ("xxd -p", |bytes| wrapped(&hex(bytes), 60)),
    ("hexdump -C", |bytes| hexdump_c(bytes).into()),
    ("hexdump", |bytes| hexdump(bytes).into()),
    ("xxd", |bytes| xxd(bytes).into()),
];
