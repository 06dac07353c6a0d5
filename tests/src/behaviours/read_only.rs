//! An engine that only decrypts: it makes no DEK, sends no Encrypt call, and depends on no Status answer.

use std::time::Duration;

use dekker_core::engine::Options;
use dekker_core::engine::event::{Action, Event};
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::{ErrorKind, Location, ValueState};
use serde_json::Value;

use super::local::provider;
use super::writing::seeds;
use crate::face::Maker;
use crate::object::sha256_text;
use crate::plugin::{Calls, Plugin, Reply};
use crate::sim::{Harness, START, file};

/// A change of a plugin before the engine meets it.
type Change = fn(&mut Plugin);

fn read_only() -> Options {
    Options { read_only: true, ..Options::default() }
}

/// Returns a value that another engine wrote with the key ID `key-1`.
fn value(maker: &dyn Maker, options: &Options, plaintext: &[u8]) -> Vec<u8> {
    let plugin = [("a", Plugin::new("key-1"))];
    Harness::seeded(maker, &file::secrets(), options, plugin, 7).write("/k", plaintext)
}

/// Creates a read-only engine whose plugin was changed beforehand.
fn reader(maker: &dyn Maker, options: &Options, change: impl FnOnce(&mut Plugin)) -> Harness {
    let mut plugin = Plugin::new("key-1");
    change(&mut plugin);
    Harness::new(maker, &file::secrets(), options, [("a", plugin)])
}

pub(super) fn read_only_engine_decrypts_and_sends_no_encrypt(maker: &dyn Maker) {
    for (writes, state) in
        [(Options::default(), ValueState::Fresh), (seeds(), ValueState::OtherSource)]
    {
        let stored = value(maker, &writes, b"plaintext");
        let mut h = reader(maker, &read_only(), |_| ());
        let read = h.read("/k", &stored);
        assert_eq!((&*read.plaintext, read.state), (&b"plaintext"[..], Some(state)));
        assert_eq!(h.plugin("a").calls, Calls { status: 1, encrypt: 0, decrypt: 1 });
        h.try_read("secrets", "/elsewhere", &stored).expect_err("another storage key");
    }
}

/// Every kind of Status answer that leaves an ordinary engine without a DEK.
const BAD_STATUS: [(&str, Change); 5] = [
    ("fails", |plugin| plugin.on_status(|_| Reply::Fail(14, "connection refused"))),
    ("is never answered", |plugin| plugin.on_status(|_| Reply::Never)),
    ("is unhealthy", |plugin| plugin.healthz = "tired".into()),
    ("has another version", |plugin| plugin.version = "v3".into()),
    ("has no key ID", |plugin| {
        plugin.on_status(|mut answer| {
            answer.key_id.clear();
            Reply::Answer(answer)
        });
    }),
];

pub(super) fn read_only_engine_reads_whatever_status_says(maker: &dyn Maker) {
    let stored = value(maker, &Options::default(), b"plaintext");
    for reload in [false, true] {
        for (desc, change) in BAD_STATUS {
            let options = Options { reload, ..read_only() };
            let mut h = reader(maker, &options, change);
            for pass in 0..2 {
                let read = h.read("/k", &stored);
                assert_eq!(read.plaintext, b"plaintext", "Status {desc}");
                assert_eq!((read.state, read.stale), (None, false), "Status {desc}: {pass}");
                h.advance_secs(300);
            }
            let Calls { status, encrypt, decrypt } = h.plugin("a").calls;
            assert!(status > 5, "Status {desc}: it is still polled");
            assert_eq!((encrypt, decrypt), (0, 1), "Status {desc}");
        }
    }
}

