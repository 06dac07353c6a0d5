//! The KMS checks of `/healthz`.

use std::time::Duration;

use dekker_core::engine::Options;
use dekker_core::engine::event::Check;

use crate::face::Maker;
use crate::plugin::{Plugin, Reply};
use crate::sim::{Harness, file};

const MS: Duration = Duration::from_millis(1);

fn check(fault: Option<&str>) -> Vec<Check> {
    vec![Check { name: "kms-providers".into(), fault: fault.map(Into::into) }]
}

pub(super) fn checks_collapse_into_one(maker: &dyn Maker) {
    let plain = file::secrets_with(&[file::identity()]);
    let table = [
        ("KMS v2, no reload", file::secrets(), false, check(None)),
        ("KMS v2, reload", file::secrets(), true, check(None)),
        ("no KMS, reload", plain.clone(), true, check(None)),
        ("no KMS, no reload", plain, false, vec![]),
    ];
    for (desc, file, reload, expected) in table {
        let options = Options { reload, ..Options::default() };
        let mut h = Harness::new(maker, &file, &options, [("a", Plugin::new("key-1"))]);
        assert_eq!(h.health(), expected, "{desc}");
    }
}

pub(super) fn collapsed_check_names_each_unhealthy_provider(maker: &dyn Maker) {
    let plugins = ["a", "b", "c"].map(|name| (name, Plugin::new(name)));
    let list = ["a", "b", "c"].map(file::kms);
    let mut h = Harness::new(maker, &file::secrets_with(&list), &Options::default(), plugins);
    h.plugin("a").healthz = "tired".into();
    h.plugin("c").version = "v9".into();
    h.advance_secs(20);
    let expected = "[kms-provider-0: kmsv2 Provider a is not healthy, error: got unexpected healthz status: tired, \
                    kms-provider-2: kmsv2 Provider c is not healthy, error: expected KMSv2 API version v2, got v9]";
    assert_eq!(h.health(), check(Some(expected)));
}

pub(super) fn good_answer_is_used_again_for_20_seconds(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").healthz = "tired".into();
    h.advance(Duration::from_secs(20) - MS);
    assert_eq!(h.health(), check(None));
    assert_eq!(h.plugin("a").calls.status, 1);
    h.advance(MS);
    assert_ne!(h.health(), check(None));
    assert_eq!(h.plugin("a").calls.status, 2);
}

pub(super) fn bad_answer_is_used_again_for_3_seconds(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").healthz = "tired".into();
    h.advance_secs(20);
    assert_ne!(h.health(), check(None));
    h.plugin("a").healthz = "ok".into();
    h.advance(Duration::from_secs(3) - MS);
    assert_ne!(h.health(), check(None));
    assert_eq!(h.plugin("a").calls.status, 2);
    h.advance(MS);
    assert_eq!(h.health(), check(None));
    assert_eq!(h.plugin("a").calls.status, 3);
}

pub(super) fn failed_status_is_shown_without_prefix_when_it_is_used_again(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.plugin("a").down();
    h.advance_secs(20);
    let bare = "rpc error: code = Unavailable desc = connection refused";
    let first = format!(
        "kms-provider-0: failed to perform status section of the healthz check for KMS Provider a, error: {bare}"
    );
    assert_eq!(h.health(), check(Some(&first)));
    // Upstream wraps the error for the caller that asked and keeps it bare for those after it.
    assert_eq!(h.health(), check(Some(&format!("kms-provider-0: {bare}"))));
    h.advance_secs(3);
    assert_eq!(h.health(), check(Some(&first)));
}

pub(super) fn health_check_is_a_poll(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    let value = h.write("/k", b"x");
    h.plugin("a").key_id = "key-2".into();
    h.advance_secs(20);
    assert_eq!(h.health(), check(None));
    assert!(h.read("/k", &value).stale, "it rotated the DEK");
    let next = h.now + Duration::from_secs(60);
    assert_eq!(h.face.poll_timeout(), Some(next), "and the next poll is a minute later");
}

pub(super) fn concurrent_health_checks_share_one_probe(maker: &dyn Maker) {
    let mut h = Harness::primed(maker);
    h.advance_secs(20);
    h.plugin("a").delay = Duration::from_millis(100);
    h.plugin("a").on_status(|_| Reply::Fail(14, "gone"));
    let ops: Vec<_> = (0..10).map(|_| h.begin_health()).collect();
    assert_eq!(h.checked(ops[0]), None, "parked");
    h.advance(Duration::from_millis(100));
    for op in ops {
        let checks = h.checked(op).expect("woken");
        assert!(checks[0].fault.as_deref().is_some_and(|fault| fault.ends_with("desc = gone")));
    }
    assert_eq!(h.plugin("a").calls.status, 2);
}

pub(super) fn health_check_waits_for_the_slowest_provider(maker: &dyn Maker) {
    let mut slow = Plugin::new("b");
    slow.hang();
    let plugins = [("a", Plugin::new("a")), ("b", slow)];
    let list = [file::kms("a"), file::kms_at("b", "unix:///run/b.sock", "500ms")];
    let mut h = Harness::new(maker, &file::secrets_with(&list), &Options::default(), plugins);
    let op = h.begin_health();
    h.advance(Duration::from_millis(499));
    assert_eq!(h.checked(op), None);
    h.advance(MS);
    let fault = "kms-provider-1: failed to perform status section of the healthz check for KMS Provider b, \
                 error: rpc error: code = DeadlineExceeded desc = context deadline exceeded";
    assert_eq!(h.checked(op), Some(check(Some(fault))));
}
