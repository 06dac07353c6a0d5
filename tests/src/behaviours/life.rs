//! The life of a write DEK: priming, polling, expiry, coasting, rotation.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use dekker_core::ErrorKind;
use dekker_core::engine::Options;
use dekker_core::engine::event::{Event, LogLevel};
use dekker_core::provider::kms::v2::key_state::Coast;
use dekker_core::time::Timestamp;

use super::writing::seeds;
use crate::face::Maker;
use crate::object::{EncryptedObject, Stored, sha256_text};
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, START, file};

const MS: Duration = Duration::from_millis(1);

fn slow(delay: u64) -> Plugin {
    let mut plugin = Plugin::new("key-1");
    plugin.delay = Duration::from_millis(delay);
    plugin
}

pub(super) fn operations_park_until_the_first_probe_ends(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let mut h = Harness::seeded(maker, &file::secrets(), &Options::default(), [("a", slow(10))], 2);
    let write = h.begin_write("secrets", "/k", b"plaintext");
    let read = h.begin_read("secrets", "/k", &value);
    let health = h.begin_health();
    let other = h.begin_read("secrets", "/k", b"plaintext");
    assert!(h.was_read(other).is_some(), "operations that need no plugin do not wait");
    // The Status, the Encrypt, and the Decrypt of the new DEK take 10 ms each. Then the read requests the DEK of the value that it reads.
    h.advance(Duration::from_millis(29));
    assert!(
        h.written(write).is_none() && h.was_read(read).is_none() && h.checked(health).is_none()
    );
    h.advance(MS);
    assert!(h.written(write).expect("woken").is_ok());
    assert_eq!(h.checked(health).expect("woken")[0].fault, None);
    h.advance(Duration::from_millis(10));
    assert!(!h.was_read(read).expect("woken").expect("a read").stale);
    assert_eq!(h.plugin("a").calls.status, 1);
}

pub(super) fn operations_fail_after_a_failed_first_probe_until_one_succeeds(maker: &dyn Maker) {
    let value = Harness::primed(maker).write("/k", b"plaintext");
    let mut h = Harness::seeded(maker, &file::secrets(), &Options::default(), [("a", slow(10))], 2);
    h.plugin("a").down();
    h.plugin("a").on_status(|_| Reply::Fail(14, "connection refused"));
    let write = h.begin_write("secrets", "/k", b"plaintext");
    let read = h.begin_read("secrets", "/k", &value);
    // The call that was already under way gets a good answer; the Encrypt after it fails.
    h.advance_secs(1);
    for error in [
        h.written(write).expect("woken").unwrap_err(),
        h.was_read(read).expect("woken").unwrap_err(),
    ] {
        assert_eq!(error.kind, ErrorKind::NotReady);
        assert!(
            error.message.starts_with("KMS provider a has had no successful Status yet: "),
            "{error}"
        );
    }
    let error = h.try_write("secrets", "/k", b"plaintext").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotReady, "not parked again");
    h.plugin("a").up();
    h.plugin("a").delay = Duration::ZERO;
    h.advance_secs(10);
    assert_eq!(h.read("/k", &value).plaintext, b"plaintext");
    h.write("/k", b"plaintext");
}

pub(super) fn plugin_is_polled_every_60_seconds_or_every_10_while_unhealthy(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let polls = |h: &mut Harness, seconds: u64, steps: u64| {
        let before = h.plugin("a").calls.status;
        h.advance(Duration::from_secs(seconds) - MS);
        assert_eq!(h.plugin("a").calls.status - before, steps as usize - 1, "a millisecond early");
        h.advance(MS);
        assert_eq!(h.plugin("a").calls.status - before, steps as usize);
    };
    polls(&mut h, 60, 1);
    polls(&mut h, 180, 3);
    h.plugin("a").healthz = "tired".into();
    polls(&mut h, 60, 1);
    polls(&mut h, 10, 1);
    polls(&mut h, 50, 5);
    h.plugin("a").healthz = "ok".into();
    polls(&mut h, 10, 1);
    polls(&mut h, 60, 1);
    let expected = h.now + Duration::from_secs(60);
    assert_eq!(h.face.poll_timeout(), Some(expected));
}

