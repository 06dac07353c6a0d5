//! The response files of NIST's Cryptographic Algorithm Validation Program: GCM decryption, and known answers and multi-block messages for CBC.

use std::collections::BTreeMap;

use dekker_tests::recorded::hex;

use crate::sets::text;
use crate::vector::{Cipher, Ending, Set, Vector};

const GCM: [&str; 3] = ["gcmDecrypt128", "gcmDecrypt192", "gcmDecrypt256"];

const CBC: [&str; 5] = ["CBCGFSbox", "CBCKeySbox", "CBCVarKey", "CBCVarTxt", "CBCMMT"];

pub(crate) fn gcm() -> Set {
    let texts = GCM.map(|name| text(&format!("{name}.rsp")));
    let entries = texts.iter().flat_map(|text| entries(text));
    let vectors = entries.zip(1..).map(|(entry, id)| {
        // An entry without a plaintext ends with FAIL.
        let valid = entry.contains_key("PT");
        assert_ne!(valid, entry.contains_key("FAIL"));
        Vector {
            id,
            key: hex(entry["Key"]),
            iv: hex(entry["IV"]),
            aad: hex(entry["AAD"]),
            sealed: [hex(entry["CT"]), hex(entry["Tag"])].concat(),
            plaintext: entry.get("PT").map(|text| hex(text)).unwrap_or_default(),
            valid,
        }
    });
    Set::new("NIST CAVP GCM", Cipher::AesGcm, vectors)
}

pub(crate) fn cbc() -> Set {
    let names = CBC.iter().flat_map(|name| [128, 192, 256].map(|bits| format!("{name}{bits}.rsp")));
    let texts: Vec<_> = names.map(|name| text(&name)).collect();
    let entries = texts.iter().flat_map(|text| entries(text));
    let vectors = entries.zip(1..).map(|(entry, id)| Vector {
        id,
        key: hex(entry["KEY"]),
        iv: hex(entry["IV"]),
        aad: b"/k".to_vec(),
        sealed: hex(entry["CIPHERTEXT"]),
        plaintext: hex(entry["PLAINTEXT"]),
        valid: true,
    });
    Set { ending: Ending::Unpadded, ..Set::new("NIST CAVP CBC", Cipher::AesCbc, vectors) }
}

/// Parses paragraphs of `name = value` lines. `FAIL` is a name without a value.
fn entries(text: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    let entries = text.split("\n\n").map(entry);
    entries.filter(|entry| !entry.is_empty())
}

fn entry(paragraph: &str) -> BTreeMap<&str, &str> {
    let lines = paragraph.lines();
    let fields = lines.filter(|line| !line.is_empty() && !line.starts_with(['#', '[']));
    let fields = fields.map(|line| line.split_once('=').unwrap_or((line, "")));
    fields.map(|(name, value)| (name.trim(), value.trim())).collect()
}
