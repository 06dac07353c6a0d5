//! KMS calls and parked operations: which answers are ignored, what is limited, and what ends without an answer.

use std::time::Duration;

use dekker_core::engine::event::{CallError, CallId, EncryptResponse, Event, StatusResponse};
use dekker_core::engine::{Options, PARKED_BYTES_MAX, PARKED_MAX};
use dekker_core::{ErrorKind, Location};

use crate::face::Maker;
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

const MS: Duration = Duration::from_millis(1);

fn silent() -> Plugin {
    let mut plugin = Plugin::new("key-1");
    plugin.hang();
    plugin
}

fn with(plugin: Plugin, maker: &dyn Maker) -> Harness {
    Harness::new(maker, &file::secrets(), &Options::default(), [("a", plugin)])
}

fn status(call: CallId, key_id: &str) -> Event {
    let outcome =
        Ok(StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: key_id.into() });
    Event::Status { call, outcome }
}

fn encrypted(call: CallId, key_id: &str) -> Event {
    let outcome = Ok(EncryptResponse {
        ciphertext: b"other".to_vec(),
        key_id: key_id.into(),
        annotations: [].into(),
    });
    Event::Encrypted { call, outcome }
}

fn decrypted(call: CallId) -> Event {
    let outcome = Ok(vec![7; 32].into());
    Event::Decrypted { call, outcome }
}

pub(super) fn calls_end_at_their_deadline_without_an_answer(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let mut h = with(silent(), maker);
    let write = h.begin_write("secrets", "/k", b"x");
    h.advance(Duration::from_secs(3) - MS);
    assert!(h.written(write).is_none());
    h.advance(MS);
    let error = h.written(write).expect("woken").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotReady);
    assert!(
        error
            .message
            .ends_with("rpc error: code = DeadlineExceeded desc = context deadline exceeded"),
        "{error}"
    );
    h.plugin("a").up();
    h.advance_secs(10);
    h.plugin("a").hang();
    let mut seeded = Harness::seeded(
        maker,
        &file::secrets(),
        &Options::default(),
        [("a", Plugin::new("key-1"))],
        9,
    );
    seeded.plugin("a").hang();
    let read = seeded.begin_read("secrets", "/k", &value);
    seeded.advance_secs(3);
    let error = seeded.was_read(read).expect("woken").unwrap_err();
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(4)));
    assert_eq!(
        error.message,
        "failed to decrypt DEK, error: rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    );
}

pub(super) fn deadline_is_the_providers_timeout(maker: &dyn Maker) {
    let file = file::secrets_with(&[file::kms_at("a", "unix:///run/a.sock", "1m30s")]);
    let mut h = Harness::new(maker, &file, &Options::default(), [("a", silent())]);
    let op = h.begin_write("secrets", "/k", b"x");
    h.advance(Duration::from_secs(90) - MS);
    assert!(h.written(op).is_none());
    h.advance(MS);
    assert!(h.written(op).is_some());
}

pub(super) fn answers_to_unknown_or_ended_calls_are_ignored(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let value = h.write("/k", b"x");
    let before = h.face.metrics();
    let calls: Vec<_> = h.placed.iter().map(|(call, _, _)| *call).collect();
    for call in calls.into_iter().chain([CallId(0), CallId(12_345), CallId(u64::MAX)]) {
        h.report(status(call, "key-9"));
        h.report(encrypted(call, "key-9"));
        h.report(decrypted(call));
    }
    assert!(!h.read("/k", &value).stale);
    assert_eq!(h.plugin("a").calls.status, 1);
    assert_eq!(h.health()[0].fault, None);
    let size = "apiserver_envelope_encryption_dek_source_cache_size";
    assert_eq!(h.face.metrics()[size], before[size]);
}

pub(super) fn late_answer_is_ignored(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.delay = Duration::from_millis(3001);
    let mut h = with(plugin, maker);
    h.advance(Duration::from_millis(3001));
    let error = h.try_write("secrets", "/k", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotReady);
    assert_eq!(h.plugin("a").calls.encrypt, 0, "the late Status starts no Encrypt call");
}

