//! The health endpoints answer exactly as kube-apiserver does.

use std::path::Path;

use crate::scripted::Scripted;
use crate::server::Server;
use crate::stage::{kms_config, plain_config, play};

const RELOAD: &str = "--encryption-provider-config-automatic-reload";

/// The request path, the status, and the whole text of the answer.
type Row = (&'static str, u16, &'static str);

/// The single check that combines all providers: with KMS v2, and always with reload.
const COLLAPSED: &[Row] = &[
    ("/livez", 200, "ok"),
    ("/readyz", 200, "ok"),
    ("/healthz", 200, "ok"),
    ("/livez?verbose", 200, "[+]ping ok\nlivez check passed\n"),
    ("/readyz?verbose", 200, "[+]ping ok\n[+]kms-providers ok\nreadyz check passed\n"),
    ("/healthz?verbose", 200, "[+]ping ok\n[+]kms-providers ok\nhealthz check passed\n"),
    ("/healthz?verbose=1", 200, "[+]ping ok\n[+]kms-providers ok\nhealthz check passed\n"),
    ("/healthz/kms-providers", 200, "ok"),
    ("/readyz/kms-providers", 200, "ok"),
    ("/livez/kms-providers", 404, "404 page not found\n"),
    ("/healthz/kms-provider-0", 404, "404 page not found\n"),
    ("/healthz/ping", 200, "ok"),
    ("/livez/ping", 200, "ok"),
    ("/healthz?exclude=kms-providers", 200, "ok"),
    (
        "/healthz?verbose&exclude=kms-providers",
        200,
        "[+]ping ok\n[+]kms-providers excluded: ok\nhealthz check passed\n",
    ),
    (
        "/readyz?verbose&exclude=ping&exclude=kms-providers",
        200,
        "[+]ping excluded: ok\n[+]kms-providers excluded: ok\nreadyz check passed\n",
    ),
    ("/readyz?exclude=kms-provider-1", 200, "ok"),
    (
        "/readyz?verbose&exclude=kms-provider-1",
        200,
        "[+]ping ok\n[+]kms-providers ok\nwarn: some health checks cannot be excluded: no matches for \"kms-provider-1\"\nreadyz check passed\n",
    ),
    (
        "/healthz?verbose&exclude=kms-provider-1&exclude=kms-provider-0",
        200,
        "[+]ping ok\n[+]kms-providers ok\nwarn: some health checks cannot be excluded: no matches for \"kms-provider-0\",\"kms-provider-1\"\nhealthz check passed\n",
    ),
    ("/nowhere", 404, "404 page not found\n"),
];

/// Without KMS and without reload there is nothing to check.
const NOTHING: &[Row] = &[
    ("/readyz?verbose", 200, "[+]ping ok\nreadyz check passed\n"),
    ("/healthz?verbose", 200, "[+]ping ok\nhealthz check passed\n"),
    ("/livez?verbose", 200, "[+]ping ok\nlivez check passed\n"),
    ("/healthz/kms-providers", 404, "404 page not found\n"),
    (
        "/healthz?verbose&exclude=kms-providers",
        200,
        "[+]ping ok\nwarn: some health checks cannot be excluded: no matches for \"kms-providers\"\nhealthz check passed\n",
    ),
];

/// The combined check when the plugin is unhealthy.
const ILL: &[Row] = &[
    ("/livez", 200, "ok"),
    ("/readyz", 500, "[+]ping ok\n[-]kms-providers failed: reason withheld\nreadyz check failed\n"),
    (
        "/healthz",
        500,
        "[+]ping ok\n[-]kms-providers failed: reason withheld\nhealthz check failed\n",
    ),
    (
        "/healthz?verbose",
        500,
        "[+]ping ok\n[-]kms-providers failed: reason withheld\nhealthz check failed\n",
    ),
    (
        "/healthz/kms-providers",
        500,
        "internal server error: kms-provider-0: kmsv2 Provider a is not healthy, error: got unexpected healthz status: tired\n",
    ),
    ("/healthz?exclude=kms-providers", 200, "ok"),
    (
        "/healthz?exclude=kms-provider-0",
        500,
        "[+]ping ok\n[-]kms-providers failed: reason withheld\nwarn: some health checks cannot be excluded: no matches for \"kms-provider-0\"\nhealthz check failed\n",
    ),
];

async fn check(desc: &str, server: &Server, rows: &[Row]) {
    for (path, status, text) in rows {
        let answer = server.get(path).await;
        assert_eq!((answer.status, answer.text().as_str()), (*status, *text), "{desc}: {path}");
        assert_eq!(
            answer.header("content-type"),
            Some("text/plain; charset=utf-8"),
            "{desc}: {path}"
        );
        // Only the answer of a single check that passes lacks the header, as in upstream.
        let single = path.matches('/').count() > 1 && *status == 200;
        let nosniff = (!single).then_some("nosniff");
        assert_eq!(answer.header("x-content-type-options"), nosniff, "{desc}: {path}");
    }
}

fn v2(socket: &Path) -> String {
    kms_config(&[("a", socket)])
}

#[test]
fn kms_v2_has_one_check_with_reload_and_without() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let _plugin = Scripted::serve(&socket, "key-1");
        for (desc, args) in [("reload off", &[][..]), ("reload on", &[RELOAD])] {
            let server = stage.serve_config(&v2(&socket), args).await;
            check(desc, &server, COLLAPSED).await;
            server.stop().await;
        }
    });
}

#[test]
fn without_kms_there_is_a_check_only_with_reload() {
    play(async |stage| {
        for (desc, args, rows) in
            [("reload off", &[][..], NOTHING), ("reload on", &[RELOAD], COLLAPSED)]
        {
            let server = stage.serve_config(&plain_config(), args).await;
            check(desc, &server, rows).await;
            server.stop().await;
        }
    });
}

#[test]
fn an_unhealthy_plugin_fails_readiness_and_not_liveness() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        plugin.script().healthz = "tired".into();
        for (desc, args) in [("reload off", &[][..]), ("reload on", &[RELOAD])] {
            let server = stage.serve_config(&v2(&socket), args).await;
            check(desc, &server, ILL).await;
            server.stop().await;
        }
    });
}
