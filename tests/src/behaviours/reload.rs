//! Reloads: one configuration replaces another.

use std::time::Duration;

use dekker_core::ErrorKind;
use dekker_core::engine::Options;
use dekker_core::engine::event::ProviderId;

use crate::face::Maker;
use crate::object::{EncryptedObject, Stored, sha256_text};
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

const MS: Duration = Duration::from_millis(1);

fn options() -> Options {
    Options { reload: true, ..Options::default() }
}

/// A harness with plugins `a` and `b`. Its configuration file names only `a`.
fn harness(maker: &dyn Maker) -> Harness {
    let plugins = [("a", Plugin::new("key-a")), ("b", Plugin::new("key-b"))];
    Harness::new(maker, &file::secrets(), &options(), plugins)
}

fn b_then_a() -> String {
    file::secrets_with(&[file::kms("b"), file::kms("a")])
}

pub(super) fn good_file_takes_over(maker: &dyn Maker) {
    let mut h = harness(maker);
    let by_a = h.write("/k", b"x");
    h.reload(&b_then_a()).expect("valid");
    assert_eq!(h.reloads, [Ok(())], "as soon as its providers are healthy");
    assert_eq!(EncryptedObject::of("b", &h.write("/k", b"x")).key_id, "key-b");
    let read = h.read("/k", &by_a);
    assert!(read.stale && read.plaintext == b"x");
    assert_eq!(h.status()["configHash"], sha256_text(b_then_a()));
    assert_eq!(h.status()["lastReload"]["error"], serde_json::Value::Null);
    assert!(h.closed.is_empty());
}

pub(super) fn invalid_file_is_refused_at_once(maker: &dyn Maker) {
    let mut h = harness(maker);
    let two = file::secrets_with(&[file::kms("a:b"), file::kms_at("c", "http://x", "1s")]);
    for (desc, file, faults) in
        [("two faults", &*two, 2), ("not a file at all", "%%%", 1), ("empty", "", 1)]
    {
        assert_eq!(h.reload(file).unwrap_err().len(), faults, "{desc}");
        assert_eq!(h.status()["configHash"], sha256_text(file::secrets()), "{desc}");
        assert_ne!(h.status()["lastReload"]["error"], serde_json::Value::Null, "{desc}");
    }
    assert!(h.reloads.is_empty(), "no action reports it again");
    h.write("/k", b"x");
}

pub(super) fn unhealthy_candidate_is_refused_after_its_grace_period(maker: &dyn Maker) {
    // The grace period: max(10 s, twice the sum of the timeouts).
    let table = [("3 s", "3s", 10), ("exactly", "5s", 10), ("longer", "20s", 40)];
    for (desc, timeout, grace) in table {
        let mut h = harness(maker);
        h.plugin("b").down();
        let file = file::secrets_with(&[file::kms_at("b", "unix:///run/b.sock", timeout)]);
        h.reload(&file).expect("valid");
        assert_eq!(h.status()["candidateConfigHash"], sha256_text(&file), "{desc}");
        h.advance(Duration::from_secs(grace) - MS);
        assert!(h.reloads.is_empty(), "{desc}");
        assert!(
            EncryptedObject::of("a", &h.write("/k", b"x")).key_id == "key-a",
            "{desc}: the old one serves"
        );
        h.advance(MS);
        let error = h.reloads[0].clone().unwrap_err();
        assert_eq!(
            error,
            "health check for new transformers failed, polling error context deadline exceeded: \
             kms-provider-0: rpc error: code = Unavailable desc = connection refused",
            "{desc}"
        );
        assert_eq!(h.closed.len(), 1, "{desc}: its provider is closed");
        assert_eq!(h.status()["lastReload"]["error"], error, "{desc}");
        h.write("/k", b"x");
        assert_eq!(h.fault(), None, "{desc}: its errors do not affect the running configuration");
    }
}

pub(super) fn candidate_takes_over_once_it_is_healthy(maker: &dyn Maker) {
    let mut h = harness(maker);
    h.plugin("b").down();
    h.reload(&b_then_a()).expect("valid");
    h.advance_secs(8);
    h.plugin("b").up();
    h.advance_secs(4);
    assert_eq!(h.reloads, [Ok(())], "a bad answer counts for 3 s");
    assert_eq!(EncryptedObject::of("b", &h.write("/k", b"x")).key_id, "key-b");
}

