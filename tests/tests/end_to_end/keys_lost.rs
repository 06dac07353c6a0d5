//! Servers whose keyring is lost, older than before, or not writable.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::peers::{as_other, binary_for_other};
use crate::process::{Finished, Process};
use crate::stage::{Stage, play, skip};
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";
const PLAINTEXT: &[u8] = b"hunter2";

/// Starts a server, which must fail to start.
async fn refused(stage: &Stage, args: &[&str]) -> Finished {
    let process = Process::start(stage.serve_command(args), b"");
    let finished = process.finished().await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    finished
}

async fn rotate(stage: &Stage) -> Finished {
    let state = stage.state().display().to_string();
    stage.run(&["kms", "rotate", "--state-dir", &state], b"").await
}

#[test]
fn a_missing_keyring_is_never_recreated_silently() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let stored = server.write(KEY, PLAINTEXT).await;
        server.stop().await;
        let (keyring, away) = (stage.state().join("keyring.json"), stage.path("away"));
        fs::rename(&keyring, &away).expect("our own file");
        let finished = refused(&stage, &[]).await;
        assert!(finished.stderr.contains("--init-keyring"), "{finished:?}");
        assert!(!keyring.exists());
        // Either of the two files that prove there was a keyring is enough.
        for witness in ["keyring.ids", "encryption-config.yaml"] {
            let (witness, aside) = (stage.state().join(witness), stage.path("aside"));
            fs::rename(&witness, &aside).expect("our own file");
            let finished = refused(&stage, &[]).await;
            assert!(finished.stderr.contains("is missing"), "{finished:?}");
            fs::rename(&aside, &witness).expect("our own file");
        }
        assert!(!keyring.exists());

        fs::rename(&away, &keyring).expect("our own file");
        let finished = refused(&stage, &["--init-keyring"]).await;
        assert!(finished.stderr.contains("has all of its keys"), "{finished:?}");
        let server = stage.serve(&[]).await;
        assert_eq!(server.read_well(KEY, &stored).await.0, PLAINTEXT);
        server.stop().await;

        fs::remove_file(&keyring).expect("our own file");
        let server = stage.serve(&["--init-keyring"]).await;
        assert_eq!(server.read(KEY, &stored).await.status, 502);
        let fresh = server.write(KEY, PLAINTEXT).await;
        server.stop().await;
        let server = stage.serve(&[]).await;
        assert_eq!(server.read_well(KEY, &fresh).await.0, PLAINTEXT);
    });
}

#[test]
fn an_older_keyring_is_refused_at_the_start_and_a_server_keeps_its_newer_keys() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let keyring = stage.state().join("keyring.json");
        let older = fs::read(&keyring).expect("the keyring");
        rotate(&stage).await.done();
        let newer = fs::read(&keyring).expect("the keyring");
        // A Status call makes the new key current.
        let state = stage.state().display().to_string();
        let status = ["kms", "status", "--state-dir", &state];
        stage.run(&status, b"").await.done();
        let newest = stage.path("encrypted");
        let encrypt = async |key: &str| {
            let args = ["--resource", "secrets", "--key", key, "--state-dir", &state];
            let args = [&["encrypt"], &args[..]].concat();
            stage.run(&args, PLAINTEXT).await
        };
        let stored = encrypt(KEY).await.done();
        fs::write(&newest, &stored).expect("our own file");

        fs::write(&keyring, &older).expect("our own file");
        let ill = stage.run(&status, b"").await;
        assert_eq!(ill.code, Some(1));
        assert!(ill.text().contains("lacks 1 of the keys"), "{ill:?}");
        // The server has never read this value, so it asks its plugin for the DEK.
        assert_eq!(server.read_well(KEY, &stored).await.0, PLAINTEXT);
        for finished in [rotate(&stage).await, encrypt(KEY).await] {
            assert_eq!(finished.code, Some(1), "{finished:?}");
            assert!(finished.stderr.contains("--init-keyring"), "{finished:?}");
        }
        let listen = format!("unix://{}", stage.path("second.sock").display());
        let finished = refused(&stage, &["--listen", &listen]).await;
        assert!(finished.stderr.contains("lacks 1 of the keys"));

        fs::write(&keyring, &newer).expect("our own file");
        stage.run(&status, b"").await.done();
        until("it is healthy again", async || {
            (server.get("/readyz").await.status == 200).then_some(())
        })
        .await;
        encrypt(KEY).await.done();
    });
}

fn decrypt_as_other(stage: &Stage, binary: &str) -> Command {
    let mut command = as_other(binary);
    command
        .args(["decrypt", "--resource", "secrets", "--key", KEY])
        .arg("--state-dir")
        .arg(stage.state())
        .current_dir("/");
    command
}

/// Runs as a user other than root, because root may write to a directory without write permission.
#[test]
fn a_read_only_state_directory_is_enough_to_decrypt() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let binary = binary.display().to_string();
        let mut encrypt = as_other(&binary);
        encrypt
            .args(["encrypt", "--resource", "secrets", "--key", KEY])
            .arg("--state-dir")
            .arg(stage.state())
            .current_dir("/");
        let stored = Process::start(encrypt, PLAINTEXT).finished().await.done();
        let mode = |mode| {
            fs::set_permissions(stage.state(), Permissions::from_mode(mode)).expect("root may")
        };
        mode(0o500);
        // The lock file, the configuration and the list of key IDs are not needed either.
        for missing in
            [None, Some("keyring.lock"), Some("encryption-config.yaml"), Some("keyring.ids")]
        {
            if let Some(missing) = missing {
                fs::remove_file(stage.state().join(missing)).expect("root may");
            }
            let names = || {
                let entries = fs::read_dir(stage.state()).expect("root may");
                entries.map(|entry| entry.expect("an entry").file_name())
            };
            let before: Vec<_> = names().collect();
            let decrypt = Process::start(decrypt_as_other(&stage, &binary), &stored);
            assert_eq!(decrypt.finished().await.done(), PLAINTEXT, "{missing:?}");
            assert_eq!(names().collect::<Vec<_>>(), before);
            let mut status = as_other(&binary);
            status.args(["kms", "status", "--state-dir"]).arg(stage.state()).current_dir("/");
            let status = Process::start(status, b"").finished().await;
            assert!(status.stderr.contains("no KMS plugin listens"), "{status:?}");
        }
        mode(0o700);
    });
}

/// Applies to root too, because the file system itself is read-only.
#[test]
fn a_read_only_file_system_is_enough_to_decrypt() {
    play(async |stage| {
        let probe = Command::new("unshare").args(["--mount", "true"]).status();
        if !probe.is_ok_and(|status| status.success()) {
            skip("it takes root and unshare to mount a directory read-only");
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"));
            return;
        }
        let server = stage.serve(&[]).await;
        let stored = server.write(KEY, PLAINTEXT).await;
        server.stop().await;
        let script = "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\" && \
             exec \"$2\" decrypt --resource secrets --key \"$3\" --state-dir \"$1\"";
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "sh", "-c", script, "sh"])
            .arg(stage.state())
            .arg(stage.binary())
            .arg(KEY);
        let decrypt = Process::start(command, &stored).finished().await;
        assert_eq!(decrypt.done(), PLAINTEXT);
    });
}
