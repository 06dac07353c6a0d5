//! KMS v1: a fresh DEK for each write.

use std::time::Duration;

use dekker_core::ErrorKind;
use dekker_core::engine::Options;

use crate::face::Maker;
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

const PREFIX: &[u8] = b"k8s:enc:kms:v1:old:";

fn provider(more: &str) -> String {
    format!(
        "kms: {{apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock', timeout: 3s{more}}}"
    )
}

fn with(maker: &dyn Maker, more: &str) -> Harness {
    let file = file::secrets_with(&[provider(more)]);
    let plugin = Plugin::new("kek");
    Harness::new(maker, &file, &Options::default(), [("old", plugin)])
}

fn calls(h: &mut Harness) -> (usize, usize) {
    let calls = h.plugin("old").calls;
    assert_eq!(calls.status, 0, "KMS v1 has no Status");
    (calls.encrypt, calls.decrypt)
}

/// Writes a value and returns what was stored, once the plugin has answered.
fn write(h: &mut Harness, key: &str, plaintext: &[u8]) -> Vec<u8> {
    let op = h.begin_write("secrets", key, plaintext);
    h.settle();
    h.written(op).expect("an answer").expect("a write").stored
}

pub(super) fn each_write_has_its_own_dek(maker: &dyn Maker) {
    let mut h = with(maker, "");
    assert_eq!(calls(&mut h), (0, 0), "no call is made before it is needed");
    let values: Vec<_> = (0..10).map(|_| write(&mut h, "/k", b"x")).collect();
    assert_eq!(calls(&mut h), (10, 0));
    let mut deks = h.plugin("old").seen.clone();
    deks.sort();
    deks.dedup();
    assert_eq!(deks.len(), 10);
    assert!(deks.iter().all(|dek| dek.len() == 32));
    let mut distinct = values.clone();
    distinct.sort();
    distinct.dedup();
    assert_eq!(distinct.len(), 10);
}

pub(super) fn stored_form_of_kms_v1_matches_upstream(maker: &dyn Maker) {
    let mut h = with(maker, "");
    let stored = write(&mut h, "/k", b"hello");
    let rest = stored.strip_prefix(PREFIX).expect("the prefix");
    let (len, rest) = rest.split_first_chunk::<2>().expect("a length");
    let len = usize::from(u16::from_be_bytes(*len));
    // 12 + 32 + 16: the size of a DEK that the scripted plugin encrypted. The nonce, ciphertext and tag follow.
    assert_eq!((len, rest.len() - len), (60, 12 + 5 + 16));
}

pub(super) fn values_of_kms_v1_are_read_with_the_cached_dek(maker: &dyn Maker) {
    let mut h = with(maker, "");
    for len in [0, 1, 15, 16, 17, 100, 4096, 1 << 20] {
        let plaintext = vec![b'p'; len];
        let stored = write(&mut h, "/k", &plaintext);
        let read = h.read("/k", &stored);
        assert_eq!((read.plaintext, read.stale), (plaintext, false), "{len} bytes");
    }
    assert_eq!(calls(&mut h).1, 0);
    h.plugin("old").down();
    let stored = {
        h.plugin("old").up();
        write(&mut h, "/k", b"x")
    };
    h.plugin("old").down();
    assert_eq!(h.read("/k", &stored).plaintext, b"x", "the cache needs no plugin");
}

pub(super) fn read_without_the_dek_asks_once_and_fails_with_the_plugins_error(maker: &dyn Maker) {
    let stored = write(&mut with(maker, ""), "/k", b"x");
    let mut h = with(maker, "");
    h.plugin("old").delay = Duration::from_millis(10);
    let reads: Vec<_> = (0..5).map(|_| h.begin_read("secrets", "/k", &stored)).collect();
    h.advance(Duration::from_millis(10));
    for op in reads {
        assert_eq!(h.was_read(op).expect("an answer").expect("a read").plaintext, b"x");
    }
    assert_eq!(calls(&mut h), (0, 1), "identical decrypts are asked for once");
    let mut h = with(maker, "");
    h.plugin("old").down();
    let error = h.try_read("secrets", "/k", &stored).unwrap_err();
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(14)));
    assert_eq!(error.message, "rpc error: code = Unavailable desc = connection refused");
}

/// AES-CBC as Kubernetes wrote it before 1.25, with a DEK that this provider's plugin encrypted.
fn cbc_value(h: &mut Harness) -> Vec<u8> {
    use cbc::cipher::block_padding::Pkcs7;
    use cbc::cipher::{BlockModeEncrypt, KeyIvInit};
    let stored = write(h, "/k", b"new");
    let dek: [u8; 32] = h.plugin("old").seen.last().unwrap().clone().try_into().unwrap();
    let head = PREFIX.len() + 2 + 60;
    let iv = [9u8; 16];
    let encryptor = cbc::Encryptor::<aes::Aes256>::new(&dek.into(), &iv.into());
    let sealed = encryptor.encrypt_padded_vec::<Pkcs7>(b"from 1.24");
    [&stored[..head], &iv, &sealed].concat()
}

