use super::*;

fn kek() -> Kek {
    Kek::generate(0).unwrap()
}

#[test]
fn opens_what_it_sealed() {
    let kek = kek();
    for len in [0, 1, 32, MAX_PLAINTEXT] {
        let plaintext = vec![7; len];
        let sealed = kek.seal(&plaintext).unwrap();
        assert_eq!(sealed.len(), 1 + 12 + len + 16);
        assert!(sealed.len() <= 1024);
        assert_eq!(sealed[0], 1);
        assert_eq!(*kek.open(&sealed).unwrap(), plaintext);
    }
}

#[test]
fn refuses_a_plaintext_whose_ciphertext_would_be_too_long() {
    let len = MAX_PLAINTEXT + 1;
    assert_eq!(kek().seal(&vec![0; len]), Err(SealError::TooLong { len }));
}

#[test]
fn nonces_differ() {
    let kek = kek();
    let (a, b) = (kek.seal(b"x").unwrap(), kek.seal(b"x").unwrap());
    assert_ne!(a[1..13], b[1..13]);
}

#[test]
fn every_altered_bit_is_detected() {
    let kek = kek();
    let sealed = kek.seal(b"a seed of some length").unwrap();
    for bit in 0..sealed.len() * 8 {
        let mut altered = sealed.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        let want = if bit < 8 { OpenError::Layout } else { OpenError::Authentication };
        assert_eq!(kek.open(&altered).unwrap_err(), want, "bit {bit}");
    }
    for len in 0..sealed.len() {
        assert!(kek.open(&sealed[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_ciphertext_opens_only_with_its_key_and_key_id() {
    let (ours, theirs) = (kek(), kek());
    let sealed = ours.seal(b"x").unwrap();
    assert_eq!(theirs.open(&sealed), Err(OpenError::Authentication));
    let renamed = Kek::from_parts(KekId::generate().unwrap(), 0, ours.secret);
    assert_eq!(renamed.open(&sealed), Err(OpenError::Authentication));
}

#[test]
fn ciphertexts_of_other_lengths_are_refused() {
    for len in [0, 1, 28, 1025] {
        assert_eq!(kek().open(&vec![1; len]), Err(OpenError::Layout), "{len}");
    }
}

#[test]
fn debug_shows_neither_key_nor_id() {
    let kek = kek();
    let shown = format!("{kek:?}");
    assert!(!shown.contains(kek.id().as_str()), "{shown}");
    assert!(shown.contains("Secret(..)"), "{shown}");
    assert!(shown.contains(&kek.id().hash()), "{shown}");
}

#[test]
fn ids_are_32_lowercase_hexadecimal_digits() {
    let id = KekId::generate().unwrap();
    assert_eq!(KekId::parse(id.as_str()), Some(id));
    for text in ["", "0", &"0".repeat(33), &"A".repeat(32), &"é".repeat(16)] {
        assert_eq!(KekId::parse(text), None, "{text}");
    }
}
