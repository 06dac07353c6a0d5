//! Health endpoints, body for body: the same plugins, the same file, both asked at once.

use dekker_tests::interop::Comparison;

use crate::peer::{Peer, play};
use crate::scripted::{Call, Scripted};
use crate::server::Server;
use crate::stage::{Stage, kms_config, plain_config};

const RELOAD: &str = "--encryption-provider-config-automatic-reload";

const PATHS: &[&str] = &[
    "/healthz/kms-providers",
    "/readyz/kms-providers",
    "/livez/kms-providers",
    "/livez",
    "/readyz",
    "/healthz",
    "/livez?verbose",
    "/readyz?verbose",
    "/healthz?verbose",
    "/healthz?verbose=false",
    "/healthz/",
    "/healthz/ping",
    "/livez/ping",
    "/healthz/kms-provider-0",
    "/healthz/kms-provider-1",
    "/healthz?exclude=kms-providers",
    "/healthz?exclude=kms-provider-0",
    "/readyz?verbose&exclude=kms-providers",
    "/readyz?verbose&exclude=ping&exclude=kms-providers",
    "/readyz?verbose&exclude=kms-provider-1&exclude=kms-provider-0&exclude=kms-provider-1",
    "/readyz?verbose&exclude=",
    "/livez?verbose&exclude=kms-providers",
    "/healthz?verbose&exclude=a%20b%22c",
    "/nowhere",
];

/// A body without what need not agree. The first answer after a failed Status says what was asked and later ones do not: which of the two
/// a request meets is a matter of 3 seconds. And gRPC has more words than one for a plugin that does not answer in time: the caller's, and those
/// of the plugin's own server, tonic, which gives up at the same moment.
fn comparable(body: &str) -> String {
    let mut text = body.to_owned();
    for provider in ["a", "b"] {
        text = text.replace(
            &format!("failed to perform status section of the healthz check for KMS Provider {provider}, error: "),
            "",
        );
    }
    text = text.replace(
        "code = Canceled desc = Timeout expired",
        "code = DeadlineExceeded desc = ",
    );
    let late = "rpc error: code = DeadlineExceeded desc = ";
    match text.split_once(late) {
        Some((before, after)) => {
            let rest = after.find([',', ']', '\n']).map_or("", |end| &after[end..]);
            format!("{before}{late}…{rest}")
        }
        None => text,
    }
}

struct Body {
    status: u16,
    body: String,
    headers: Vec<Option<String>>,
}

async fn compare(
    comparison: &mut Comparison,
    stage: &Stage,
    desc: &str,
    config: &str,
    reload: bool,
) {
    let args: &[&str] = if reload { &[RELOAD] } else { &[] };
    let server: Server = stage.serve_config(config, args).await;
    let mut peer = Peer::start();
    let file = stage.file("upstream.yaml", config);
    peer.load("health", &file, reload, &[]);
    for path in PATHS {
        let answer = server.get(path).await;
        let names = ["Content-Type", "X-Content-Type-Options"];
        let ours = Body {
            status: answer.status,
            body: comparable(&answer.text()),
            headers: names
                .map(|name| answer.header(name).map(str::to_owned))
                .into(),
        };
        let answer = peer.health("health", path);
        let upstream = Body {
            status: answer.status,
            body: comparable(&answer.body),
            headers: names.map(|name| answer.headers.get(name).cloned()).into(),
        };
        let shown = |it: &Body| format!("{} {:?} {:?}", it.status, it.body, it.headers);
        let what = format!(
            "{desc}, reload {}: {path}",
            if reload { "on" } else { "off" }
        );
        comparison.equal(&what, &shown(&ours), &shown(&upstream));
    }
    peer.close("health");
    server.stop().await;
}

#[test]
fn health_bodies_are_upstreams() {
    play("live health", async |stage| {
        let mut comparison = Comparison::default();
        let (a, b) = (stage.path("a.sock"), stage.path("b.sock"));
        let (first, second) = (Scripted::serve(&a, "key-1"), Scripted::serve(&b, "key-2"));
        let one = kms_config(&[("a", &a)]);
        let two = kms_config(&[("a", &a), ("b", &b)]);
        let nobody = kms_config(&[("a", &stage.path("nobody.sock"))]);
        for reload in [false, true] {
            compare(&mut comparison, &stage, "no KMS", &plain_config(), reload).await;
            compare(&mut comparison, &stage, "a healthy plugin", &one, reload).await;
            compare(&mut comparison, &stage, "two healthy plugins", &two, reload).await;
        }
        for (desc, key_id, healthz) in [
            ("ill", "key-2", "tired"),
            ("ill, with no words", "key-2", ""),
            ("no key ID", "", "ok"),
            ("a key ID that is too long", &*"k".repeat(1025), "ok"),
            ("ill and no key ID", "", "tired"),
        ] {
            second.script().key_id = key_id.into();
            second.script().healthz = healthz.into();
            compare(
                &mut comparison,
                &stage,
                &format!("the second of two: {desc}"),
                &two,
                false,
            )
            .await;
        }
        first.script().healthz = "tired, too".into();
        compare(&mut comparison, &stage, "both ill", &two, true).await;
        compare(&mut comparison, &stage, "the only one ill", &one, false).await;
        compare(&mut comparison, &stage, "nobody listens", &nobody, false).await;
        first.hang(Call::Status);
        compare(&mut comparison, &stage, "it hangs", &one, false).await;
        first.let_go();
        let faults = comparison.report("health bodies");
        assert!(faults.is_empty(), "{} mismatches", faults.len());
    });
}
