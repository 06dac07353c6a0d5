//! Which users may use the transform API. These tests change users, so they need root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Finished, Process};
use crate::server::Server;
use crate::stage::{Stage, play, skip};

/// A user that owns nothing. Not 65534, which the kernel shows for users of other namespaces.
const OTHER: u32 = 64_000;

/// Returns a copy of the binary that [`OTHER`] can run, and creates a state directory that [`OTHER`] owns. Returns `None` if that is not possible.
pub(crate) fn binary_for_other(stage: &Stage) -> Option<PathBuf> {
    let probe = as_other("true").status();
    if !rustix::process::geteuid().is_root() || !probe.is_ok_and(|status| status.success()) {
        skip("it takes root and setpriv to run a server as another user");
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no test is skipped in CI");
        return None;
    }
    // The server must refuse the other users, so every directory on the way to its socket is open to them.
    let home = stage.path("");
    fs::set_permissions(&home, PermissionsExt::from_mode(0o755)).expect("our own directory");
    let binary = stage.path("dekker");
    fs::copy(stage.binary(), &binary).expect("a copy that others can reach");
    fs::create_dir(stage.state()).expect("a new directory");
    chown(stage.state(), Some(OTHER), Some(OTHER)).expect("root may");
    Some(binary)
}

pub(crate) fn as_other(program: &str) -> Command {
    as_user(OTHER, &[], program)
}

/// Runs a program as a user with a group of the same number and these supplementary groups.
fn as_user(uid: u32, groups: &[u32], program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}"));
    if groups.is_empty() {
        command.arg("--clear-groups");
    } else {
        let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
        command.arg(format!("--groups={}", groups.join(",")));
    }
    command.arg(program);
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
fn another_user_is_refused_even_root() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let server = serve_as_other(&stage, &binary, &[]).await;
        let mut connection = server.connect().await;
        let answer = connection.write(b"/k", b"hunter2").await.expect("an answer");
        assert_eq!(answer.status, 403, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        assert_eq!(answer.json()["kind"], "forbidden");
        let again = connection.write(b"/k", b"hunter2").await;
        assert!(again.is_err(), "the connection is closed after that: {again:?}");
        assert_eq!(server.get("/readyz").await.status, 200);
        let log = server.stop().await;
        assert!(log.contains("refused a connection"), "{log}");
    });
}

#[test]
fn an_allowed_user_may_call() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let server = serve_as_other(&stage, &binary, &["--allow-uid", "0"]).await;
        let stored = server.write("/k", b"hunter2").await;
        assert_eq!(server.read_well("/k", &stored).await, (b"hunter2".to_vec(), false));
    });
}

#[test]
fn a_state_directory_of_another_user_is_refused() {
    play(async |stage| {
        if binary_for_other(&stage).is_none() {
            return;
        }
        let state = stage.state().display().to_string();
        let args = ["serve", "--health-listen", "127.0.0.1:0", "--state-dir", &state];
        let refused = stage.run(&args, b"").await;
        assert_eq!(refused.code, Some(1));
        assert!(refused.stderr.contains("must belong to this user"), "{refused:?}");
    });
}

/// Creates a directory for sockets that the server's user owns and every user can enter.
fn open_directory(stage: &Stage) -> PathBuf {
    let path = stage.path("run");
    fs::create_dir(&path).expect("our own directory");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("our own directory");
    chown(&path, Some(OTHER), Some(OTHER)).expect("root may");
    path
}

/// Sends a request to the server from a process of this user.
async fn encrypt_as(uid: u32, groups: &[u32], binary: &Path, socket: &Path) -> Finished {
    let mut command = as_user(uid, groups, &binary.display().to_string());
    let address = format!("unix://{}", socket.display());
    command
        .args(["encrypt", "--resource", "secrets", "--key", "/k"])
        .args(["--connect", &address])
        .current_dir("/");
    Process::start(command, b"hunter2").finished().await
}

#[test]
fn users_that_are_named_get_through_and_others_do_not() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let directory = open_directory(&stage);
        // A description, the arguments, and the expected mode and group of the socket.
        let table: [(&str, &[&str], u32, u32); 4] = [
            ("a user", &["--allow-uid", "12345"], 0o666, OTHER),
            (
                "the overflow user and another one",
                &["--allow-uid", "65534", "--allow-uid", "12345"],
                0o666,
                OTHER,
            ),
            ("a mode", &["--allow-uid", "12345", "--listen-mode", "0622"], 0o622, OTHER),
            ("a group", &["--allow-uid", "12345", "--listen-group", "54321"], 0o660, 54_321),
        ];
        for (n, (desc, args, mode, group)) in table.into_iter().enumerate() {
            let socket = directory.join(format!("{n}.sock"));
            let listen = format!("unix://{}", socket.display());
            let mut command = as_user(OTHER, &[54_321], &binary.display().to_string());
            command
                .args(["serve", "--health-listen", "127.0.0.1:0", "--state-dir"])
                .arg(stage.state())
                .args(["--listen", &listen])
                .args(args)
                .current_dir("/");
            let server = Server::start(command).await;
            let made = fs::metadata(&socket).expect("a socket");
            assert_eq!(made.mode() & 0o7777, mode, "{desc}");
            assert_eq!((made.uid(), made.gid()), (OTHER, group), "{desc}");

            let allowed = encrypt_as(12_345, &[54_321], &binary, &socket).await;
            assert!(allowed.done().starts_with(b"k8s:enc:"), "{desc}");
            let own = encrypt_as(OTHER, &[54_321], &binary, &socket).await;
            assert!(own.done().starts_with(b"k8s:enc:"), "{desc}");
            // The first user reaches the server. The second cannot open the socket if a group is named.
            for (uid, groups) in [(12_346, &[54_321][..]), (12_347, &[])] {
                let refused = encrypt_as(uid, groups, &binary, &socket).await;
                assert_eq!(refused.code, Some(1), "{desc}: {refused:?}");
                let expected = if mode & 0o002 == 0 && groups.is_empty() {
                    "cannot reach a server"
                } else {
                    "the server answered 403"
                };
                assert!(refused.stderr.contains(expected), "{desc}: {refused:?}");
            }
            let nobody = encrypt_as(65_534, &[], &binary, &socket).await;
            let expected = if args.contains(&"65534") { 0 } else { 1 };
            assert_eq!(nobody.code, Some(expected), "{desc}: {nobody:?}");
            server.stop().await;
        }
    });
}

#[test]
fn allowed_users_who_cannot_reach_the_socket_are_an_error_with_a_remedy() {
    play(async |stage| {
        let state = stage.state().display().to_string();
        let start = ["serve", "--health-listen", "127.0.0.1:0", "--state-dir"];
        let table: [(&[&str], i32, &str); 5] = [
            // In the state directory, which only its owner can enter.
            (&["--allow-uid", "12345"], 1, "--listen"),
            (&["--allow-uid", "12345", "--listen-mode", "600"], 1, "keeps out the users"),
            (&["--listen-mode", "0666"], 1, "--allow-uid"),
            (&["--listen-group", "7", "--listen-mode", "0600"], 1, "keeps out the group"),
            (&["--listen-mode", "0777"], 2, "read and write bits"),
        ];
        for (args, code, remedy) in table {
            let args = [&start[..], &[&state], args].concat();
            let refused = stage.run(&args, b"").await;
            assert_eq!(refused.code, Some(code), "{refused:?}");
            assert!(refused.stderr.contains(remedy), "{refused:?}");
        }
    });
}