pub(super) fn slow_candidate_takes_over_when_it_answers(maker: &dyn Maker) {
    let mut h = harness(maker);
    h.plugin("b").delay = Duration::from_millis(1500);
    h.reload(&b_then_a()).expect("valid");
    let before = h.plugin("b").calls.status;
    h.advance(Duration::from_millis(4499));
    assert!(h.reloads.is_empty());
    h.write("/k", b"x");
    h.advance(MS);
    assert_eq!(h.reloads, [Ok(())]);
    assert_eq!(h.plugin("b").calls.status, before, "one probe, however often it is looked at");
}

pub(super) fn unchanged_provider_keeps_its_dek_and_cache(maker: &dyn Maker) {
    let foreign =
        Harness::seeded(maker, &file::secrets(), &options(), [("a", Plugin::new("key-a"))], 9)
            .write("/k", b"x");
    let mut h = harness(maker);
    let counter = |value: &[u8]| EncryptedObject::of("a", value).counter();
    let first = counter(&h.write("/k", b"x"));
    h.read("/k", &foreign);
    let calls = h.plugin("a").calls;
    let file = file::secrets_with(&[file::kms("a"), file::identity()]);
    h.reload(&file).expect("valid");
    assert_eq!(h.reloads, [Ok(())]);
    assert_eq!(counter(&h.write("/k", b"x")), first + 1, "no nonce comes twice");
    h.read("/k", &foreign);
    assert_eq!(h.plugin("a").calls, calls, "nothing was asked");
    assert!(h.closed.is_empty());
    h.advance_secs(120);
    h.reload(&file::secrets()).expect("valid");
    assert_eq!(counter(&h.write("/k", b"x")), first + 2);
    assert_eq!(h.plugin("a").calls.encrypt, 1);
}

pub(super) fn changed_provider_is_a_new_provider(maker: &dyn Maker) {
    let table = [
        ("endpoint", file::kms_at("a", "unix:///run/elsewhere.sock", "3s")),
        ("timeout", file::kms_at("a", "unix:///run/a.sock", "4s")),
    ];
    for (desc, provider) in table {
        let mut h = harness(maker);
        let old = h.write("/k", b"x");
        let id = h.face.kms_providers()[0].id;
        h.reload(&file::secrets_with(&[provider])).expect("valid");
        assert_eq!(h.reloads, [Ok(())], "{desc}");
        assert_eq!(h.closed, [id], "{desc}: nothing uses the old one");
        assert_ne!(h.face.kms_providers()[0].id, id, "{desc}");
        assert_eq!(h.plugin("a").calls.encrypt, 2, "{desc}: its own DEK");
        let read = h.read("/k", &old);
        assert!(!read.stale && read.plaintext == b"x", "{desc}: the key ID is the same");
        assert_eq!(h.plugin("a").calls.decrypt, 3, "{desc}: and it starts with an empty cache");
    }
}

pub(super) fn reads_under_way_end_on_the_old_configuration(maker: &dyn Maker) {
    let foreign =
        Harness::seeded(maker, &file::secrets(), &options(), [("a", Plugin::new("key-a"))], 9)
            .write("/k", b"x");
    let mut h = harness(maker);
    h.plugin("a").delay = Duration::from_secs(2);
    let op = h.begin_read("secrets", "/k", &foreign);
    let id = h.face.kms_providers()[0].id;
    let only_b = file::secrets_with(&[file::kms("b")]);
    h.reload(&only_b).expect("valid");
    assert_eq!(h.reloads, [Ok(())]);
    assert!(h.closed.is_empty(), "the old provider is still in use");
    let error = h.try_read("secrets", "/k", &foreign).unwrap_err();
    assert_eq!(error.kind, ErrorKind::NoMatchingPrefix, "a new read knows only the new file");
    h.advance_secs(2);
    assert_eq!(h.was_read(op).expect("woken").expect("a read").plaintext, b"x");
    assert_eq!(h.closed, [id]);
}

pub(super) fn operations_of_the_old_configuration_end_with_its_grace_period(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-a");
    plugin.hang();
    let list = file::secrets_with(&[file::kms_at("a", "unix:///run/a.sock", "15s")]);
    let plugins = [("a", plugin), ("b", Plugin::new("key-b"))];
    let mut h = Harness::new(maker, &list, &options(), plugins);
    // The Status takes 14 s, the Encrypt 14 s, and the Decrypt is never answered: more than twice the timeout.
    h.plugin("a").up();
    h.plugin("a").delay = Duration::from_secs(14);
    h.plugin("a").on_decrypt(|_| Reply::Never);
    h.advance_secs(25);
    let write = h.begin_write("secrets", "/k", b"x");
    assert!(h.written(write).is_none(), "its first probe has failed, and another one is under way");
    let health = h.begin_health();
    assert!(h.checked(health).is_none(), "a probe is under way");
    h.reload(&file::secrets_with(&[file::kms("b")])).expect("valid");
    assert_eq!(h.reloads, [Ok(())]);
    h.advance(Duration::from_secs(30) - MS);
    assert_eq!(h.checked(health), None);
    assert!(h.closed.is_empty());
    h.advance(MS);
    let checks = h.checked(health).expect("ended");
    assert!(checks[0].fault.is_some(), "no answer is not a good answer: {checks:?}");
    let error = h.written(write).expect("ended").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Kms);
    assert_eq!(h.closed, [ProviderId(1)]);
}

