//! What a write stores.

use std::collections::BTreeSet;

use dekker_core::ErrorKind;
use dekker_core::crypto::keys::DekSourceType;
use dekker_core::engine::Options;
use dekker_core::provider::kms::annotations::Annotations;

use crate::face::Maker;
use crate::object::{EncryptedObject, Stored, sha256_text};
use crate::plugin::{Calls, Plugin};
use crate::sim::{Harness, file};

pub(crate) fn seeds() -> Options {
    Options { dek_source: DekSourceType::HkdfSha256XnonceAesGcmSeed, ..Options::default() }
}

pub(super) fn ten_thousand_writes_cost_one_encrypt(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    for n in 0..10_000u32 {
        h.write(&format!("/registry/secrets/x/{n}"), &n.to_le_bytes());
    }
    // The Decrypt call checks the new DEK before its first use.
    let calls = Calls { status: 1, encrypt: 1, decrypt: 1 };
    assert_eq!(h.plugin("a").calls, calls);
}

pub(super) fn nonces_count_up_from_a_billion_and_one(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let mut random = BTreeSet::new();
    for n in 0..100 {
        let object = EncryptedObject::of("a", &h.write("/k", b"the same"));
        assert_eq!(object.counter(), 1_000_000_001 + n);
        random.insert(object.random_part().to_vec());
    }
    assert!(random.len() > 95, "4 bytes of each nonce are random");
}

pub(super) fn stored_value_is_a_prefix_and_an_encrypted_object(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.annotations =
        [("b.example.com".into(), vec![1, 2]), ("a.example.com".into(), vec![])].into();
    let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", plugin)]);
    let op = h.begin_write("secrets", "/registry/secrets/n/s", b"plaintext");
    let encrypted = h.written(op).expect("at once").expect("a value");
    assert_eq!(&*encrypted.transformer_prefix, "k8s:enc:kms:v2:a:");
    assert_eq!(encrypted.key_id_hash.as_deref(), Some(&*sha256_text("key-1")));
    let object = EncryptedObject::of("a", &encrypted.stored);
    assert_eq!(object.key_id, "key-1");
    let annotations: Annotations = object.annotations.clone().into_iter().collect();
    assert_eq!(annotations, h.plugin("a").annotations);
    assert_eq!(object.encrypted_dek_source_type, 0);
    assert_eq!(object.encrypted_data.len(), 12 + 9 + 16);
    let dek = h.plugin("a").seen[0].clone();
    assert_eq!(dek.len(), 32);
    let plaintext = object.open(&dek, b"/registry/secrets/n/s");
    assert_eq!(plaintext.as_deref(), Some(&b"plaintext"[..]));
    assert_eq!(object.open(&dek, b"/registry/secrets/n/t"), None, "the key is the AAD");
}

pub(super) fn seed_value_carries_info_and_nonce(maker: &dyn Maker) {
    let mut h = Harness::new(maker, &file::secrets(), &seeds(), [("a", Plugin::new("key-1"))]);
    let one = EncryptedObject::of("a", &h.write("/k", b"plaintext"));
    let two = EncryptedObject::of("a", &h.write("/k", b"plaintext"));
    assert_eq!(one.encrypted_dek_source_type, 1);
    assert_eq!(one.encrypted_data.len(), 32 + 12 + 9 + 16);
    assert_ne!(one.encrypted_data[..32], two.encrypted_data[..32], "a fresh info each");
    assert_ne!(one.encrypted_data[32..44], two.encrypted_data[32..44], "a fresh nonce each");
    let seed = h.plugin("a").seen[0].clone();
    assert_eq!(one.open(&seed, b"/k").as_deref(), Some(&b"plaintext"[..]));
    assert_eq!(h.plugin("a").calls.encrypt, 1);
}

pub(super) fn every_size_reads_back(maker: &dyn Maker) {
    for options in [Options::default(), seeds()] {
        let mut h = Harness::new(maker, &file::secrets(), &options, [("a", Plugin::new("key-1"))]);
        for size in
            [0, 1, 15, 16, 17, 31, 32, 33, 100, 127, 128, 1000, 16_383, 16_384, 65_537, 1 << 20]
        {
            let plaintext: Vec<u8> = (0..size).map(|at| (at * 7 + size) as u8).collect();
            let stored = h.write("/registry/secrets/n/s", &plaintext);
            let read = h.read("/registry/secrets/n/s", &stored);
            assert!(
                read.plaintext == plaintext && !read.stale,
                "{size} bytes, {:?}",
                options.dek_source
            );
        }
        assert_eq!(h.plugin("a").calls.encrypt, 1);
    }
}

