//! Operations that wait for the plugin: shared calls, cancelled operations, and timeouts.

use dekker_host::ErrorKind;
use tokio::task::JoinSet;

use crate::room::{Room, at, fault, read, until_parked, write};
use crate::scripted::Call;
use crate::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reads_of_one_dek_ask_for_it_once() {
    let room = Room::new();
    let foreign = write(&room.host(), "/k", b"foreign").await;
    let host = room.host();
    write(&host, "/primed", b"x").await;
    let before = room.plugin.calls().decrypt;
    room.plugin.hang(Call::Decrypt);
    let mut reads = JoinSet::new();
    for _ in 0..64 {
        let (host, stored) = (host.clone(), foreign.clone());
        reads.spawn(async move { host.from_storage(at("/k"), stored).await });
    }
    until_parked(&host, 64).await;
    room.plugin.let_go();
    for back in reads.join_all().await {
        assert_eq!(back.expect("a read").plaintext.as_slice(), b"foreign");
    }
    read(&host, "/k", &foreign).await;
    assert_eq!(room.plugin.calls().decrypt, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn abandoned_operations_are_cancelled() {
    let room = Room::new();
    let foreign = write(&room.host(), "/k", b"foreign").await;
    let host = room.host();
    write(&host, "/primed", b"x").await;
    room.plugin.hang(Call::Decrypt);
    let mut reads = JoinSet::new();
    for _ in 0..8 {
        let (host, stored) = (host.clone(), foreign.clone());
        reads.spawn(async move { host.from_storage(at("/k"), stored).await });
    }
    until_parked(&host, 8).await;
    reads.shutdown().await;
    until_parked(&host, 0).await;
    room.plugin.let_go();
    assert_eq!(read(&host, "/k", &foreign).await.plaintext.as_slice(), b"foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_wait_for_the_first_status_and_can_be_given_up() {
    let room = Room::new();
    room.plugin.hang(Call::Status);
    let host = room.host();
    let written = tokio::spawn({
        let host = host.clone();
        async move { host.to_storage(at("/k"), b"early".to_vec().into()).await }
    });
    let given_up = tokio::spawn({
        let host = host.clone();
        async move { host.to_storage(at("/k"), b"never".to_vec().into()).await }
    });
    until_parked(&host, 2).await;
    given_up.abort();
    until_parked(&host, 1).await;
    room.plugin.let_go();
    let written = written.await.expect("no panic").expect("a write").stored;
    assert_eq!(read(&host, "/k", &written).await.plaintext.as_slice(), b"early");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_plugin_that_hangs_ends_at_its_deadline() {
    let room = Room::new();
    let foreign = write(&room.host(), "/k", b"foreign").await;
    let host = room.builder("200ms").build().expect("a valid configuration");
    let own = write(&host, "/own", b"own").await;
    room.plugin.hang(Call::Decrypt);
    let error = fault(host.from_storage(at("/k"), foreign.clone()).await);
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(4)));
    assert!(error.message.starts_with("failed to decrypt DEK, error: "), "{error}");
    // Operations that need no call continue in the meantime.
    assert_eq!(read(&host, "/own", &own).await.plaintext.as_slice(), b"own");
    room.plugin.let_go();
    assert_eq!(read(&host, "/k", &foreign).await.plaintext.as_slice(), b"foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_fail_with_the_cause_if_a_plugin_never_answers() {
    let room = Room::new();
    room.plugin.hang(Call::Status);
    let host = room.builder("200ms").build().expect("a valid configuration");
    let error = fault(host.to_storage(at("/k"), b"x".to_vec().into()).await);
    assert_eq!(error.kind, ErrorKind::NotReady, "{error}");
    let checks = host.health().await.expect("an engine");
    let text = checks[0].fault.as_deref().expect("a fault");
    assert!(text.contains("DeadlineExceeded"), "{text}");
    room.plugin.let_go();
    until("the plugin is asked again", async || {
        let checks = host.health().await.expect("an engine");
        checks[0].fault.is_none().then_some(())
    })
    .await;
    write(&host, "/k", b"x").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_dek_that_the_plugin_refuses_is_a_plugin_error() {
    let (room, elsewhere) = (Room::new(), Room::new());
    elsewhere.plugin.script().key_id = "key-of-another".to_owned();
    let foreign = write(&elsewhere.host(), "/k", b"foreign").await;
    let host = room.host();
    let error = fault(host.from_storage(at("/k"), foreign).await);
    assert_eq!((error.kind, error.grpc_code), (ErrorKind::Kms, Some(5)));
    assert!(error.message.contains("this plugin encrypted no such thing"), "{error}");
    assert!(!error.message.contains("key-of-another"), "{error}");
}
