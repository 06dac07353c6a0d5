//! The process, the machine or the tab slept: time has passed without a call to the engine.

use std::time::Duration;

use dekker_core::ErrorKind;
use dekker_core::engine::event::{CallError, Event, StatusResponse};
use dekker_core::engine::{Options, PARKED_MAX};

use crate::face::Maker;
use crate::object::{EncryptedObject, Stored};
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

/// Longer than a write DEK lives without a poll.
const LONG: Duration = Duration::from_secs(240);

/// Lets time pass without calling the engine.
fn sleep(h: &mut Harness, duration: Duration) {
    h.now = h.now + duration;
}

fn expired(h: &mut Harness, op: u64) {
    let error = h.written(op).expect("an answer").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotReady);
    assert!(error.message.contains(" expired at "), "{error}");
}

/// A harness that slept while its plugin left a poll unanswered.
fn asleep_during_a_poll(maker: &dyn Maker) -> Harness {
    let mut h = Harness::primed(maker);
    h.plugin("a").hang();
    h.advance_secs(60);
    assert_eq!(h.plugin("a").calls.status, 2);
    sleep(&mut h, LONG);
    h.plugin("a").up();
    h
}

pub(super) fn write_after_a_sleep_waits_for_the_overdue_poll(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let before = EncryptedObject::of("a", &h.write("/k", b"x"));
    h.plugin("a").delay = Duration::from_millis(10);
    sleep(&mut h, LONG);
    let op = h.begin_write("secrets", "/k", b"x");
    assert!(h.written(op).is_none(), "it waits");
    h.advance(Duration::from_millis(10));
    let stored = h.written(op).expect("woken").expect("a write").stored;
    let after = EncryptedObject::of("a", &stored);
    assert_eq!(
        (after.encrypted_dek_source.clone(), after.counter()),
        (before.encrypted_dek_source.clone(), before.counter() + 1)
    );
    let calls = h.plugin("a").calls;
    assert_eq!((calls.status, calls.encrypt), (2, 1));
}

pub(super) fn write_during_a_probe_waits_for_its_end(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").delay = Duration::from_millis(10);
    sleep(&mut h, LONG);
    let health = h.begin_health();
    let write = h.begin_write("secrets", "/k", b"x");
    assert!(h.written(write).is_none());
    h.advance(Duration::from_millis(10));
    assert!(h.written(write).expect("woken").is_ok());
    assert_eq!(h.checked(health).expect("woken")[0].fault, None);
    assert_eq!(h.plugin("a").calls.status, 2, "one probe for both");
}

pub(super) fn write_fails_at_once_when_the_plugin_was_just_asked(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").down();
    h.advance_secs(600);
    let calls = h.plugin("a").calls;
    let op = h.begin_write("secrets", "/k", b"x");
    expired(&mut h, op);
    assert_eq!(h.plugin("a").calls, calls, "no plugin was called again");
}

pub(super) fn operation_waits_for_at_most_one_answer(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").down();
    h.plugin("a").delay = Duration::from_millis(10);
    sleep(&mut h, LONG);
    let op = h.begin_write("secrets", "/k", b"x");
    assert!(h.written(op).is_none());
    h.advance(Duration::from_millis(10));
    expired(&mut h, op);
    assert_eq!(h.plugin("a").calls.status, 2);

    let mut h = Harness::primed(maker);
    h.plugin("a").hang();
    sleep(&mut h, LONG);
    let op = h.begin_write("secrets", "/k", b"x");
    h.advance(Duration::from_millis(2999));
    assert!(h.written(op).is_none());
    h.advance(Duration::from_millis(1));
    expired(&mut h, op);
}