pub(super) fn read_only_engine_reads_before_status_is_answered(maker: &dyn Maker) {
    let stored = value(maker, &Options::default(), b"plaintext");
    let mut plugin = Plugin::new("key-1");
    let file = file::secrets();
    let created = maker.create(file.as_bytes(), &read_only(), 1, START);
    let mut face = created.unwrap_or_else(|faults| panic!("{faults:?}"));
    let at = Location { resource: "secrets", key: b"/k" };
    assert!(face.from_storage(1, at, &stored, START).is_none(), "it needs the plugin");
    let mut asked = None;
    for action in face.poll_actions() {
        match action {
            Action::CallStatus { .. } => {}
            Action::CallDecrypt { call, request, .. } => {
                let outcome = plugin.decrypt(&request).expect("an answer").map(Into::into);
                asked = Some(Event::Decrypted { call, outcome });
            }
            other => panic!("{other:?}"),
        }
    }
    face.handle_event(asked.expect("a Decrypt call, although Status is pending"), START);
    let done = face.poll_actions().into_iter().find_map(|action| match action {
        Action::FromStorageDone { outcome, .. } => Some(outcome.expect("a read")),
        _ => None,
    });
    let read = done.expect("the read does not wait for Status");
    assert_eq!((read.plaintext.expose(), read.state), (&b"plaintext"[..], None));
}

pub(super) fn read_only_engine_decrypts_each_dek_once(maker: &dyn Maker) {
    let stored = value(maker, &Options::default(), b"plaintext");
    let mut h = reader(maker, &read_only(), |plugin| plugin.delay = Duration::from_millis(10));
    let reads: Vec<_> = (0..5).map(|_| h.begin_read("secrets", "/k", &stored)).collect();
    h.advance(Duration::from_millis(10));
    for op in reads {
        let read = h.was_read(op).expect("an answer").expect("a read");
        assert_eq!(read.plaintext, b"plaintext");
    }
    h.read("/k", &stored);
    assert_eq!(h.plugin("a").calls.decrypt, 1);
}

pub(super) fn read_only_engine_refuses_every_write(maker: &dyn Maker) {
    let v1 = "kms: {apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock'}".to_string();
    let file = file::config(&[
        file::rule(&["secrets"], &[file::kms("a")]),
        file::rule(&["pods"], &[v1]),
        file::rule(&["configmaps"], &[provider("aesgcm", &[("key1", 1)])]),
        file::rule(&["services"], &[file::identity()]),
    ]);
    let plugins = || [("a", Plugin::new("key-1")), ("old", Plugin::new("kek"))];
    let mut h = Harness::new(maker, &file, &read_only(), plugins());
    for resource in ["secrets", "pods", "configmaps", "services", "nodes"] {
        let error = h.try_write(resource, "/k", b"plaintext").unwrap_err();
        assert_eq!((error.kind, error.grpc_code), (ErrorKind::ReadOnly, None), "{resource}");
        assert!(error.message.starts_with("this engine is read-only: "), "{error}");
    }
    h.advance_secs(61);
    for name in ["a", "old"] {
        let Calls { status: _, encrypt, decrypt } = h.plugin(name).calls;
        assert_eq!((encrypt, decrypt), (0, 0), "{name}");
    }
    let operations = "apiserver_storage_transformation_operations_total";
    let to_storage = [("transformation_type", "to_storage")];
    assert_eq!(h.metric(operations, &to_storage), 0.0, "no transformer was asked");
    // Reads of local values and of plaintext work.
    let mut writer = Harness::new(maker, &file, &Options::default(), plugins());
    for resource in ["configmaps", "services", "nodes"] {
        let stored = writer.try_write(resource, "/k", b"plaintext").expect("a write");
        let read = h.try_read(resource, "/k", &stored).expect("a read");
        assert_eq!((&*read.plaintext, read.state), (&b"plaintext"[..], Some(ValueState::Fresh)));
    }
}