pub(super) fn poll_interval_begins_at_the_answer(maker: &dyn Maker) {
    let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", slow(1000))]);
    h.advance_secs(3);
    assert_eq!(h.face.poll_timeout(), Some(START + Duration::from_secs(63)));
}

pub(super) fn writes_end_three_minutes_after_the_last_good_status_was_sent(maker: &dyn Maker) {
    let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", slow(500))]);
    h.advance(Duration::from_millis(1500));
    // The next poll is sent at 61.5 s. The three minutes begin when it is sent, not when it is answered.
    h.advance_secs(60);
    h.plugin("a").down();
    h.advance(Duration::from_millis(500));
    h.plugin("a").delay = Duration::ZERO;
    let expiry = Timestamp::from_millis(START.as_millis() + 61_500 + 180_000);
    h.advance(expiry.since(h.now));
    let last = h.write("/k", b"in time");
    h.advance(MS);
    let error = h.try_write("secrets", "/k", b"late").unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotReady);
    let expected = format!(
        "encryptedDEKSource with keyID hash \"{}\" expired at 2026-01-02T03:08:06Z (current time is 2026-01-02T03:08:06Z)",
        sha256_text("key-1")
    );
    assert_eq!(error.message, expected);
    assert_eq!(h.read("/k", &last).plaintext, b"in time", "reads never end");
}

pub(super) fn expired_dek_writes_again_after_one_good_status(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let counter = |value: &[u8]| EncryptedObject::of("a", value).counter();
    let first = counter(&h.write("/k", b"x"));
    h.plugin("a").down();
    h.advance_secs(600);
    assert!(h.try_write("secrets", "/k", b"x").is_err());
    h.plugin("a").up();
    h.advance_secs(10);
    assert_eq!(counter(&h.write("/k", b"x")), first + 1, "the same DEK, its counter where it was");
    assert_eq!(h.plugin("a").calls.encrypt, 1);
}

pub(super) fn failed_rotation_coasts_on_the_old_dek(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let old = EncryptedObject::of("a", &h.write("/k", b"x")).encrypted_dek_source;
    h.plugin("a").key_id = "key-2".into();
    h.plugin("a").on_encrypt(|_| Reply::Fail(13, "no"));
    // Status stays good, but the old DEK's expiry does not move, because its key ID is no longer the current one.
    h.advance_secs(180);
    let coasting = EncryptedObject::of("a", &h.write("/k", b"x"));
    assert_eq!((&coasting.encrypted_dek_source, &*coasting.key_id), (&old, "key-1"));
    assert!(!h.read("/k", &coasting.stored("a")).stale);
    let fault = h.fault().expect("unhealthy");
    let expected = [
        "kmsv2 Provider a is not healthy, error: failed to rotate DEK uid=\"",
        "\", useSeed=false, errState=<nil>, errGen=failed to encrypt DEK, error: rpc error: code = Internal desc = no, statusKeyIDHash=\"",
        &sha256_text("key-2"),
        "\", encryptKeyIDHash=\"\", stateKeyIDHash=\"",
        &sha256_text("key-1"),
        "\", expirationTimestamp=2026-01-02T03:07:05Z",
    ];
    assert!(expected.iter().all(|part| fault.contains(part)), "{fault}");
    h.advance(MS);
    assert_eq!(h.try_write("secrets", "/k", b"x").unwrap_err().kind, ErrorKind::NotReady);
    h.plugin("a").up();
    h.advance_secs(10);
    assert_eq!(EncryptedObject::of("a", &h.write("/k", b"x")).key_id, "key-2");
}