pub(super) fn answer_of_another_kind_is_ignored(maker: &dyn Maker) {
    let mut h = with(silent(), maker);
    let op = h.begin_write("secrets", "/k", b"x");
    let (call, what, _) = h.placed[0];
    assert_eq!(what, "status");
    h.report(encrypted(call, "key-1"));
    h.report(decrypted(call));
    assert!(h.written(op).is_none(), "still waiting for its Status");
    h.report(status(call, "key-1"));
    let (call, what, _) = h.placed[1];
    assert_eq!(what, "encrypt");
    h.report(status(call, "key-1"));
    h.report(decrypted(call));
    assert!(h.written(op).is_none());
    h.report(encrypted(call, "key-1"));
    let (call, what, _) = h.placed[2];
    assert_eq!(what, "decrypt");
    h.report(status(call, "key-1"));
    h.report(encrypted(call, "key-1"));
    assert!(h.written(op).is_none());
    h.report(Event::Decrypted {
        call,
        outcome: Err(CallError { code: 99, message: String::new() }),
    });
    let error = h.written(op).expect("woken").unwrap_err();
    assert!(error.message.contains("rpc error: code = Unknown desc = , "), "{error}");
}

pub(super) fn only_the_first_answer_counts(maker: &dyn Maker) {
    let mut h = with(silent(), maker);
    let (call, ..) = h.placed[0];
    h.report(status(call, "key-1"));
    h.report(status(call, "key-2"));
    assert_eq!(h.placed.len(), 2);
    h.plugin("a").up();
    h.advance_secs(13);
    h.write("/k", b"x");
}

pub(super) fn cancelled_operation_has_no_result(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let mut h = with(silent(), maker);
    let ops = [
        h.begin_write("secrets", "/k", b"x"),
        h.begin_read("secrets", "/k", &value),
        h.begin_health(),
    ];
    for op in ops {
        h.cancel(op);
    }
    h.cancel(77);
    h.advance_secs(20);
    assert!(
        h.written(ops[0]).is_none() && h.was_read(ops[1]).is_none() && h.checked(ops[2]).is_none()
    );
    assert_eq!(h.status()["parkedOperations"], 0);
    let again =
        h.face.to_storage(ops[0], Location { resource: "secrets", key: b"/k" }, b"x", h.now);
    assert!(again.is_some(), "its id is free again");
}

pub(super) fn cancelled_read_does_not_cancel_others(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let plugin = [("a", Plugin::new("key-1"))];
    let mut h = Harness::seeded(maker, &file::secrets(), &Options::default(), plugin, 2);
    h.plugin("a").delay = Duration::from_millis(10);
    let ops = [(); 3].map(|()| h.begin_read("secrets", "/k", &value));
    h.cancel(ops[0]);
    h.advance(Duration::from_millis(10));
    assert!(h.was_read(ops[0]).is_none());
    assert!(ops[1..].iter().all(|op| h.was_read(*op).expect("woken").is_ok()));
    let alone = Harness::seeded(
        maker,
        &file::secrets(),
        &Options::default(),
        [("a", Plugin::new("key-1"))],
        3,
    );
    let value = { alone }.write("/k", b"plaintext");
    let op = h.begin_read("secrets", "/k", &value);
    h.cancel(op);
    h.advance(Duration::from_millis(10));
    assert!(h.was_read(op).is_none());
    let op = h.begin_read("secrets", "/k", &value);
    h.advance(Duration::from_millis(10));
    assert!(h.was_read(op).expect("woken").is_ok());
}

pub(super) fn operation_id_in_use_is_refused(maker: &dyn Maker) {
    let mut h = with(silent(), maker);
    let at = Location { resource: "secrets", key: b"/k" };
    let now = h.now;
    assert!(h.face.to_storage(1, at, b"first", now).is_none());
    let error = h.face.to_storage(1, at, b"second", now).expect("at once").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    let error = h.face.from_storage(1, at, b"third", now).expect("at once").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Internal);
    assert!(h.face.health(1, now).expect("at once")[0].fault.is_some());
    h.plugin("a").up();
    h.advance_secs(13);
    assert!(h.written(1).expect("the first ended").is_err());
}