pub(super) fn state_in_a_read_only_engine_follows_status(maker: &dyn Maker) {
    use ValueState::{Fresh, OtherSource, Stale};
    for (options, same) in [(Options::default(), Fresh), (seeds(), OtherSource)] {
        let stored = value(maker, &Options::default(), b"plaintext");
        let mut h = reader(maker, &Options { read_only: true, ..options }, |_| ());
        let state = |h: &mut Harness| h.read("/k", &stored).state;
        assert_eq!(state(&mut h), Some(same));
        h.plugin("a").key_id = "key-2".into();
        assert_eq!(state(&mut h), Some(same), "Status has not said so yet");
        h.advance_secs(60);
        assert_eq!(state(&mut h), Some(Stale), "a write would use another key");
        h.plugin("a").key_id = "key-1".into();
        h.plugin("a").healthz = "tired".into();
        h.advance_secs(60);
        assert_eq!(state(&mut h), Some(Stale), "only a healthy answer counts");
        h.plugin("a").healthz = "ok".into();
        h.advance_secs(60);
        assert_eq!(state(&mut h), Some(same));
        h.plugin("a").down();
        h.advance_secs(300);
        assert_eq!(state(&mut h), Some(same), "the last answer counts");
        assert_eq!(h.plugin("a").calls.encrypt, 0);
    }
    let stored = value(maker, &Options::default(), b"plaintext");
    let upstream = Options { coast: Coast::Upstream, ..read_only() };
    let mut h = reader(maker, &upstream, |plugin| plugin.healthz = "tired".into());
    assert_eq!(h.read("/k", &stored).state, Some(Fresh), "its key ID counts, as in kube-apiserver");
}

pub(super) fn health_of_a_read_only_engine_is_that_of_status(maker: &dyn Maker) {
    let mut h = reader(maker, &read_only(), |plugin| {
        plugin.on_encrypt(|_| Reply::Fail(7, "this plugin encrypts nothing"));
    });
    assert_eq!(h.fault(), None, "Encrypt is of no interest");
    h.plugin("a").healthz = "tired".into();
    h.advance_secs(60);
    assert_eq!(
        h.fault().expect("an unhealthy answer"),
        "kms-provider-0: kmsv2 Provider a is not healthy, error: got unexpected healthz status: tired"
    );
    h.plugin("a").down();
    h.advance_secs(3);
    assert_eq!(
        h.fault().expect("no answer"),
        "kms-provider-0: failed to perform status section of the healthz check for KMS Provider a, error: rpc error: code = Unavailable desc = connection refused"
    );
    h.plugin("a").up();
    h.plugin("a").healthz = "ok".into();
    h.advance_secs(3);
    assert_eq!(h.fault(), None);
    assert_eq!(h.plugin("a").calls.encrypt, 0);
}

pub(super) fn status_of_a_read_only_engine_has_no_write_dek(maker: &dyn Maker) {
    let mut h = reader(maker, &read_only(), |plugin| plugin.healthz = "tired".into());
    let status = h.status();
    assert_eq!(status["readOnly"], true);
    let provider = &status["kmsProviders"][0];
    assert_eq!((&provider["healthy"], &provider["writeDek"]), (&false.into(), &Value::Null));
    let error = provider["lastStatus"]["error"].as_str().expect("an error");
    assert!(error.ends_with("got unexpected healthz status: tired"), "{error}");
    assert_eq!(provider["nextStatus"], "2026-01-02T03:04:15Z");
}

pub(super) fn read_only_engine_takes_a_file_whose_plugins_are_unhealthy(maker: &dyn Maker) {
    let stored = value(maker, &Options::default(), b"plaintext");
    let mut b = Plugin::new("key-b");
    b.on_status(|_| Reply::Fail(14, "connection refused"));
    let plugins = [("a", Plugin::new("key-1")), ("b", b)];
    let options = Options { reload: true, ..read_only() };
    let mut h = Harness::new(maker, &file::secrets(), &options, plugins);
    let both = file::secrets_with(&[file::kms("b"), file::kms("a")]);
    h.reload(&both).expect("valid");
    assert_eq!(h.reloads, [Ok(())], "no Status is demanded");
    assert_eq!(h.status()["configHash"], sha256_text(&both));
    assert_eq!(h.read("/k", &stored).state, Some(ValueState::Stale), "a later provider");
    h.advance_secs(1);
    assert_eq!(h.plugin("b").calls.status, 1, "the new plugin is polled");
    h.reload("nonsense").expect_err("not a configuration");
    assert_eq!(h.status()["configHash"], sha256_text(&both));
    h.reload(&file::secrets_with(&[file::kms("b")])).expect("valid");
    h.settle();
    assert_eq!(h.closed.len(), 1, "the plugin that is no longer named");
    for name in ["a", "b"] {
        assert_eq!(h.plugin(name).calls.encrypt, 0, "{name}");
    }
}

