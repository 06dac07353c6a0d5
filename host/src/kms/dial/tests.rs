use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use super::*;

fn error(address: SocketAddress, errno: Errno) -> DialError {
    DialError { address, error: errno.into() }
}

#[test]
fn errors_have_gos_words() {
    for (errno, expected) in [
        (Errno::NOENT, "no such file or directory"),
        (Errno::CONNREFUSED, "connection refused"),
        (Errno::ACCESS, "permission denied"),
        (Errno::NOBUFS, "no buffer space available"),
    ] {
        let path = SocketAddress::Path("/run/kms.sock".into());
        assert_eq!(error(path, errno).cause(), expected);
    }
    for (address, expected) in [
        (SocketAddress::Path("/run/kms.sock".into()), "/run/kms.sock"),
        (
            SocketAddress::Path("/run/a \"b\"\\c\u{1}\n.sock".into()),
            r#"/run/a \"b\"\\c\x01\n.sock"#,
        ),
        (SocketAddress::Path("/run/ä.sock".into()), "/run/ä.sock"),
        (SocketAddress::Abstract("kms".into()), "@kms"),
    ] {
        assert_eq!(
            error(address, Errno::CONNREFUSED).grpc_text(),
            format!(
                "connection error: desc = \"transport: Error while dialing: dial unix {expected}: connect: connection refused\""
            )
        );
    }
}

#[tokio::test]
async fn each_cause_has_its_remedy() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| SocketAddress::Path(dir.path().join(name));
    drop(at("left.sock").bind().unwrap());
    std::fs::create_dir(dir.path().join("dir.sock")).unwrap();
    std::fs::write(dir.path().join("file.sock"), b"").unwrap();
    std::os::unix::fs::symlink(dir.path().join("gone"), dir.path().join("link.sock")).unwrap();
    let _datagrams = UnixDatagram::bind(dir.path().join("datagrams.sock")).unwrap();
    let name = format!("dekker-nobody-{}", std::process::id());
    let mut table = vec![
        (at("none.sock"), "the file does not exist; start the plugin"),
        (at("none/none.sock"), "/none does not exist; start the plugin"),
        (at("left.sock"), "left over from a process that has ended; start the plugin again"),
        (at("dir.sock"), "is a directory, not a socket"),
        (at("file.sock"), "is a file, not a socket"),
        (at("link.sock"), "a symbolic link to a file that does not exist"),
        (at("file.sock/kms.sock"), "a part of its path is a file"),
        (at("datagrams.sock"), "a socket of another type"),
    ];
    if cfg!(target_os = "linux") {
        table.push((SocketAddress::Abstract(name), "in this network namespace"));
    }
    for (address, remedy) in table {
        let text = address.dial().await.unwrap_err().to_string();
        assert!(text.contains(&address.to_string()) && text.contains(remedy), "{text}");
    }
}

#[test]
fn a_missing_permission_names_the_user_and_what_is_closed() {
    for (desc, directory, expected) in [
        ("the socket", 0o755, "which needs write permission on the socket (owner "),
        ("its directory", 0o000, "it may not search the directory "),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("kms");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let address = SocketAddress::Path(inner.join("kms.sock"));
        let path = inner.clone();
        let text = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let _listener = address.bind().unwrap();
                std::fs::set_permissions(inner.join("kms.sock"), PermissionsExt::from_mode(0o0))
                    .unwrap();
                std::fs::set_permissions(&inner, PermissionsExt::from_mode(directory)).unwrap();
                crate::kms::tests::become_a_stranger();
                address.dial().await.unwrap_err().to_string()
            })
        });
        let text = text.join().unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        assert!(text.starts_with("this process (user "), "{desc}: {text}");
        assert!(text.contains(expected), "{desc}: {text}");
    }
}
