use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::*;

fn path(root: &tempfile::TempDir) -> PathBuf {
    root.path().join("run/kms.sock")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn a_claimed_socket_is_private_and_gone_afterwards() {
    let root = tempfile::tempdir().unwrap();
    let path = path(&root);
    let address = SocketAddress::Path(path.clone());
    let claimed = claim(&address).await.unwrap();
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    address.connect().await.unwrap();
    drop(claimed);
    assert!(!path.exists());
    claim(&address).await.unwrap();
}

#[tokio::test]
async fn a_served_socket_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let ours = SocketAddress::Path(path(&root));
    let _claimed = claim(&ours).await.unwrap();
    // A server that does not use our lock and answers nothing.
    let theirs = SocketAddress::Path(root.path().join("theirs"));
    let _listener = theirs.bind().unwrap();
    let name = SocketAddress::Abstract(format!("dekker-claim-{}", std::process::id()));
    let _named = claim(&name).await.unwrap();
    for address in [ours, theirs, name] {
        let error = claim(&address).await.unwrap_err();
        assert!(matches!(error, ClaimError::AlreadyServed(_)), "{error}");
        address.connect().await.unwrap();
    }
}

#[tokio::test]
async fn a_dead_servers_socket_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("s");
    let address = SocketAddress::Path(path.clone());
    drop(address.bind().unwrap());
    assert!(path.exists());
    let _claimed = claim(&address).await.unwrap();
    address.connect().await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_not_a_socket_is_left_alone() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("s");
    fs::write(&path, "precious").unwrap();
    let error = claim(&SocketAddress::Path(path.clone())).await.unwrap_err();
    assert!(matches!(error, ClaimError::NotASocket(_)), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_directory_open_to_others_is_refused_unless_sticky() {
    let root = tempfile::tempdir().unwrap();
    let address = SocketAddress::Path(root.path().join("s"));
    let set = |mode| fs::set_permissions(root.path(), PermissionsExt::from_mode(mode)).unwrap();
    set(0o777);
    let error = claim(&address).await.unwrap_err();
    assert!(matches!(error, ClaimError::OpenDirectory(_)), "{error}");
    set(0o1777);
    claim(&address).await.unwrap();
}

#[tokio::test]
async fn another_servers_socket_is_not_removed_on_drop() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("s");
    let address = SocketAddress::Path(path.clone());
    let claimed = claim(&address).await.unwrap();
    fs::remove_file(&path).unwrap();
    let _theirs = address.bind().unwrap();
    drop(claimed);
    address.connect().await.unwrap();
}
