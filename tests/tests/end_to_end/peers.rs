//! Who may use the transform API. These tests change users, so they need root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::server::Server;
use crate::stage::{Stage, play, skip};

/// A user that owns nothing. Not 65534: that is whom the kernel shows for users of other namespaces.
const OTHER: u32 = 64_000;

/// A copy of the binary that [`OTHER`] can run, and a state directory of its own; `None`: that cannot be had here.
pub fn binary_for_other(stage: &Stage) -> Option<PathBuf> {
    let probe = as_other("true").status();
    if !rustix::process::geteuid().is_root() || !probe.is_ok_and(|status| status.success()) {
        skip("it takes root and setpriv to run a server as another user");
        return None;
    }
    // What must refuse is the server, so nothing on the way to its socket may.
    let home = stage.path("");
    fs::set_permissions(&home, PermissionsExt::from_mode(0o755)).expect("our own directory");
    let binary = stage.path("dekker");
    fs::copy(stage.binary(), &binary).expect("a copy that others can reach");
    fs::create_dir(stage.state()).expect("a new directory");
    chown(stage.state(), Some(OTHER), Some(OTHER)).expect("root may");
    Some(binary)
}

pub fn as_other(program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--reuid={OTHER}"))
        .arg(format!("--regid={OTHER}"))
        .args(["--clear-groups", program]);
    command
}

async fn serve_as_other(stage: &Stage, binary: &Path, args: &[&str]) -> Server {
    let mut command = as_other(&binary.display().to_string());
    command
        .args(["serve", "--health-listen", "127.0.0.1:0", "--state-dir"])
        .arg(stage.state())
        .args(args)
        .current_dir("/");
    Server::start(command).await
}

#[test]
fn another_user_is_refused_root_included() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let server = serve_as_other(&stage, &binary, &[]).await;
        let mut connection = server.connect().await;
        let answer = connection
            .write(b"/k", b"hunter2")
            .await
            .expect("an answer");
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(answer.json()["kind"], "forbidden");
        let again = connection.write(b"/k", b"hunter2").await;
        assert!(
            again.is_err(),
            "the connection is closed after that: {again:?}"
        );
        assert_eq!(server.get("/readyz").await.status, 200);
        let log = server.stop().await;
        assert!(log.contains("refused a connection"), "{log}");
    });
}

#[test]
fn another_user_that_is_named_may_call() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let server = serve_as_other(&stage, &binary, &["--allow-uid", "0"]).await;
        let stored = server.write("/k", b"hunter2").await;
        assert_eq!(
            server.read_well("/k", &stored).await,
            (b"hunter2".to_vec(), false)
        );
    });
}

#[test]
fn a_state_directory_of_another_user_is_refused() {
    play(async |stage| {
        if binary_for_other(&stage).is_none() {
            return;
        }
        let state = stage.state().display().to_string();
        let args = [
            "serve",
            "--health-listen",
            "127.0.0.1:0",
            "--state-dir",
            &state,
        ];
        let refused = stage.run(&args, b"").await;
        assert_eq!(refused.code, Some(1));
        assert!(
            refused.stderr.contains("must belong to this user"),
            "{refused:?}"
        );
    });
}