/// The outcome of a candidate that a newer one replaced.
fn replaced() -> Result<(), String> {
    Err("replaced by a newer file".to_string())
}

pub(super) fn newer_file_replaces_a_pending_candidate(maker: &dyn Maker) {
    let mut h = harness(maker);
    h.plugin("b").hang();
    h.reload(&file::secrets_with(&[file::kms("b")])).expect("valid");
    h.advance_secs(1);
    assert!(h.reloads.is_empty());
    let newer = file::secrets_with(&[file::kms("a"), file::identity()]);
    h.reload(&newer).expect("valid");
    assert_eq!(h.reloads, [replaced(), Ok(())]);
    assert_eq!(h.status()["configHash"], sha256_text(&newer));
    assert_eq!(h.closed.len(), 1, "the older candidate's provider is closed");
    h.advance_secs(60);
    assert_eq!(h.reloads.len(), 2, "it is not reported again");
}

pub(super) fn newer_candidate_keeps_the_probe_of_the_older(maker: &dyn Maker) {
    let mut h = harness(maker);
    h.plugin("b").delay = Duration::from_millis(500);
    h.reload(&file::secrets_with(&[file::kms("b")])).expect("valid");
    h.advance_secs(1);
    h.reload(&b_then_a()).expect("valid");
    h.advance(Duration::from_millis(500));
    assert_eq!(h.reloads, [replaced(), Ok(())]);
    assert_eq!(h.plugin("b").calls.status, 1);
    assert!(h.closed.is_empty());
}

pub(super) fn reload_of_the_running_file_ends_a_pending_candidate(maker: &dyn Maker) {
    let mut h = harness(maker);
    let counter = |value: &[u8]| EncryptedObject::of("a", value).counter();
    let first = counter(&h.write("/k", b"x"));
    h.plugin("b").hang();
    h.reload(&b_then_a()).expect("valid");
    h.advance_secs(1);
    h.reload(&file::secrets()).expect("valid");
    assert_eq!(h.reloads, [replaced(), Ok(())], "back to the running file");
    assert_eq!(h.status()["candidateConfigHash"], serde_json::Value::Null);
    assert_eq!(counter(&h.write("/k", b"x")), first + 1);
    assert_eq!(h.plugin("a").calls.encrypt, 1);
}

pub(super) fn invalid_file_leaves_a_pending_candidate_alone(maker: &dyn Maker) {
    let mut h = harness(maker);
    h.plugin("b").delay = Duration::from_millis(500);
    h.reload(&b_then_a()).expect("valid");
    h.reload("%%%").expect_err("faulty");
    h.advance_secs(2);
    assert_eq!(h.reloads, [Ok(())]);
}

pub(super) fn health_follows_the_running_configuration(maker: &dyn Maker) {
    let none = file::secrets_with(&[file::identity()]);
    let mut h = Harness::new(maker, &none, &options(), [("a", Plugin::new("key-a"))]);
    assert_eq!(h.fault(), None);
    h.plugin("a").healthz = "tired".into();
    h.reload(&file::secrets()).expect("valid");
    assert_eq!(h.fault(), None, "the candidate's health is not shown");
    h.plugin("a").healthz = "ok".into();
    h.advance_secs(5);
    assert_eq!(h.reloads, [Ok(())]);
    h.plugin("a").healthz = "tired".into();
    h.advance_secs(20);
    assert!(h.fault().is_some());
    h.reload(&none).expect("valid");
    assert_eq!(h.fault(), None);
    assert_eq!(h.closed.len(), 1);
    assert_eq!(h.face.poll_timeout(), None, "nothing waits for time to pass");
}

pub(super) fn reload_of_an_unhealthy_but_unchanged_provider_waits_for_it(maker: &dyn Maker) {
    let mut h = harness(maker);
    h.plugin("a").down();
    h.advance_secs(60);
    let file = file::secrets_with(&[file::kms("a"), file::identity()]);
    h.reload(&file).expect("valid");
    assert!(h.reloads.is_empty());
    h.plugin("a").up();
    h.advance_secs(4);
    assert_eq!(h.reloads, [Ok(())]);
}