pub(super) fn read_only_engine_replaces_nothing_after_a_restore(maker: &dyn Maker) {
    let stored = value(maker, &Options::default(), b"plaintext");
    let mut h = reader(maker, &read_only(), |_| ());
    h.report(Event::Restored);
    assert!(h.logs.is_empty(), "there is no write DEK to be replaced: {:?}", h.logs);
    assert_eq!(h.read("/k", &stored).state, Some(ValueState::Fresh));
    assert_eq!(h.plugin("a").calls, Calls { status: 1, encrypt: 0, decrypt: 1 });
}

pub(super) fn kms_v1_in_a_read_only_engine_is_never_probed(maker: &dyn Maker) {
    let v1 = "kms: {apiVersion: v1, name: old, endpoint: 'unix:///run/old.sock'}".to_string();
    let file = file::secrets_with(&[v1]);
    let harness =
        |options: &Options| Harness::new(maker, &file, options, [("old", Plugin::new("kek"))]);
    let mut writer = harness(&Options::default());
    let mut write = || {
        let op = writer.begin_write("secrets", "/k", b"plaintext");
        writer.settle();
        writer.written(op).expect("an answer").expect("a write").stored
    };
    let (first, second) = (write(), write());
    for reload in [false, true] {
        let mut h = harness(&Options { reload, ..read_only() });
        assert_eq!(h.fault(), None, "nothing is known against the plugin");
        let read = h.read("/k", &first);
        assert_eq!((&*read.plaintext, read.state), (&b"plaintext"[..], Some(ValueState::Fresh)));
        h.advance_secs(300);
        assert_eq!(h.fault(), None);
        assert_eq!(h.plugin("old").calls, Calls { status: 0, encrypt: 0, decrypt: 1 });
        h.plugin("old").down();
        let error = h.try_read("secrets", "/k", &second).unwrap_err();
        assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(14)));
        h.advance_secs(300);
        let fault = h.fault().expect("its last Decrypt failed");
        let expected = "the last Decrypt of KMS provider old failed, error: rpc error: code = Unavailable desc = connection refused";
        assert!(fault.ends_with(expected), "{fault}");
        h.plugin("old").up();
        h.read("/k", &second);
        assert_eq!(h.fault(), None);
        assert_eq!(h.plugin("old").calls, Calls { status: 0, encrypt: 0, decrypt: 3 });
    }
}

pub(super) fn read_only_engine_never_encrypts_however_long_it_runs(maker: &dyn Maker) {
    let stored = value(maker, &Options::default(), b"plaintext");
    let options = Options { reload: true, ..read_only() };
    let mut h = reader(maker, &options, |_| ());
    for minute in 0..60 {
        // Each of these makes an ordinary engine create a new DEK.
        h.plugin("a").key_id = format!("key-{}", minute % 3);
        h.plugin("a").version = if minute % 7 < 3 { "v2" } else { "v2beta1" }.into();
        h.plugin("a").healthz = if minute % 5 == 4 { "tired" } else { "ok" }.into();
        h.advance_secs(60);
        h.begin_health();
        h.report(Event::Restored);
        h.try_write("secrets", "/k", b"x").expect_err("read-only");
        assert_eq!(h.read("/k", &stored).plaintext, b"plaintext");
    }
    let Calls { status, encrypt, decrypt } = h.plugin("a").calls;
    assert!(status >= 60, "{status}");
    assert_eq!((encrypt, decrypt), (0, 1));
    assert!(h.plugin("a").seen.is_empty(), "no DEK was made");
}