pub(super) fn dek_of_kms_v1_reads_cbc_as_stale(maker: &dyn Maker) {
    let mut h = with(maker, "");
    let value = cbc_value(&mut h);
    for mut h in [h, with(maker, "")] {
        let read = h.read("/any key", &value);
        assert_eq!((&*read.plaintext, read.stale), (&b"from 1.24"[..], true));
    }
}

pub(super) fn negative_cachesize_keeps_no_dek(maker: &dyn Maker) {
    let mut h = with(maker, ", cachesize: -1");
    let stored = write(&mut h, "/k", b"x");
    for n in 1..=3 {
        assert_eq!(h.read("/k", &stored).plaintext, b"x");
        assert_eq!(calls(&mut h), (1, n));
    }
}

pub(super) fn cachesize_bounds_the_deks_kept(maker: &dyn Maker) {
    let mut h = with(maker, ", cachesize: 2");
    let values: Vec<_> = (0..3).map(|_| write(&mut h, "/k", b"x")).collect();
    h.read("/k", &values[2]);
    h.read("/k", &values[1]);
    assert_eq!(calls(&mut h).1, 0);
    h.read("/k", &values[0]);
    assert_eq!(calls(&mut h).1, 1, "the least recently used DEK was evicted");
    h.read("/k", &values[1]);
    assert_eq!(calls(&mut h).1, 1);
}

pub(super) fn wrong_location_is_one_opaque_error_in_kms_v1(maker: &dyn Maker) {
    let mut h = with(maker, "");
    let stored = write(&mut h, "/a", b"a plaintext of more than a block");
    let elsewhere = h.try_read("secrets", "/b", &stored).unwrap_err();
    assert_eq!(elsewhere.kind, ErrorKind::DecryptFailed);
    for at in PREFIX.len() + 62..stored.len() {
        let mut altered = stored.clone();
        altered[at] ^= 1;
        assert_eq!(h.try_read("secrets", "/a", &altered).unwrap_err(), elsewhere, "byte {at}");
    }
}

pub(super) fn malformed_values_of_kms_v1_are_clean_errors(maker: &dyn Maker) {
    let mut h = with(maker, "");
    for (desc, rest) in [
        ("nothing", &b""[..]),
        ("half a length", b"\x00"),
        ("a length past the end", b"\x00\x05abcd"),
    ] {
        let error = h.try_read("secrets", "/k", &[PREFIX, rest].concat()).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Malformed, "{desc}");
        assert!(error.message.contains("uint16 length prefixed"), "{desc}: {error}");
    }
    let stored = write(&mut h, "/k", b"");
    for end in PREFIX.len() + 62..stored.len() {
        h.try_read("secrets", "/k", &stored[..end]).unwrap_err();
    }
}

pub(super) fn writes_of_kms_v1_fail_with_the_plugin(maker: &dyn Maker) {
    let mut h = with(maker, "");
    h.plugin("old").down();
    let error = h.try_write("secrets", "/k", b"x").unwrap_err();
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(14)));
    h.plugin("old").up();
    write(&mut h, "/k", b"x");
    h.plugin("old").hang();
    let op = h.begin_write("secrets", "/k", b"x");
    h.advance_secs(3);
    let error = h.written(op).expect("its deadline").unwrap_err();
    assert_eq!(error.grpc_code, Some(4));
}

/// This happens with a plugin of another version. Code 0 is not a gRPC status.
pub(super) fn error_without_a_grpc_status_is_its_message(maker: &dyn Maker) {
    let mut h = with(maker, "");
    let message =
        "KMS provider api version v1beta2 is not supported, only v1beta1 is supported now";
    h.plugin("old").on_encrypt(|_| Reply::Fail(0, message));
    let error = h.try_write("secrets", "/k", b"x").unwrap_err();
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, None));
    assert_eq!(error.message, message);
    let total = "apiserver_storage_transformation_operations_total";
    assert_eq!(h.metric(total, &[("status", "unknown-non-grpc")]), 1.0);
}

pub(super) fn cancelled_write_of_kms_v1_leaves_nothing(maker: &dyn Maker) {
    let mut h = with(maker, "");
    h.plugin("old").delay = Duration::from_millis(10);
    let op = h.begin_write("secrets", "/k", b"x");
    h.cancel(op);
    h.advance_secs(1);
    assert!(h.written(op).is_none());
    assert_eq!(h.status()["kmsCallsInFlight"], 0);
    assert_eq!(h.status()["parkedOperations"], 0);
}

pub(super) fn encrypted_dek_must_fit_its_length_field(maker: &dyn Maker) {
    for (len, fits) in [(0, false), (1, true), (65_535, true), (65_536, false)] {
        let mut h = with(maker, "");
        h.plugin("old").on_encrypt(move |mut answer| {
            answer.ciphertext = vec![1; len];
            Reply::Answer(answer)
        });
        let outcome = h.try_write("secrets", "/k", b"x");
        assert_eq!(outcome.is_ok(), fits, "{len} bytes");
    }
}

