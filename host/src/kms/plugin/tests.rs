use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Code;

use super::*;
use crate::kms::tests::new_plugin;

async fn status(plugin: &Plugin) -> StatusResponse {
    let status = KeyManagementService::status(plugin, Request::new(StatusRequest {})).await;
    status.unwrap().into_inner()
}

async fn encrypt(plugin: &Plugin, plaintext: &[u8]) -> Result<EncryptResponse, Status> {
    let request = EncryptRequest { plaintext: plaintext.to_vec(), uid: "1".into() };
    let answer = plugin.encrypt(Request::new(request)).await?;
    Ok(answer.into_inner())
}

async fn decrypt(plugin: &Plugin, encrypted: &EncryptResponse) -> Result<Vec<u8>, Status> {
    let request = DecryptRequest {
        ciphertext: encrypted.ciphertext.clone(),
        uid: "2".into(),
        key_id: encrypted.key_id.clone(),
        annotations: encrypted.annotations.clone(),
    };
    let answer = plugin.decrypt(Request::new(request)).await?;
    Ok(answer.into_inner().plaintext.clone())
}

#[tokio::test]
async fn answers_stay_within_the_contracts_limits() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let now = status(&plugin).await;
    assert_eq!((&*now.version, &*now.healthz), ("v2", "ok"));
    assert!((1..=1024).contains(&now.key_id.len()));
    let longest = vec![7; 995];
    let encrypted = encrypt(&plugin, &longest).await.unwrap();
    assert_eq!(encrypted.ciphertext.len(), 1024);
    assert_eq!(encrypted.key_id, now.key_id);
    assert!(encrypted.annotations.is_empty());
    assert_eq!(decrypt(&plugin, &encrypted).await.unwrap(), longest);
    let error = encrypt(&plugin, &[7; 996]).await.unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn decrypt_errors_differ_only_where_they_may() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let good = encrypt(&plugin, b"seed").await.unwrap();
    rotate(&plugin);
    let with = |change: fn(&mut EncryptResponse)| {
        let mut changed = good.clone();
        change(&mut changed);
        changed
    };
    let annotated = with(|it| it.annotations = BTreeMap::from([("a.b".into(), vec![])]));
    let mut current = good.clone();
    current.key_id = plugin.state().keys.current().id().as_str().to_owned();
    let failed = (Code::InvalidArgument, "decryption failed");
    let layout = (Code::InvalidArgument, "the ciphertext does not have this plugin's layout");
    for (desc, request, want) in [
        ("nonce", with(|it| it.ciphertext[1] ^= 1), failed),
        ("ciphertext", with(|it| it.ciphertext[13] ^= 1), failed),
        ("tag", with(|it| *it.ciphertext.last_mut().unwrap() ^= 1), failed),
        ("another key of ours", current, failed),
        ("layout", with(|it| it.ciphertext[0] = 2), layout),
        ("too short", with(|it| it.ciphertext.truncate(28)), layout),
        ("empty", with(|it| it.ciphertext.clear()), layout),
        (
            "annotations",
            annotated,
            (Code::InvalidArgument, "this plugin never returns annotations, so it accepts none"),
        ),
    ] {
        let error = decrypt(&plugin, &request).await.unwrap_err();
        assert_eq!((error.code(), error.message()), want, "{desc}");
    }
    let unknown = with(|it| it.key_id = "no-such-key".into());
    let error = decrypt(&plugin, &unknown).await.unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(!error.message().contains("no-such-key"));
    assert_eq!(decrypt(&plugin, &good).await.unwrap(), b"seed");
}

/// Rotates the keyring as another process would, and loads it.
fn rotate(plugin: &Plugin) {
    let dir = plugin.keyring().path();
    crate::kms::rotate(dir.parent().unwrap()).unwrap();
    plugin.refresh();
}