pub(super) fn dek_rotates_when_status_and_encrypt_agree(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let old = EncryptedObject::of("a", &h.write("/k", b"x"));
    h.plugin("a").key_id = "key-2".into();
    // Status is ahead of Encrypt, as with two replicas.
    h.plugin("a").on_encrypt(|mut answer| {
        answer.key_id = "key-1".into();
        Reply::Answer(answer)
    });
    h.advance_secs(60);
    assert_eq!(
        EncryptedObject::of("a", &h.write("/k", b"x")).encrypted_dek_source,
        old.encrypted_dek_source
    );
    let fault = h.fault().expect("unhealthy");
    let hashes = format!(
        "errGen=<nil>, statusKeyIDHash=\"{}\", encryptKeyIDHash=\"{}\"",
        sha256_text("key-2"),
        sha256_text("key-1")
    );
    assert!(fault.contains(&hashes), "{fault}");
    h.plugin("a").up();
    h.advance_secs(10);
    let new = EncryptedObject::of("a", &h.write("/k", b"x"));
    assert_eq!(
        (&*new.key_id, new.counter()),
        ("key-2", 1_000_000_001),
        "a new DEK counts from the start"
    );
    assert_ne!(new.encrypted_dek_source, old.encrypted_dek_source);
    let rotated = h.logs.iter().rfind(|line| line.level == LogLevel::Info).expect("a log line");
    assert!(rotated.message.contains(&sha256_text("key-2")), "{rotated:?}");
    assert_eq!(rotated.provider.as_deref(), Some("a"));
}

pub(super) fn seed_rotates_as_a_key_does(maker: &dyn Maker) {
    let mut h = Harness::new(maker, &file::secrets(), &seeds(), [("a", Plugin::new("key-1"))]);
    let old = h.write("/k", b"x");
    h.advance_secs(600);
    assert_eq!(h.plugin("a").calls.encrypt, 1);
    h.plugin("a").key_id = "key-2".into();
    h.advance_secs(60);
    assert_eq!(h.plugin("a").calls.encrypt, 2);
    assert!(h.read("/k", &old).stale);
    h.plugin("a").on_encrypt(|_| Reply::Fail(13, "no"));
    h.plugin("a").key_id = "key-3".into();
    h.advance_secs(60);
    assert!(h.fault().expect("unhealthy").contains("useSeed=true"));
}

pub(super) fn unhealthy_answer_extends_the_life_only_if_coasting_as_upstream(maker: &dyn Maker) {
    for (coast, writes) in [(Coast::Strict, false), (Coast::Upstream, true)] {
        let options = Options { coast, ..Options::default() };
        let mut h = Harness::new(maker, &file::secrets(), &options, [("a", Plugin::new("key-1"))]);
        h.plugin("a").healthz = "tired".into();
        h.advance_secs(60);
        assert_eq!(
            h.fault().expect("unhealthy"),
            "kms-provider-0: kmsv2 Provider a is not healthy, error: got unexpected healthz status: tired"
        );
        h.advance_secs(180);
        assert_eq!(h.try_write("secrets", "/k", b"x").is_ok(), writes, "{coast:?}");
        h.plugin("a").key_id = "key-2".into();
        h.advance_secs(10);
        let rotated = h.plugin("a").calls.encrypt == 2;
        assert_eq!(rotated, writes, "{coast:?}: nor does it rotate");
    }
}