pub(super) fn too_many_waiting_operations_are_refused(maker: &dyn Maker) {
    let mut h = with(silent(), maker);
    let ops: Vec<_> = (0..PARKED_MAX).map(|_| h.begin_write("secrets", "/k", b"x")).collect();
    let error = h.try_write("secrets", "/k", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded);
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let error = h.try_read("secrets", "/k", &value).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded);
    // Health checks have a separate limit, which is low.
    let mut checks = vec![h.begin_health()];
    assert!(h.checked(checks[0]).is_none(), "it waits for the plugin");
    let fault = loop {
        let op = h.begin_health();
        match h.checked(op) {
            None => checks.push(op),
            Some(mut done) => break done.remove(0).fault,
        }
        assert!(checks.len() <= 64);
    };
    assert_eq!(
        fault.as_deref(),
        Some("kms-provider-0: too many operations are waiting for the KMS plugin")
    );
    for op in checks {
        h.cancel(op);
    }
    assert_eq!(h.status()["parkedOperations"], PARKED_MAX);
    h.cancel(ops[0]);
    let op = h.begin_write("secrets", "/k", b"x");
    assert!(h.written(op).is_none(), "there is room again");
    h.advance_secs(3);
    assert!(h.written(op).is_some() && ops[1..].iter().all(|op| h.written(*op).is_some()));
}

pub(super) fn too_many_waiting_bytes_are_refused(maker: &dyn Maker) {
    let mut h = with(silent(), maker);
    let big = vec![0; PARKED_BYTES_MAX / 4 - 100];
    let ops: Vec<_> = (0..4).map(|_| h.begin_write("secrets", "/k", &big)).collect();
    let error = h.try_write("secrets", "/k", &big[..1000]).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded);
    h.cancel(ops[0]);
    let op = h.begin_write("secrets", "/k", &big);
    assert!(h.written(op).is_none());
}

pub(super) fn overloaded_read_makes_no_plugin_call(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let secrets = file::secrets();
    let plugins = [("a", Plugin::new("key-1"))];
    let mut h = Harness::seeded(maker, &secrets, &Options::default(), plugins, 2);
    h.plugin("a").hang();
    for n in 0..PARKED_MAX {
        h.begin_read("secrets", format!("/{n}"), &value);
    }
    let other = {
        let plugins = [("a", Plugin::new("key-1"))];
        Harness::seeded(maker, &secrets, &Options::default(), plugins, 3).write("/k", b"x")
    };
    let before = h.plugin("a").calls;
    let error = h.try_read("secrets", "/k", &other).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded);
    assert_eq!(h.plugin("a").calls, before);
    let own = h.write("/k", b"x");
    assert_eq!(h.read("/k", &own).plaintext, b"x", "operations that need no plugin still work");
}

pub(super) fn silent_plugin_leaves_room_for_operations_of_other_plugins(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let list = file::config(&[
        file::rule(&["secrets"], &[file::kms("a")]),
        file::rule(&["pods"], &[file::kms("b")]),
    ]);
    let plugins = [("a", Plugin::new("key-1")), ("b", silent())];
    let mut h = Harness::seeded(maker, &list, &Options::default(), plugins, 2);
    let waiting = |h: &mut Harness| h.status()["parkedOperations"].as_u64().expect("a number");
    for _ in 0..PARKED_MAX {
        h.begin_write("pods", "/k", b"x");
    }
    assert_eq!(waiting(&mut h), PARKED_MAX as u64 / 2);
    assert_eq!(h.read("/k", &value).plaintext, b"plaintext");
    // Operations that wait for the other plugin may take half of the remaining places.
    h.plugin("a").hang();
    h.now = h.now + Duration::from_secs(240);
    for _ in 0..PARKED_MAX {
        h.begin_write("secrets", "/k", b"x");
    }
    assert_eq!(waiting(&mut h), PARKED_MAX as u64 * 3 / 4);
}

pub(super) fn time_never_goes_back(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").down();
    h.advance_secs(181);
    let later = h.now;
    assert!(h.try_write("secrets", "/k", b"x").is_err());
    h.now = crate::sim::START;
    assert!(
        h.try_write("secrets", "/k", b"x").is_err(),
        "an earlier time counts as the latest one"
    );
    h.face.handle_timeout(h.now);
    assert!(h.face.poll_timeout() > Some(later));
}

pub(super) fn answers_just_before_the_deadline_are_accepted(maker: &dyn Maker) {
    let mut plugin = Plugin::new("key-1");
    plugin.delay = Duration::from_millis(2999);
    plugin.on_decrypt(Reply::Answer);
    let mut h = with(plugin, maker);
    let op = h.begin_write("secrets", "/k", b"x");
    h.advance(Duration::from_millis(3 * 2999));
    assert!(h.written(op).expect("woken").is_ok());
}