pub(super) fn health_of_kms_v1_is_encrypt_then_decrypt(maker: &dyn Maker) {
    let mut h = with(maker, "");
    assert_eq!(h.fault(), None);
    assert_eq!(calls(&mut h), (1, 1));
    assert_eq!(h.plugin("old").seen, [b"ping"]);
    h.advance_secs(19);
    h.health();
    assert_eq!(calls(&mut h), (1, 1), "a good answer is used for 20 s");
    h.advance_secs(1);
    h.plugin("old").down();
    let bare = "rpc error: code = Unavailable desc = connection refused";
    assert_eq!(
        h.fault().unwrap(),
        format!(
            "failed to perform encrypt section of the healthz check for KMS Provider old, error: {bare}"
        )
    );
    assert_eq!(h.fault().unwrap(), bare, "used again within 3 s, as upstream");
    h.advance_secs(3);
    h.plugin("old").up();
    h.plugin("old").on_decrypt(|_| Reply::Fail(13, "broken"));
    assert_eq!(
        h.fault().unwrap(),
        "failed to perform decrypt section of the healthz check for KMS Provider old, error: rpc error: code = Internal desc = broken"
    );
}

pub(super) fn status_shows_the_last_answer_of_kms_v1(maker: &dyn Maker) {
    let mut h = with(maker, "");
    let shown = |h: &mut Harness| {
        let provider = h.status()["kmsProviders"][0].take();
        (provider["healthy"].clone(), provider["lastStatus"]["error"].clone())
    };
    let null = serde_json::Value::Null;
    assert_eq!(shown(&mut h), (null.clone(), null.clone()), "not asked yet");
    h.health();
    assert_eq!(shown(&mut h), (true.into(), null));
    h.advance_secs(20);
    h.plugin("old").down();
    h.health();
    let error = "rpc error: code = Unavailable desc = connection refused";
    assert_eq!(shown(&mut h), (false.into(), error.into()));
}

pub(super) fn checks_are_separate_when_kms_v1_is_used(maker: &dyn Maker) {
    let file = file::secrets_with(&[file::kms("a"), provider("")]);
    for (reload, names) in
        [(false, vec!["kms-provider-0", "kms-provider-1"]), (true, vec!["kms-providers"])]
    {
        let options = Options { reload, ..Options::default() };
        let plugins = [("a", Plugin::new("key-1")), ("old", Plugin::new("kek"))];
        let mut h = Harness::new(maker, &file, &options, plugins);
        h.plugin("old").down();
        let checks = h.health();
        assert_eq!(checks.iter().map(|check| &*check.name).collect::<Vec<_>>(), names);
        let faults: Vec<_> = checks.iter().map(|check| check.fault.is_some()).collect();
        assert_eq!(faults.last(), Some(&true), "the one that is down");
        assert_eq!(faults.len() == 2, !faults[0]);
    }
}

pub(super) fn kms_v1_counts_twice_in_the_grace_period(maker: &dyn Maker) {
    let options = Options { reload: true, ..Options::default() };
    let mut h = Harness::new(
        maker,
        &file::secrets_with(&[file::identity()]),
        &options,
        [("old", Plugin::new("kek"))],
    );
    h.plugin("old").down();
    h.reload(&file::secrets_with(&[provider("")])).expect("a valid file");
    // The grace period is 2 × (2 × 3 s), which is more than the minimum of 10 s.
    h.advance(Duration::from_millis(11_900));
    assert!(h.reloads.is_empty());
    h.advance(Duration::from_millis(100));
    assert!(h.reloads[0].is_err());
}

pub(super) fn unchanged_kms_v1_provider_keeps_its_cache(maker: &dyn Maker) {
    let options = Options { reload: true, ..Options::default() };
    let mut h = Harness::new(
        maker,
        &file::secrets_with(&[provider("")]),
        &options,
        [("old", Plugin::new("kek"))],
    );
    let stored = write(&mut h, "/k", b"x");
    h.reload(&file::secrets_with(&[provider(""), file::identity()])).expect("a valid file");
    h.settle();
    assert!(h.reloads[0].is_ok());
    let before = calls(&mut h).1;
    h.plugin("old").down();
    assert_eq!(h.read("/k", &stored).plaintext, b"x");
    assert_eq!(calls(&mut h).1, before);
    h.plugin("old").up();
    h.reload(&file::secrets_with(&[provider(", cachesize: 5"), file::identity()]))
        .expect("a valid file");
    h.settle();
    h.advance_secs(1);
    let before = calls(&mut h).1;
    assert_eq!(h.read("/k", &stored).plaintext, b"x");
    assert_eq!(calls(&mut h).1, before + 1, "another cachesize is another provider");
}
