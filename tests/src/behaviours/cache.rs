//! The DEK cache: each DEK is decrypted once, kept, and evicted in the order of last use.

use std::num::NonZeroUsize;
use std::time::Duration;

use dekker_core::ErrorKind;
use dekker_core::engine::Options;
use dekker_core::engine::event::DecryptRequest;

use crate::face::Maker;
use crate::object::{EncryptedObject, Stored};
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

/// Writes one value in each of `count` other processes, whose DEKs all differ.
fn foreign_values(maker: &dyn Maker, count: u64) -> Vec<Vec<u8>> {
    let value = |seed| {
        let plugin = [("a", Plugin::new("key-1"))];
        let mut h = Harness::seeded(maker, &file::secrets(), &Options::default(), plugin, seed);
        h.write("/k", b"plaintext")
    };
    (100..100 + count).map(value).collect()
}

pub(super) fn concurrent_reads_of_one_dek_cost_one_decrypt(maker: &dyn Maker) {
    let values = foreign_values(maker, 2);
    let mut h = Harness::primed(maker);
    h.plugin("a").delay = Duration::from_millis(50);
    let before = h.plugin("a").calls.decrypt;
    let ops: Vec<_> = (0..100).map(|_| h.begin_read("secrets", "/k", &values[0])).collect();
    let other = h.begin_read("secrets", "/k", &values[1]);
    assert_eq!(h.was_read(ops[0]), None, "parked");
    assert_eq!(h.plugin("a").calls.decrypt, before + 2, "one for each DEK");
    h.advance(Duration::from_millis(50));
    for op in ops.into_iter().chain([other]) {
        assert_eq!(h.was_read(op).expect("woken").expect("a read").plaintext, b"plaintext");
    }
    h.read("/k", &values[0]);
    assert_eq!(h.plugin("a").calls.decrypt, before + 2);
}

pub(super) fn failed_decrypt_wakes_every_waiter(maker: &dyn Maker) {
    let value = foreign_values(maker, 1).remove(0);
    let mut h = Harness::primed(maker);
    h.plugin("a").delay = Duration::from_millis(50);
    h.plugin("a").on_decrypt(|_| Reply::Fail(13, "hardware on fire"));
    let ops: Vec<_> = (0..20).map(|_| h.begin_read("secrets", "/k", &value)).collect();
    h.advance(Duration::from_millis(50));
    for op in ops {
        let error = h.was_read(op).expect("woken").unwrap_err();
        assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(13)));
        assert_eq!(
            error.message,
            "failed to decrypt DEK, error: rpc error: code = Internal desc = hardware on fire"
        );
    }
    h.plugin("a").up();
    h.plugin("a").delay = Duration::ZERO;
    assert_eq!(h.read("/k", &value).plaintext, b"plaintext", "a failure is not kept");
}

pub(super) fn least_recently_used_dek_leaves_a_full_cache(maker: &dyn Maker) {
    let values = foreign_values(maker, 3);
    let options =
        Options { dek_cache_capacity: NonZeroUsize::new(2).expect("not 0"), ..Options::default() };
    let mut h = Harness::new(maker, &file::secrets(), &options, [("a", Plugin::new("key-1"))]);
    let base = h.plugin("a").calls.decrypt;
    let mut reads = |value: usize| {
        assert_eq!(h.read("/k", &values[value]).plaintext, b"plaintext");
        h.plugin("a").calls.decrypt - base
    };
    assert_eq!(reads(0), 1);
    assert_eq!(reads(1), 2);
    assert_eq!(reads(0), 2, "kept, and now used later than 1");
    assert_eq!(reads(2), 3, "1 leaves");
    assert_eq!(reads(0), 3, "still there");
    assert_eq!(reads(1), 4, "was gone");
    let own = h.write("/k", b"own");
    assert_eq!(h.read("/k", &own).plaintext, b"own");
    assert_eq!(h.plugin("a").calls.decrypt - base, 4, "the write DEK is never evicted");
}

pub(super) fn reads_continue_while_the_plugin_is_down(maker: &dyn Maker) {
    let values = foreign_values(maker, 2);
    let mut h = Harness::primed(maker);
    let own = h.write("/k", b"own");
    h.read("/k", &values[0]);
    h.plugin("a").down();
    h.advance_secs(24 * 60 * 60);
    assert_eq!(h.read("/k", &own).plaintext, b"own");
    assert_eq!(h.read("/k", &values[0]).plaintext, b"plaintext");
    assert_eq!(h.try_write("secrets", "/k", b"x").unwrap_err().kind, ErrorKind::NotReady);
    let error = h.try_read("secrets", "/k", &values[1]).unwrap_err();
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(14)));
}

