//! The health endpoints compared body for body: the same plugins, the same file, and both sides asked at once.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

use dekker_tests::interop::Comparison;

use crate::kms_v1::{Mood, PluginV1};
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
    "/readyz/kms-provider-2",
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

/// Returns a body without the parts that need not agree. The first answer after a failed call names the call and later ones do not; the answer that a
/// request gets depends on a period of 3 seconds. In addition, gRPC has more than one text for a plugin that does not answer in time: the caller's,
/// and that of the plugin's own server, tonic, which gives up at the same moment. The text of a socket that cannot be connected to must agree.
pub(crate) fn comparable(body: &str) -> String {
    let mut text = body.to_owned();
    for provider in ["a", "b", "c"] {
        for section in ["status", "encrypt", "decrypt"] {
            text = text.replace(
                &format!("failed to perform {section} section of the healthz check for KMS Provider {provider}, error: "),
                "",
            );
        }
    }
    text =
        text.replace("code = Canceled desc = Timeout expired", "code = DeadlineExceeded desc = ");
    let late = "rpc error: code = DeadlineExceeded desc = ";
    // Dekker has two clocks for one deadline. The one outside the client does not know that the version was asked for first.
    text = text.replace(&format!("failed get version from remote KMS provider: {late}"), late);
    match text.split_once(late) {
        Some((_, after)) if after.starts_with("latest balancer error: ") => text,
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
    compare_at(PATHS, comparison, stage, desc, config, reload).await;
}

async fn compare_at(
    paths: &[&str],
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
    for path in paths {
        let answer = server.get(path).await;
        let names = ["Content-Type", "X-Content-Type-Options"];
        let ours = Body {
            status: answer.status,
            body: comparable(&answer.text()),
            headers: names.map(|name| answer.header(name).map(str::to_owned)).into(),
        };
        let answer = peer.health("health", path);
        let upstream = Body {
            status: answer.status,
            body: comparable(&answer.body),
            headers: names.map(|name| answer.headers.get(name).cloned()).into(),
        };
        let shown = |it: &Body| format!("{} {:?} {:?}", it.status, it.body, it.headers);
        let what = format!("{desc}, reload {}: {path}", if reload { "on" } else { "off" });
        comparison.equal(&what, &shown(&ours), &shown(&upstream));
    }
    peer.close("health");
    server.stop().await;
}

#[test]
fn health_bodies_match_upstream() {
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
            ("unhealthy", "key-2", "tired"),
            ("unhealthy, with an empty text", "key-2", ""),
            ("no key ID", "", "ok"),
            ("a key ID that is too long", &*"k".repeat(1025), "ok"),
            ("unhealthy, and no key ID", "", "tired"),
        ] {
            second.script().key_id = key_id.into();
            second.script().healthz = healthz.into();
            compare(&mut comparison, &stage, &format!("the second of two: {desc}"), &two, false)
                .await;
        }
        first.script().healthz = "tired, too".into();
        compare(&mut comparison, &stage, "both unhealthy", &two, true).await;
        compare(&mut comparison, &stage, "the only one unhealthy", &one, false).await;
        compare(&mut comparison, &stage, "no listener", &nobody, false).await;
        first.hang(Call::Status);
        compare(&mut comparison, &stage, "it hangs", &one, false).await;
        first.let_go();
        let faults = comparison.report("health bodies");
        assert!(faults.is_empty(), "{} mismatches", faults.len());
    });
}

/// The paths that show the reason of a failure, and that withhold it.
const FAILED: &[&str] = &["/healthz/kms-providers", "/healthz/kms-provider-0", "/readyz?verbose"];

#[test]
fn health_bodies_of_unusable_sockets_match_upstream() {
    play("live health of unusable sockets", async |stage| {
        let mut comparison = Comparison::default();
        drop(UnixListener::bind(stage.path("refused.sock")).expect("our own directory"));
        fs::create_dir(stage.path("directory.sock")).expect("our own directory");
        stage.file("file.sock", "");
        for name in ["missing.sock", "refused.sock", "directory.sock", "file.sock"] {
            let v2 = kms_config(&[("a", &stage.path(name))]);
            for (api, config) in [("KMS v1", with_v1(&[("a", &stage.path(name))])), ("KMS v2", v2)]
            {
                let desc = format!("{api}, {name}");
                compare_at(FAILED, &mut comparison, &stage, &desc, &config, false).await;
            }
        }
        let faults = comparison.report("health bodies of unusable sockets");
        assert!(faults.is_empty(), "{} mismatches", faults.len());
    });
}

/// Returns a file in which the provider `a`, and `c` if there is one, use KMS v1.
fn with_v1(providers: &[(&str, &Path)]) -> String {
    let mut text = kms_config(providers);
    for name in ["a", "c"] {
        text = text.replace(
            &format!("apiVersion: v2, name: {name},"),
            &format!("apiVersion: v1, name: {name},"),
        );
    }
    text
}

#[test]
fn health_bodies_with_kms_v1_match_upstream() {
    play("live health with KMS v1", async |stage| {
        let mut comparison = Comparison::default();
        let (a, b, c) = (stage.path("a.sock"), stage.path("b.sock"), stage.path("c.sock"));
        let (mut first, mut last) = (PluginV1::serve(&a), PluginV1::serve(&c));
        let second = Scripted::serve(&b, "key-1");
        let one = with_v1(&[("a", &a)]);
        let two = with_v1(&[("a", &a), ("c", &c)]);
        let mixed = with_v1(&[("a", &a), ("b", &b), ("c", &c)]);
        let mixed_v2_first = with_v1(&[("b", &b), ("a", &a)]);
        let nobody = with_v1(&[("a", &stage.path("nobody.sock")), ("b", &b)]);
        for reload in [false, true] {
            for (desc, config) in [
                ("one v1", &one),
                ("two v1", &two),
                ("v1, v2, v1", &mixed),
                ("v2, v1", &mixed_v2_first),
            ] {
                compare(&mut comparison, &stage, desc, config, reload).await;
            }
        }
        first.set(Mood { encrypt_fails: "13 no key, alas", ..Mood::default() });
        for reload in [false, true] {
            for (desc, config) in [
                ("v1 does not encrypt", &one),
                ("the first of two v1 does not encrypt", &two),
                ("v1 of v1, v2, v1 does not encrypt", &mixed),
                ("v1 of v2, v1 does not encrypt", &mixed_v2_first),
            ] {
                compare(&mut comparison, &stage, desc, config, reload).await;
            }
        }
        last.set(Mood { decrypt_fails: "7 not for you", ..Mood::default() });
        second.script().healthz = "tired".into();
        for reload in [false, true] {
            let desc = "no encrypt, v2 unhealthy, no decrypt";
            compare(&mut comparison, &stage, desc, &mixed, reload).await;
        }
        first.set(Mood::default());
        for reload in [false, true] {
            let desc = "healthy, v2 unhealthy, no decrypt";
            compare(&mut comparison, &stage, desc, &mixed, reload).await;
            let desc = "the second of two v1 does not decrypt";
            compare(&mut comparison, &stage, desc, &two, reload).await;
        }
        second.script().healthz = "ok".into();
        last.set(Mood { version: "v1beta2", ..Mood::default() });
        for reload in [false, true] {
            let desc = "the second of two v1 has another version";
            compare(&mut comparison, &stage, desc, &two, reload).await;
            let desc = "no listener for v1, v2 is healthy";
            compare(&mut comparison, &stage, desc, &nobody, reload).await;
        }
        let faults = comparison.report("health bodies with KMS v1");
        assert!(faults.is_empty(), "{} mismatches", faults.len());
    });
}
