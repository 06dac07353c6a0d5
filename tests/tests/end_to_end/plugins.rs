//! KMS plugins that start late, become unhealthy or hang while a server runs.

use crate::scripted::{Call, Scripted};
use crate::stage::{kms_config, play};
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";

#[test]
fn a_server_starts_before_its_plugin_and_recovers_when_it_comes() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let server = stage.serve_config(&kms_config(&[("late", &socket)]), &[]).await;
        assert!(server.banner.contains("KMS: not healthy yet: "), "{}", server.banner);
        let answer = server.connect().await.write(KEY.as_bytes(), b"x").await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 503, "{}", answer.text());
        assert_eq!(answer.json()["kind"], "not-ready");
        assert_eq!(answer.header("retry-after"), Some("10"));
        let _plugin = Scripted::serve(&socket, "key-1");
        // The health check asks again, 3 seconds after the bad answer.
        until("it is healthy", async || (server.get("/healthz").await.status == 200).then_some(()))
            .await;
        let stored = server.write(KEY, b"x").await;
        assert_eq!(server.read_well(KEY, &stored).await, (b"x".to_vec(), false));
    });
}

#[test]
fn an_unhealthy_status_is_reported_word_for_word() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        plugin.script().healthz = "tired".into();
        let server = stage.serve_config(&kms_config(&[("a", &socket)]), &[]).await;
        let answer = server.get("/healthz/kms-providers").await;
        let expected = "internal server error: kms-provider-0: kmsv2 Provider a is not healthy, error: got unexpected healthz status: tired\n";
        assert_eq!((answer.status, answer.text().as_str()), (500, expected));
        assert_eq!(plugin.calls().encrypt, 0, "no DEK from an unhealthy plugin");
        plugin.script().healthz = "ok".into();
        until("it is reported as healthy", async || {
            (server.get("/healthz").await.status == 200).then_some(())
        })
        .await;
        server.write(KEY, b"x").await;
    });
}

#[test]
fn a_plugin_that_hangs_fails_uncached_reads_at_the_deadline_and_cached_ones_work() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        let config = kms_config(&[("a", &socket)]);
        let first = stage.serve_config(&config, &[]).await;
        let uncached = first.write(KEY, b"first").await;
        first.stop().await;
        let server = stage.serve_config(&config, &[]).await;
        let cached = server.write(KEY, b"second").await;
        plugin.hang(Call::Decrypt);
        let late = server.read(KEY, &uncached).await;
        assert_eq!(late.status, 502, "{}", late.text());
        let problem = late.json();
        assert_eq!((&problem["kind"], &problem["grpc-code"]), (&"kms".into(), &4.into()));
        assert_eq!(server.read_well(KEY, &cached).await, (b"second".to_vec(), false));
        plugin.let_go();
        assert_eq!(server.read_well(KEY, &uncached).await, (b"first".to_vec(), false));
    });
}
