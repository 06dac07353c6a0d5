//! Vectors for secretbox: from libsodium's own tests, and boxes that Go's `nacl/secretbox` made for TweetNaCl.js.

use dekker_tests::interop::Base64;
use serde::Deserialize;

use crate::sets::text;
use crate::vector::{Cipher, Set, Vector};

#[derive(Deserialize)]
struct File {
    vectors: Vec<Row>,
}

/// Key, nonce, message (`None` if the box must be rejected) and box.
type Row = (Base64, Base64, Option<Base64>, Base64);

pub(crate) fn sets() -> [Set; 2] {
    [
        ("libsodium secretbox", "secretbox-libsodium.json"),
        ("TweetNaCl.js secretbox", "secretbox-tweetnacl.json"),
    ]
    .map(|(name, file)| set(name, &text(file)))
}

fn set(name: &'static str, text: &str) -> Set {
    let file: File = serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let rows = file.vectors.into_iter().zip(1..);
    let vectors = rows.map(|((key, nonce, message, sealed), id)| Vector {
        id,
        key: key.0,
        iv: nonce.0,
        aad: b"/k".to_vec(),
        sealed: sealed.0,
        valid: message.is_some(),
        plaintext: message.map(|message| message.0).unwrap_or_default(),
    });
    Set::new(name, Cipher::Secretbox, vectors)
}
