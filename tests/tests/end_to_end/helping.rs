//! The help that stands beside upstream's texts: on the command line, in the log and in `/statusz`.

use crate::scripted::Scripted;
use crate::stage::{Stage, kms_config, play};
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";
const OLD: &str = "- name: old\n        secret: MDEyMzQ1Njc4OWFiY2RlZw==\n";
/// The same name as [`OLD`], with another secret.
const OTHER: &str = "- name: old\n        secret: MDEyMzQ1Njc4OWFiY2RlaA==\n";
const NEW: &str = "- name: new\n        secret: MDEyMzQ1Njc4OWFiY2RlZw==\n";

fn local(provider: &str, key: &str) -> String {
    format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers:\n\
         \x20 - {provider}:\n      keys:\n      {key}"
    )
}

async fn once(
    stage: &Stage,
    direction: &str,
    config: &str,
    input: &[u8],
) -> (bool, Vec<u8>, String) {
    let path = stage.file("c.yaml", config).display().to_string();
    let args = ["--resource", "secrets", "--key", KEY, "--encryption-provider-config", &path];
    let args = [&[direction], &args[..]].concat();
    let finished = stage.run(&args, input).await;
    (finished.code == Some(0), finished.stdout, finished.stderr)
}

#[test]
fn a_value_that_does_not_decrypt_names_its_key_and_those_of_the_file() {
    play(async |stage| {
        for provider in ["aescbc", "aesgcm"] {
            let (done, stored, stderr) =
                once(&stage, "encrypt", &local(provider, OLD), b"hunter2").await;
            assert!(done, "{stderr}");
            let (done, _, stderr) = once(&stage, "decrypt", &local(provider, NEW), &stored).await;
            assert!(!done, "another key");
            assert!(stderr.contains("no matching key was found for the provided AES"), "{stderr}");
            let help = format!(
                "help: the value was encrypted by the key \"old\" of {provider}; for \"secrets\", the file has the key \"new\" of {provider}"
            );
            assert!(stderr.contains(&help), "{stderr}");
            // Of 256 values of aescbc, about one has a valid padding under another secret too.
            let stderr = loop {
                let (_, stored, _) =
                    once(&stage, "encrypt", &local(provider, OLD), b"hunter2").await;
                let (done, _, stderr) =
                    once(&stage, "decrypt", &local(provider, OTHER), &stored).await;
                if !done {
                    break stderr;
                }
                assert_eq!(provider, "aescbc", "another secret under the same name");
            };
            let is_cbc = provider == "aescbc";
            assert_eq!(stderr.contains("invalid padding on input"), is_cbc, "{stderr}");
            assert_eq!(stderr.contains("message authentication failed"), !is_cbc, "{stderr}");
            assert!(stderr.contains("which the file has: its secret is another one"), "{stderr}");
            assert!(!stderr.contains("MDEy"), "a secret: {stderr}");
        }
    });
}

#[test]
fn the_log_explains_a_value_that_the_server_cannot_read() {
    play(async |stage| {
        let (_, stored, _) = once(&stage, "encrypt", &local("aescbc", OLD), b"hunter2").await;
        let server = stage.serve_config(&local("aescbc", NEW), &[]).await;
        let answer = server.read(KEY, &stored).await;
        assert_eq!(answer.status, 422);
        assert!(!answer.text().contains("old"), "{}", answer.text());
        let log = server.stop().await;
        assert!(log.contains("the value was encrypted by the key \"old\" of aescbc"), "{log}");
    });
}

#[test]
fn an_unusable_plugin_has_a_help_in_the_status_the_log_and_on_the_command_line() {
    play(async |stage| {
        let socket = stage.path("kms.sock");
        let v2 = kms_config(&[("a", &socket)]);
        let v1 = v2.replace("apiVersion: v2", "apiVersion: v1");
        let _plugin = Scripted::serve(&socket, "key-1");
        let missing = kms_config(&[("a", &stage.path("missing.sock"))]);
        for (config, help) in [
            (&v1, "if it is a KMS v2 plugin, set `apiVersion: v2` for this provider"),
            (&missing, "the file does not exist; start the plugin, or correct the endpoint"),
        ] {
            let server = stage.serve_config(config, &[]).await;
            until("the plugin was called", async || {
                let _ = server.get("/healthz/kms-providers").await;
                let _ = server.get("/healthz/kms-provider-0").await;
                let provider = server.status().await["kmsProviders"][0].take();
                provider["help"].as_str().map(|given| assert!(given.contains(help), "{given}"))
            })
            .await;
            let log = server.stop().await;
            assert!(log.contains(help), "{log}");
            let (done, _, stderr) = once(&stage, "encrypt", config, b"hunter2").await;
            assert!(!done, "no plugin");
            assert!(
                stderr.contains("help: KMS provider \"a\": ") && stderr.contains(help),
                "{stderr}"
            );
        }
        let server = stage.serve_config(&v2, &[]).await;
        server.write(KEY, b"hunter2").await;
        assert!(server.status().await["kmsProviders"][0]["help"].is_null());
        server.stop().await;
    });
}