#[tokio::test]
async fn a_rotation_takes_effect_with_the_next_status() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let before = status(&plugin).await.key_id;
    let old = encrypt(&plugin, b"old").await.unwrap();
    crate::kms::rotate(dir.path()).unwrap();
    // Until then, Encrypt uses the key that the last Status reported.
    assert_eq!(encrypt(&plugin, b"x").await.unwrap().key_id, before);
    let after = status(&plugin).await.key_id;
    assert_ne!(after, before);
    assert_eq!(encrypt(&plugin, b"x").await.unwrap().key_id, after);
    assert_eq!(decrypt(&plugin, &old).await.unwrap(), b"old");
}

#[tokio::test]
async fn a_decrypt_finds_a_key_added_since_the_last_status() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    crate::kms::rotate(dir.path()).unwrap();
    let other = new_plugin(dir.path());
    let encrypted = encrypt(&other, b"seed").await.unwrap();
    assert_eq!(decrypt(&plugin, &encrypted).await.unwrap(), b"seed");
}

#[tokio::test]
async fn a_lost_keyring_is_unhealthy_and_still_decrypts() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let path = dir.path().join("keyring.json");
    let key_id = status(&plugin).await.key_id;
    let encrypted = encrypt(&plugin, b"seed").await.unwrap();
    let good = fs::read(&path).unwrap();
    let private = Permissions::from_mode(0o600);
    type Break = fn(&std::path::Path);
    let faults: [(&str, Break); 3] = [
        ("is not a keyring", |path| fs::write(path, "damaged").unwrap()),
        ("open to other users", |path| {
            fs::set_permissions(path, Permissions::from_mode(0o644)).unwrap();
        }),
        ("does not exist", |path| fs::remove_file(path).unwrap()),
    ];
    for (want, break_it) in faults {
        break_it(&path);
        let unhealthy = status(&plugin).await;
        assert!(unhealthy.healthz.contains(want), "{}", unhealthy.healthz);
        assert_eq!(unhealthy.key_id, key_id, "{want}");
        assert_eq!(decrypt(&plugin, &encrypted).await.unwrap(), b"seed");
        let error = encrypt(&plugin, b"x").await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition, "{want}");

        fs::write(&path, &good).unwrap();
        fs::set_permissions(&path, private.clone()).unwrap();
        assert_eq!(status(&plugin).await.healthz, "ok", "{want}");
        encrypt(&plugin, b"x").await.unwrap();
    }
}

#[tokio::test]
async fn every_call_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let encrypted = encrypt(&plugin, b"x").await.unwrap();
    status(&plugin).await;
    for _ in 0..2 {
        decrypt(&plugin, &encrypted).await.unwrap();
    }
    let want = Counts { status: 1, encrypt: 1, decrypt: 2 };
    assert_eq!(plugin.counts(), want);
    let counts = Introspection::counts(&plugin, Request::new(CountsRequest {})).await;
    let counts = counts.unwrap().into_inner();
    assert_eq!((counts.status, counts.encrypt, counts.decrypt), (1, 1, 2));
}

/// Returns a frame: its head and its payload.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let [.., a, b] = payload.len().to_be_bytes();
    [&[0, a, b, kind, flags, 0, 0, 0, stream][..], payload].concat()
}

/// Returns a literal HPACK field without indexing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let string = |text: &str| [&[text.len() as u8][..], text.as_bytes()].concat();
    [vec![0], string(name), string(value)].concat()
}

/// The test writes its own HTTP/2, because no library sends this authority.
#[tokio::test]
async fn clients_whose_authority_is_a_path_are_served() {
    let dir = tempfile::tempdir().unwrap();
    let address = crate::kms::tests::socket(dir.path());
    let running =
        crate::kms::tests::Running::plugin(new_plugin(dir.path()), address.bind().unwrap());
    for authority in ["/run/kms.sock", "run%2Fkms.sock", "\0kms", "localhost"] {
        let mut stream = address.connect().await.unwrap();
        // `:method: POST` and `:scheme: http`; `:authority` with indexing, as clients send it.
        let mut block = vec![0x83, 0x86, 0x41];
        block.extend(field("", authority).split_off(2));
        block.extend(field(":path", "/v2.KeyManagementService/Status"));
        block.extend(field("content-type", "application/grpc"));
        block.extend(field("te", "trailers"));
        let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        sent.extend(frame(4, 0, 0, &[]));
        sent.extend(frame(1, 4, 1, &block));
        sent.extend(frame(0, 1, 1, &[0; 5]));
        stream.write_all(&sent).await.unwrap();
        // HEADERS, DATA and trailers; RST_STREAM if the call is refused.
        let mut kinds = Vec::new();
        while kinds.len() < 3 {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            stream.read_exact(&mut payload).await.unwrap();
            if head[8] == 1 {
                kinds.push(head[3]);
            }
            assert_ne!(head[3], 3, "{authority}: RST_STREAM");
        }
        assert_eq!(kinds, [1, 0, 1], "{authority}");
    }
    running.stop().await;
}

