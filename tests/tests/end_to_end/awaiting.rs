//! Behaviour that depends on the clock. These tests take a long time. They begin first, because tests run in the order of their names.

use std::process::Command;

use rustix::process::Signal;

use crate::http::Connection;
use crate::load::Load;
use crate::process::Process;
use crate::server::{Server, kms_calls};
use crate::stage::{Stage, kms_config, play};
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";

/// Starts `dekker kms serve` and waits until it listens.
async fn plugin(stage: &Stage) -> Process {
    let mut command: Command = stage.command(["kms", "serve", "--state-dir"]);
    command.arg(stage.path("kms"));
    let mut plugin = Process::start(command, b"");
    plugin.says("KMS v2 plugin at unix://").await;
    plugin
}

async fn write_with_hash(server: &Server, connection: &mut Connection) -> (Vec<u8>, String) {
    let answer = connection.write(KEY.as_bytes(), b"new").await.expect("an answer");
    let hash = answer.header("dekker-key-id-hash").map(str::to_owned);
    assert_eq!(answer.status, 200, "{}: {}", server.health, answer.text());
    (answer.body, hash.expect("a hash"))
}

/// Only the server's own poll, 60 seconds after the first, finds the new key.
#[test]
fn a_rotated_key_is_found_by_the_next_poll() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let mut connection = server.connect().await;
        let (old, old_hash) = write_with_hash(&server, &mut connection).await;
        let load = Load::start(&server.api).await;
        let state = stage.state().display().to_string();
        let rotated = stage.run(&["kms", "rotate", "--state-dir", &state], b"").await;
        let rotated = String::from_utf8(rotated.done()).expect("text");
        assert!(rotated.ends_with(", 2 keys in all\n"), "{rotated}");
        let new_hash =
            rotated.strip_prefix("new key ID hash ").and_then(|rest| rest.split(',').next());
        let new_hash = new_hash.expect("a hash");
        assert_ne!(new_hash, old_hash);

        let (new, written) = until("a write has another key ID hash", async || {
            let (stored, hash) = write_with_hash(&server, &mut connection).await;
            (hash != old_hash).then_some((stored, hash))
        })
        .await;
        assert_eq!(written, new_hash);
        assert_eq!(server.read_well(KEY, &old).await, (b"new".to_vec(), true));
        assert_eq!(server.read_well(KEY, &new).await, (b"new".to_vec(), false));
        let provider = &server.status().await["kmsProviders"][0];
        assert_eq!(provider["writeDek"]["keyIdHash"], new_hash);
        load.finish().await;
        let metrics = server.metrics().await;
        assert_eq!(kms_calls(&metrics, "Encrypt"), 2.0, "one for each key");
    });
}

#[test]
fn a_plugin_that_is_killed_stops_neither_reads_nor_writes() {
    play(async |stage| {
        let killed = plugin(&stage).await;
        let config = kms_config(&[("own", &stage.path("kms/kms.sock"))]);
        let server = stage.serve_config(&config, &[]).await;
        assert!(server.banner.contains("KMS: healthy"), "{}", server.banner);
        let stored = server.write(KEY, b"before").await;
        let load = Load::start(&server.api).await;
        killed.signal(Signal::KILL);
        drop(killed);

        // The last good answer is used for 20 seconds. After that, the call to the plugin fails.
        let failed = until("the check fails", async || {
            let answer = server.get("/healthz/kms-providers").await;
            (answer.status != 200).then_some(answer)
        })
        .await;
        assert_eq!(failed.status, 500);
        let text = failed.text();
        let expected = "internal server error: kms-provider-0: failed to perform status section of the healthz check for KMS Provider own, error: rpc error: code = ";
        assert!(text.starts_with(expected), "{text}");
        let ready = server.get("/readyz").await;
        assert_eq!(ready.status, 500);
        assert_eq!(
            ready.text(),
            "[+]ping ok\n[-]kms-providers failed: reason withheld\nreadyz check failed\n"
        );
        let live = server.get("/livez").await;
        assert_eq!((live.status, live.text().as_str()), (200, "ok"));
        assert_eq!(server.read_well(KEY, &stored).await, (b"before".to_vec(), false));

        let _again = plugin(&stage).await;
        until("the check passes", async || {
            (server.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        load.finish().await;
        let (new, _) = write_with_hash(&server, &mut server.connect().await).await;
        assert_eq!(server.read_well(KEY, &new).await, (b"new".to_vec(), false));
        assert_eq!(server.read_well(KEY, &stored).await, (b"before".to_vec(), false));
        let metrics = server.metrics().await;
        assert_eq!(kms_calls(&metrics, "Encrypt"), 1.0, "the key ID is the same, so the DEK is");
    });
}