pub(super) fn rotated_dek_reads_without_the_plugin(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let old = h.write("/k", b"old");
    h.plugin("a").key_id = "key-2".into();
    h.advance_secs(60);
    h.plugin("a").down();
    let read = h.read("/k", &old);
    assert_eq!((&read.plaintext[..], read.stale), (&b"old"[..], true));
}

pub(super) fn unusable_dek_from_the_plugin_is_a_plugin_error(maker: &dyn Maker) {
    let value = foreign_values(maker, 1).remove(0);
    let mut h = Harness::primed(maker);
    for (desc, len) in [("empty", 0), ("no AES key", 31), ("far too long", 100_000)] {
        h.plugin("a").on_decrypt(move |_| Reply::Answer(vec![7; len]));
        let error = h.try_read("secrets", "/k", &value).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Kms, "{desc}");
        assert!(error.message.starts_with("failed to decrypt DEK, error: "), "{desc}: {error}");
    }
    h.plugin("a").up();
    assert_eq!(h.read("/k", &value).plaintext, b"plaintext", "the unusable DEK was not cached");
}

pub(super) fn wrong_dek_from_the_plugin_is_not_kept(maker: &dyn Maker) {
    let value = foreign_values(maker, 1).remove(0);
    let mut h = Harness::primed(maker);
    h.plugin("a").on_decrypt(|_| Reply::Answer(vec![7; 32]));
    let error = h.try_read("secrets", "/k", &value).unwrap_err();
    assert_eq!(error.kind, ErrorKind::DecryptFailed);
    h.plugin("a").up();
    assert_eq!(h.read("/k", &value).plaintext, b"plaintext");
    let calls = h.plugin("a").calls;
    h.try_read("secrets", "/other", &value).unwrap_err();
    h.read("/k", &value);
    assert_eq!(h.plugin("a").calls, calls, "the correct DEK stays cached, even if a read fails");
}

pub(super) fn same_ciphertext_under_another_key_id_is_another_dek(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let mut object = EncryptedObject::of("a", &h.write("/k", b"plaintext"));
    let base = h.plugin("a").calls.decrypt;
    object.key_id = "key-9".into();
    assert_eq!(h.try_read("secrets", "/k", &object.stored("a")).unwrap_err().kind, ErrorKind::Kms);
    object.key_id = "key-1".into();
    object.annotations.insert("a.b".into(), vec![1]);
    assert_eq!(h.try_read("secrets", "/k", &object.stored("a")).unwrap_err().kind, ErrorKind::Kms);
    assert_eq!(h.plugin("a").calls.decrypt, base + 2, "the plugin was asked for each");
}

/// A plugin may keep the encrypted DEK in an annotation and always return the same ciphertext.
pub(super) fn same_ciphertext_with_other_annotations_is_another_dek(maker: &dyn Maker) {
    let annotation = "encrypted-dek.kms.example";
    let (mut values, mut recorded) = (Vec::new(), Vec::new());
    for n in [0, 1] {
        let plugin = [("a", Plugin::new("key-1"))];
        let options = Options::default();
        let mut h = Harness::seeded(maker, &file::secrets(), &options, plugin, 100 + n);
        let mut object = EncryptedObject::of("a", &h.write("/k", &[b'0', n as u8]));
        let dek = h.plugin("a").seen.last().expect("it encrypted one").clone();
        object.encrypted_dek_source = b"always this".to_vec();
        object.annotations.insert(annotation.into(), n.to_le_bytes().into());
        let request = DecryptRequest {
            ciphertext: object.encrypted_dek_source.clone(),
            key_id: object.key_id.clone(),
            annotations: object.annotations.clone().into_iter().collect(),
        };
        recorded.push((request, dek));
        values.push(object.stored("a"));
    }
    let mut h = Harness::primed(maker);
    h.plugin("a").recorded = recorded;
    let base = h.plugin("a").calls.decrypt;
    for n in [0u8, 1, 0, 1] {
        let value = &values[usize::from(n)];
        assert_eq!(h.read("/k", value).plaintext, [b'0', n]);
    }
    assert_eq!(h.plugin("a").calls.decrypt, base + 2, "each was kept");
}

pub(super) fn cache_is_counted(maker: &dyn Maker) {
    let values = foreign_values(maker, 3);
    let mut h = Harness::primed(maker);
    let misses = "apiserver_storage_envelope_transformation_cache_misses_total";
    let size = "apiserver_envelope_encryption_dek_source_cache_size";
    h.write("/k", b"x");
    assert_eq!(h.metric(size, &[("provider_name", "a")]), 1.0);
    for value in &values {
        h.read("/k", value);
        h.read("/k", value);
    }
    assert_eq!(h.metric(misses, &[]), 3.0);
    assert_eq!(h.metric(size, &[("provider_name", "a")]), 4.0);
}