#[tokio::test]
async fn a_silent_connection_does_not_delay_the_shutdown() {
    let dir = tempfile::tempdir().unwrap();
    let address = crate::kms::tests::socket(dir.path());
    let listener = address.bind().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(serve_and_drain(
        new_plugin(dir.path()),
        listener,
        async { stopped.await.unwrap_or(()) },
        Duration::from_millis(50),
    ));
    let _silent = address.connect().await.unwrap();
    // Once this call is answered, the earlier connection has been accepted too.
    crate::kms::plugin_status(&address).await.unwrap();
    drop(stop);
    served.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_older_keyring_is_unhealthy_still_decrypts_and_encrypts_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let path = dir.path().join("keyring.json");
    let older = fs::read(&path).unwrap();
    rotate(&plugin);
    let newer = fs::read(&path).unwrap();
    let encrypted = encrypt(&plugin, b"seed").await.unwrap();
    let put = |bytes| {
        fs::write(&path, bytes).unwrap();
    };
    put(&older);
    // No Status has seen the older file yet.
    let error = encrypt(&plugin, b"x").await.unwrap_err();
    assert_eq!(error.code(), Code::FailedPrecondition);
    assert!(error.message().contains("lacks 1"), "{error}");
    for _ in 0..2 {
        let ill = status(&plugin).await;
        assert!(ill.healthz.contains("lacks 1"), "{}", ill.healthz);
        assert_eq!(ill.key_id, encrypted.key_id);
        assert_eq!(decrypt(&plugin, &encrypted).await.unwrap(), b"seed");
    }
    put(&newer);
    assert_eq!(status(&plugin).await.healthz, "ok");
    assert_eq!(encrypt(&plugin, b"x").await.unwrap().key_id, encrypted.key_id);
}

#[tokio::test]
async fn a_stalled_disk_delays_no_decrypt() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let encrypted = encrypt(&plugin, b"seed").await.unwrap();
    let (stall, stalled) = std::sync::mpsc::channel::<()>();
    let (started, has_started) = oneshot::channel();
    let disk = plugin.clone();
    let disk = std::thread::spawn(move || {
        let _keyring = disk.keyring();
        started.send(()).unwrap();
        // Blocks until the sender is dropped.
        let _ = stalled.recv();
    });
    has_started.await.unwrap();
    let statuses: Vec<_> = (0..100)
        .map(|_| {
            let plugin = plugin.clone();
            tokio::spawn(async move { status(&plugin).await.healthz })
        })
        .collect();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    while tasks() < 100 {
        tokio::task::yield_now().await;
    }
    for _ in 0..100 {
        assert_eq!(decrypt(&plugin, &encrypted).await.unwrap(), b"seed");
        tokio::task::yield_now().await;
    }
    assert!(statuses.iter().all(|status| !status.is_finished()));
    // All calls but the one that checks the file give up, as callers do at their deadline. A new call is served once the disk responds.
    for status in statuses.iter().skip(1) {
        status.abort();
    }
    drop(stall);
    disk.join().unwrap();
    assert_eq!(status(&plugin).await.healthz, "ok");
}

#[tokio::test]
async fn an_unfinished_keyring_check_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let plugin = new_plugin(dir.path());
    let looked = plugin.look::<()>(|_| panic!("on purpose")).await;
    assert_eq!(looked.unwrap_err().code(), Code::Unavailable);
    // The next check is not affected.
    encrypt(&plugin, b"seed").await.unwrap();
}
