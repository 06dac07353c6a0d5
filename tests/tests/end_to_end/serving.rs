//! `dekker serve` starts, prints its addresses, protects its files, and stops.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::http::target;
use crate::stage::play;
use crate::wait::until;

const KEY: &str = "/registry/secrets/default/token";

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn without_arguments_the_banner_shows_every_path() {
    play(async |stage| {
        let server = stage.serve(&[]).await;
        let (state, health) = (stage.state(), server.health);
        for row in [
            "is ready; KMS: healthy".to_owned(),
            format!("API socket       unix://{}/api.sock", state.display()),
            format!("health           http://{health}/readyz"),
            format!("state directory  {}", state.display()),
            format!("{}/encryption-config.yaml, read once", state.display()),
            format!("unix://{}/kms.sock (Dekker's own", state.display()),
        ] {
            assert!(server.banner.contains(&row), "{row:?} in {}", server.banner);
        }
        assert_ne!(health.port(), 0);
        let (banner, stdout) = (server.banner.clone(), server.process.stdout.clone());
        let log = server.stop().await;
        assert_eq!(stdout.text(), banner, "standard output is the banner alone");
        assert!(!log.contains("API socket"), "{log}");
    });
}

#[test]
fn created_files_are_private_to_their_user() {
    play(async |stage| {
        let _server = stage.serve(&[]).await;
        let state = stage.state();
        assert_eq!(mode(&state), 0o700);
        for name in
            ["api.sock", "kms.sock", "keyring.json", "keyring.ids", "encryption-config.yaml"]
        {
            let path = state.join(name);
            assert_eq!(mode(&path), 0o600, "{name}");
            let is_socket = fs::metadata(&path).expect("it is there").file_type().is_socket();
            assert_eq!(is_socket, name.ends_with(".sock"), "{name}");
        }
    });
}

#[test]
fn a_second_start_reads_values_of_the_first_as_fresh() {
    play(async |stage| {
        let first = stage.serve(&[]).await;
        let stored = first.write(KEY, b"hunter2").await;
        let hash = first.status().await["kmsProviders"][0]["writeDek"]["keyIdHash"].clone();
        first.stop().await;
        for socket in ["api.sock", "kms.sock"] {
            assert!(!stage.state().join(socket).exists(), "{socket} is removed");
        }
        let second = stage.serve(&[]).await;
        assert_eq!(second.read_well(KEY, &stored).await, (b"hunter2".to_vec(), false));
        let status = second.status().await;
        assert!(hash.as_str().is_some_and(|hash| hash.starts_with("sha256:")), "{hash}");
        assert_eq!(status["kmsProviders"][0]["writeDek"]["keyIdHash"], hash);
    });
}

#[test]
fn a_start_after_a_kill_replaces_the_stale_sockets() {
    play(async |stage| {
        let first = stage.serve(&[]).await;
        let stored = first.write(KEY, b"hunter2").await;
        drop(first);
        assert!(stage.state().join("api.sock").exists(), "it was killed");
        let second = stage.serve(&[]).await;
        assert_eq!(second.read_well(KEY, &stored).await, (b"hunter2".to_vec(), false));
    });
}

#[test]
fn a_second_server_in_one_state_directory_is_refused() {
    play(async |stage| {
        let first = stage.serve(&[]).await;
        let mut args = vec!["serve", "--health-listen", "127.0.0.1:0", "--state-dir"];
        let state = stage.state().display().to_string();
        args.push(&state);
        let second = stage.run(&args, b"").await;
        assert_eq!(second.code, Some(1));
        let expected = format!("a server already listens on {state}/api.sock");
        assert!(second.stderr.contains(&expected), "{}", second.stderr);
        assert_eq!(second.text(), "");
        let stored = first.write(KEY, b"still here").await;
        assert_eq!(first.read_well(KEY, &stored).await.0, b"still here");
    });
}

#[test]
fn a_health_address_in_use_is_named_with_the_remedy() {
    play(async |stage| {
        let first = stage.serve(&[]).await;
        let (taken, state) = (first.health.to_string(), stage.path("other"));
        let state = state.display().to_string();
        let args = ["serve", "--state-dir", &state, "--health-listen", &taken];
        let second = stage.run(&args, b"").await;
        assert_eq!(second.code, Some(1));
        for part in [&taken, "--health-listen"] {
            assert!(second.stderr.contains(part), "{}", second.stderr);
        }
    });
}

#[test]
fn sigterm_lets_a_running_request_finish() {
    play(async |stage| {
        let mut server = stage.serve(&[]).await;
        // An idle connection must not delay the end.
        let _idle = UnixStream::connect(&server.api).await.expect("it listens");
        let mut stream = UnixStream::connect(&server.api).await.expect("it listens");
        let target = target("to-storage", "secrets", KEY.as_bytes());
        let head =
            format!("POST {target} HTTP/1.1\r\nhost: dekker\r\ncontent-length: 10\r\n\r\nfirst");
        stream.write_all(head.as_bytes()).await.expect("it reads");
        // This request on another connection is answered after the first request's header has been read.
        server.write(KEY, b"x").await;
        server.process.signal(Signal::TERM);
        until("it stops listening", async || (!server.api.exists()).then_some(())).await;
        stream.write_all(b"-last").await.expect("it still reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer, and the end");
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("k8s:enc:kms:v2:dekker:"), "{answer}");
        assert_eq!(server.process.ended().await.code(), Some(0));
    });
}

#[test]
fn json_logs_are_json_lines() {
    play(async |stage| {
        let args = ["--log-format", "json", "--log", "debug"];
        let server = stage.serve(&args).await;
        let stored = server.write(KEY, b"hunter2").await;
        assert_eq!(server.read("/elsewhere", &stored).await.status, 422);
        let log = server.stop().await;
        let lines: Vec<Value> = log
            .lines()
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect();
        assert!(lines.len() >= 2, "{log}");
        for line in &lines {
            for field in ["timestamp", "level", "message", "target"] {
                assert!(line[field].is_string(), "{field} in {line}");
            }
        }
    });
}

#[test]
fn it_listens_at_the_given_address() {
    play(async |stage| {
        let socket = stage.path("elsewhere.sock");
        let listen = format!("unix://{}", socket.display());
        let server = stage.serve(&["--listen", &listen]).await;
        assert_eq!(server.api, socket);
        assert_eq!(mode(&socket), 0o600);
        let stored = server.write(KEY, b"x").await;
        assert_eq!(server.read_well(KEY, &stored).await.0, b"x");
        assert!(!stage.state().join("api.sock").exists());
        server.stop().await;
        assert!(!socket.exists());
        let args = ["serve", "--state-dir", "state", "--listen", "unix:///@dekker"];
        let refused = stage.run(&args, b"").await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("an abstract socket has no mode"), "{refused:?}");
    });
}
