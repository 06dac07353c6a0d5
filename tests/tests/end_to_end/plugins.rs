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

#[test]
fn decrypt_needs_no_healthy_plugin_and_sends_no_encrypt() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        stage.file("c.yaml", kms_config(&[("a", &socket)]));
        let args = |command: &'static str, more: &[&'static str]| {
            let place = ["--resource", "secrets", "--key", KEY];
            let file = ["--encryption-provider-config", "c.yaml"];
            [&[command][..], &place, &file, more].concat()
        };
        let stored = stage.run(&args("encrypt", &[]), b"hunter2").await.done();
        let seed = stage.run(&args("encrypt", &["--dek-source", "hkdf-seed"]), b"hunter2").await;
        let seed = seed.done();
        let before = plugin.calls();
        let calls = || {
            let now = plugin.calls();
            (now.encrypt - before.encrypt, now.decrypt - before.decrypt)
        };
        let tired = "got unexpected healthz status: tired\n";

        let fresh = stage.run(&args("decrypt", &[]), &stored).await;
        assert_eq!(calls(), (0, 1));
        assert!(fresh.stderr.contains("stale: false\n"), "{fresh:?}");
        assert!(!fresh.stderr.contains("state:"), "{fresh:?}");
        assert_eq!(fresh.done(), b"hunter2");

        let other = stage.run(&args("decrypt", &[]), &seed).await;
        assert_eq!(calls(), (0, 2));
        assert!(other.stderr.contains("stale: true\nstate: other-source\n"), "{other:?}");
        assert_eq!(other.done(), b"hunter2");

        plugin.script().key_id = "key-2".into();
        let stale = stage.run(&args("decrypt", &[]), &seed).await;
        assert_eq!(calls(), (0, 3));
        assert!(stale.stderr.contains("stale: true\n"), "{stale:?}");
        assert!(!stale.stderr.contains("state:"), "{stale:?}");

        plugin.script().healthz = "tired".into();
        let unknown = stage.run(&args("decrypt", &[]), &stored).await;
        assert_eq!(calls(), (0, 4));
        assert!(unknown.stderr.contains(tired), "it is shown: {unknown:?}");
        assert!(!unknown.stderr.contains("stale:"), "{unknown:?}");
        assert_eq!(unknown.done(), b"hunter2");

        let refused = stage.run(&args("encrypt", &[]), b"hunter2").await;
        assert_eq!(refused.code, Some(1), "encryption does need it: {refused:?}");
        assert_eq!(calls(), (0, 4));
    });
}

#[test]
fn the_state_of_a_value_is_a_header_of_its_answer() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let plugin = Scripted::serve(&socket, "key-1");
        let config = kms_config(&[("a", &socket)]);
        let seeds = stage.serve_config(&config, &["--dek-source", "hkdf-seed"]).await;
        let seed = seeds.write(KEY, b"x").await;
        seeds.stop().await;
        let server = stage.serve_config(&config, &[]).await;
        let own = server.write(KEY, b"x").await;
        for (stored, stale, state) in [(&own, "false", "fresh"), (&seed, "true", "other-source")] {
            let read = server.read(KEY, stored).await;
            let headers = (read.header("dekker-stale"), read.header("dekker-state"));
            assert_eq!(headers, (Some(stale), Some(state)));
        }
        let address = format!("unix://{}", server.api.display());
        let args = ["decrypt", "--resource", "secrets", "--key", KEY, "--connect", &address];
        let read = stage.run(&args, &seed).await;
        assert!(read.stderr.contains("stale: true\nstate: other-source\n"), "{read:?}");
        server.stop().await;

        plugin.script().key_id = "key-2".into();
        let server = stage.serve_config(&config, &[]).await;
        for stored in [own, seed] {
            let read = server.read(KEY, &stored).await;
            let headers = (read.header("dekker-stale"), read.header("dekker-state"));
            assert_eq!(headers, (Some("true"), Some("stale")));
        }
    });
}