pub(super) fn new_dek_that_does_not_decrypt_is_never_used(maker: &dyn Maker) {
    type Hook = fn(Vec<u8>) -> Reply<Vec<u8>>;
    let table: [(&str, Hook, &str); 4] = [
        (
            "to different bytes",
            |mut dek| {
                dek[0] ^= 1;
                Reply::Answer(dek)
            },
            "errGen=the plugin decrypted the new DEK to different bytes; the DEK is not used",
        ),
        (
            "to fewer bytes",
            |dek| Reply::Answer(dek[1..].to_vec()),
            "errGen=the plugin decrypted the new DEK to different bytes",
        ),
        (
            "not at all",
            |_| Reply::Fail(5, "no such key"),
            "errGen=the plugin could not decrypt the new DEK, which is not used, error: rpc error: code = NotFound desc = no such key",
        ),
        (
            "not in time",
            |_| Reply::Never,
            "errGen=the plugin could not decrypt the new DEK, which is not used, error: rpc error: code = DeadlineExceeded desc = context deadline exceeded",
        ),
    ];
    for (desc, hook, message) in table {
        let mut h = Harness::primed(maker);
        h.plugin("a").key_id = "key-2".into();
        h.plugin("a").on_decrypt(hook);
        h.advance_secs(64);
        assert_eq!(EncryptedObject::of("a", &h.write("/k", b"x")).key_id, "key-1", "{desc}");
        let kept = h.status()["kmsProviders"][0]["lastStatus"]["error"].to_string();
        assert!(kept.replace("\\\"", "\"").contains(message), "{desc}: {kept}");
        let mut first = Plugin::new("key-1");
        first.on_decrypt(hook);
        let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", first)]);
        h.advance_secs(5);
        let error = h.try_write("secrets", "/k", b"x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotReady, "{desc}: nor as the first");
    }
}

pub(super) fn write_dek_is_replaced_after_a_restore_before_the_next_write(maker: &dyn Maker) {
    for options in [Options::default(), seeds()] {
        let mut h = Harness::new(maker, &file::secrets(), &options, [("a", slow(10))]);
        h.advance_secs(1);
        let before = h.write("/k", b"before");
        h.report(Event::Restored);
        let write = h.begin_write("secrets", "/k", b"after");
        assert_eq!(h.read("/k", &before).plaintext, b"before", "reads do not wait");
        h.advance(Duration::from_millis(29));
        assert!(h.written(write).is_none(), "not with the old DEK");
        h.advance(MS);
        let after = h.written(write).expect("woken").expect("a write");
        let dek = |stored: &[u8]| EncryptedObject::of("a", stored).encrypted_dek_source;
        assert_ne!(dek(&before), dek(&after.stored));
        let calls = &h.plugin("a").calls;
        assert_eq!((calls.status, calls.encrypt), (2, 2), "{options:?}");
        assert!(
            h.logs
                .iter()
                .any(|line| line.level == LogLevel::Warn && line.message.contains("restored"))
        );
        let read = h.read("/k", &before);
        assert_eq!((&*read.plaintext, read.stale), (&b"before"[..], false));
        assert_eq!(h.read("/k", &after.stored).plaintext, b"after");
        assert_eq!(h.plugin("a").calls.decrypt, 2, "both DEKs are cached");
    }
}

pub(super) fn unfinished_dek_at_a_restore_is_never_used(maker: &dyn Maker) {
    // The snapshot is taken while the first DEK is being made: before its Status, its Encrypt or its Decrypt is answered.
    for answered in 0..3 {
        let mut h = Harness::new(maker, &file::secrets(), &Options::default(), [("a", slow(10))]);
        let made = Rc::new(RefCell::new(Vec::new()));
        let seen = made.clone();
        h.plugin("a").on_encrypt(move |answer| {
            seen.borrow_mut().push(answer.ciphertext.clone());
            Reply::Answer(answer)
        });
        h.advance(Duration::from_millis(10 * answered + 5));
        let before = made.borrow().len();
        h.report(Event::Restored);
        let write = h.begin_write("secrets", "/k", b"x");
        h.advance(Duration::from_millis(30));
        let written = h.written(write).expect("woken").expect("a write");
        let used = EncryptedObject::of("a", &written.stored).encrypted_dek_source;
        assert!(
            made.borrow()[before..].contains(&used),
            "{answered} answered: one of those made since"
        );
        assert_eq!(h.read("/k", &written.stored).plaintext, b"x");
    }
}

pub(super) fn writes_after_a_restore_are_refused_while_the_plugin_is_down(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let before = h.write("/k", b"before");
    h.plugin("a").down();
    h.report(Event::Restored);
    // The old DEK has more than two minutes left and would otherwise stay in use.
    for _ in 0..4 {
        let error = h.try_write("secrets", "/k", b"x").unwrap_err();
        assert_eq!(error.kind, ErrorKind::NotReady, "{error}");
        assert!(error.message.contains("expired at"), "{error}");
        assert_eq!(h.read("/k", &before).plaintext, b"before");
        h.advance_secs(5);
    }
    h.plugin("a").up();
    h.advance_secs(10);
    let after = h.write("/k", b"after");
    let dek = |stored: &[u8]| EncryptedObject::of("a", stored).encrypted_dek_source;
    assert_ne!(dek(&before), dek(&after));
}