pub(super) fn wrong_key_and_altered_bytes_are_one_error(maker: &dyn Maker) {
    for options in [Options::default(), seeds()] {
        let mut h = Harness::new(maker, &file::secrets(), &options, [("a", Plugin::new("key-1"))]);
        let stored = h.write("/registry/secrets/n/s", b"plaintext");
        let wrong_key = h.try_read("secrets", "/registry/secrets/n/t", &stored).unwrap_err();
        assert_eq!(wrong_key.kind, ErrorKind::DecryptFailed);
        let object = EncryptedObject::of("a", &stored);
        for at in 0..object.encrypted_data.len() {
            let mut altered = object.clone();
            altered.encrypted_data[at] ^= 1 << (at % 8);
            let error =
                h.try_read("secrets", "/registry/secrets/n/s", &altered.stored("a")).unwrap_err();
            assert_eq!(error, wrong_key, "byte {at}");
        }
        let mut cut = object.clone();
        cut.encrypted_data.pop();
        let error = h.try_read("secrets", "/registry/secrets/n/s", &cut.stored("a")).unwrap_err();
        assert_eq!(error, wrong_key, "a byte less");
        assert_eq!(h.read("/registry/secrets/n/s", &stored).plaintext, b"plaintext");
    }
}

pub(super) fn malformed_values_are_refused(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let good = EncryptedObject::of("a", &h.write("/k", b"plaintext"));
    let with = |change: fn(&mut EncryptedObject)| {
        let mut object = good.clone();
        change(&mut object);
        object.stored("a")
    };
    let long = |len| "k".repeat(len);
    assert_eq!(long(2), "kk");
    let table = [
        ("nothing after the prefix", b"k8s:enc:kms:v2:a:".to_vec(), "encrypted data is empty"),
        ("no data", with(|o| o.encrypted_data.clear()), "encrypted data is empty"),
        ("no key ID", with(|o| o.key_id.clear()), "failed to validate key id: keyID is empty"),
        (
            "a key ID over 1 KiB",
            with(|o| o.key_id = "k".repeat(1025)),
            "failed to validate key id: keyID is 1025 bytes, which exceeds the max size of 1024",
        ),
        (
            "no DEK source",
            with(|o| o.encrypted_dek_source.clear()),
            "failed to validate encrypted DEK source: encrypted DEK source is empty",
        ),
        (
            "a DEK source over 1 KiB",
            with(|o| o.encrypted_dek_source = vec![0; 1025]),
            "failed to validate encrypted DEK source: encrypted DEK source is 1025 bytes, which exceeds the max size of 1024",
        ),
        (
            "annotations over 32 KiB",
            with(|o| drop(o.annotations.insert("a.b".into(), vec![0; 32_766]))),
            "failed to validate annotations: total size of annotations is 32769, which exceeds the max size of 32768",
        ),
        (
            "an unknown type",
            with(|o| o.encrypted_dek_source_type = 2),
            "unknown encryptedDEKSourceType: 2",
        ),
        (
            "a negative type",
            with(|o| o.encrypted_dek_source_type = -1),
            "unknown encryptedDEKSourceType: -1",
        ),
        (
            "data shorter than a nonce",
            with(|o| o.encrypted_data.truncate(11)),
            "the stored data was shorter than the required size",
        ),
    ];
    for (desc, stored, message) in table {
        let error = h.try_read("secrets", "/k", &stored).unwrap_err();
        assert_eq!((error.kind, &*error.message), (ErrorKind::Malformed, message), "{desc}");
    }
    let odd = with(|o| drop(o.annotations.insert("no-dot".into(), vec![])));
    let error = h.try_read("secrets", "/k", &odd).unwrap_err();
    assert!(error.message.starts_with("failed to validate annotations: "), "{error}");
    assert_eq!(h.plugin("a").calls.decrypt, 1, "no call reached the plugin");
}

pub(super) fn faces_make_the_same_bytes(maker: &dyn Maker) {
    if !maker.is_repeatable() {
        return;
    }
    for options in [Options::default(), seeds()] {
        let plugins = || [("a", Plugin::new("key-1"))];
        let mut native = Harness::new(
            &crate::face::NativeMaker::RUST_CRYPTO,
            &file::secrets(),
            &options,
            plugins(),
        );
        let mut h = Harness::new(maker, &file::secrets(), &options, plugins());
        for n in 0..20u8 {
            let plaintext = vec![n; usize::from(n) * 10];
            assert_eq!(h.write("/k", &plaintext), native.write("/k", &plaintext));
        }
        assert_eq!(h.status(), native.status());
        assert_eq!(h.face.metrics(), native.face.metrics());
    }
}
