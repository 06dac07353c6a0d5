use std::vec;

use super::*;

fn opened(key: &GcmKey, aad: &[u8], sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
    let mut out = Zeroizing::new(b"left over".to_vec());
    let outcome = key.open(aad, sealed, &mut out);
    assert!(outcome.is_ok() || out.is_empty(), "a failed open leaves no bytes");
    outcome.map(|()| out.to_vec())
}

fn keys() -> [(&'static str, GcmKey, usize); 4] {
    let key = |len| GcmKey::aes(&vec![1; len]).unwrap();
    [
        ("AES-128", key(16), NONCE_LEN),
        ("AES-192", key(24), NONCE_LEN),
        ("AES-256", key(32), NONCE_LEN),
        ("seed", GcmKey::seed(&[1; 40]).unwrap(), INFO_LEN + NONCE_LEN),
    ]
}

#[test]
fn sealed_values_open_and_altered_ones_do_not() {
    for (desc, key, header_len) in keys() {
        let header = vec![3; header_len];
        let mut value = [b"prefix:".as_slice(), &header].concat();
        key.seal(&header, b"aad", b"plaintext", &mut value).unwrap();
        let sealed = value.strip_prefix(b"prefix:").unwrap();
        assert_eq!(sealed.len(), header_len + 9 + TAG_LEN, "{desc}");
        assert_eq!(opened(&key, b"aad", sealed).unwrap(), b"plaintext", "{desc}");
        assert_eq!(opened(&key, b"AAD", sealed), Err(OpenError::Failed), "{desc}");
        for at in 0..sealed.len() {
            let mut altered = sealed.to_vec();
            altered[at] ^= 1;
            assert_eq!(opened(&key, b"aad", &altered), Err(OpenError::Failed), "{desc}");
            let expected = if at < header_len { OpenError::TooShort } else { OpenError::Failed };
            assert_eq!(opened(&key, b"aad", &sealed[..at]), Err(expected), "{desc}");
        }
    }
}

#[test]
fn a_header_of_the_wrong_length_is_refused_and_writes_nothing() {
    for (desc, key, header_len) in keys() {
        for len in [0, header_len - 1, header_len + 1] {
            let mut out = b"before".to_vec();
            assert_eq!(key.seal(&vec![0; len], b"", b"text", &mut out), Err(SealError), "{desc}");
            assert_eq!(out, b"before", "{desc}");
        }
    }
}

#[test]
fn keys_have_the_lengths_that_upstream_accepts() {
    for len in 0..70 {
        assert_eq!(GcmKey::aes(&vec![0; len]).is_some(), [16, 24, 32].contains(&len));
        assert_eq!(GcmKey::seed(&vec![0; len]).is_some(), len >= 32);
    }
}