pub(super) fn probe_from_before_a_sleep_is_discarded(maker: &dyn Maker) {
    let mut h = asleep_during_a_poll(maker);
    let op = h.begin_write("secrets", "/k", b"x");
    h.advance(Duration::ZERO);
    assert!(h.written(op).expect("woken").is_ok());
    assert_eq!(h.plugin("a").calls.status, 3);

    // The host slept too, and is the first to report that the call has failed.
    let mut h = asleep_during_a_poll(maker);
    let (call, _, _) = *h.placed.last().expect("a call");
    let outcome = Err(CallError::deadline_exceeded());
    h.report(Event::Status { call, outcome });
    h.write("/k", b"x");
    assert_eq!(h.plugin("a").calls.status, 3);
}

pub(super) fn good_answer_that_is_too_late_is_requested_again(maker: &dyn Maker) {
    let mut h = asleep_during_a_poll(maker);
    let (call, _, _) = *h.placed.last().expect("a call");
    let outcome =
        Ok(StatusResponse { version: "v2".into(), healthz: "ok".into(), key_id: "key-1".into() });
    h.report(Event::Status { call, outcome });
    assert_eq!(h.face.poll_timeout(), Some(h.now), "the answer is too old");
    h.write("/k", b"x");
    assert_eq!(h.plugin("a").calls.status, 3);
}

pub(super) fn operations_wait_for_the_first_dek_when_its_poll_is_overdue(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"x");
    let mut plugin = Plugin::new("key-1");
    plugin.down();
    let secrets = file::secrets();
    let mut h = Harness::seeded(maker, &secrets, &Options::default(), [("a", plugin)], 2);
    h.advance_secs(5);
    let error = h.try_write("secrets", "/k", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotReady, "its poll is not due");
    h.plugin("a").up();
    sleep(&mut h, LONG);
    let read = h.begin_read("secrets", "/k", &value);
    let write = h.begin_write("secrets", "/k", b"x");
    h.advance(Duration::ZERO);
    assert_eq!(h.was_read(read).expect("woken").expect("a read").plaintext, b"x");
    assert!(h.written(write).expect("woken").is_ok());
    assert_eq!(h.plugin("a").calls.status, 2);
}

pub(super) fn read_after_a_sleep_does_not_wait_for_an_earlier_call(maker: &dyn Maker) {
    let secrets = file::secrets();
    let plugins = [("a", Plugin::new("key-1"))];
    let foreign =
        Harness::seeded(maker, &secrets, &Options::default(), plugins, 9).write("/k", b"x");
    let mut h = Harness::primed(maker);
    h.plugin("a").on_decrypt(|_| Reply::Never);
    let before = h.begin_read("secrets", "/k", &foreign);
    sleep(&mut h, LONG);
    h.plugin("a").up();
    assert_eq!(h.read("/k", &foreign).plaintext, b"x");
    h.advance(Duration::ZERO);
    let error = h.was_read(before).expect("ended").unwrap_err();
    assert_eq!(error.grpc_code, Some(4), "its own call was not answered");
    assert_eq!(h.read("/k", &foreign).plaintext, b"x");
}

pub(super) fn malformed_value_after_a_sleep_fails_at_once(maker: &dyn Maker) {
    let mut h = asleep_during_a_poll(maker);
    let read = h.begin_read("secrets", "/k", b"k8s:enc:kms:v2:a:\xff");
    let error = h.was_read(read).expect("no answer of the plugin can help").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Malformed);
}

pub(super) fn health_after_a_sleep_is_the_plugins_current_health(maker: &dyn Maker) {
    let mut h = asleep_during_a_poll(maker);
    assert_eq!(h.fault(), None);
    assert_eq!(h.plugin("a").calls.status, 3);
}

pub(super) fn waiting_writes_are_bounded(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").hang();
    sleep(&mut h, LONG);
    let ops: Vec<_> = (0..PARKED_MAX).map(|_| h.begin_write("secrets", "/k", b"x")).collect();
    let error = h.try_write("secrets", "/k", b"x").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Overloaded);
    h.advance_secs(3);
    for op in ops {
        expired(&mut h, op);
    }
}
