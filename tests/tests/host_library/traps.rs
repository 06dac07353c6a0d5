//! A trap in the component fails one request and nothing else. Here it hits the instance that has the plugins, because there are no workers.

use std::sync::Arc;

use dekker_host::{HostError, Metrics};

use crate::room::{Room, at, large, read, until_parked, write};
use crate::scripted::Call;

/// 8 MiB: enough for the engine and small values.
const LITTLE: usize = 8 << 20;
/// 16 MiB: more than the whole memory limit.
const LARGE: usize = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn only_the_request_that_traps_is_lost() {
    let room = Room::new();
    let metrics = Arc::new(Metrics::new(""));
    let host = room.builder("1m").memory_limit(LITTLE).workers(0).metrics(metrics.clone());
    let host = host.build().expect("a valid configuration");
    let before = write(&host, "/before", b"before").await;
    assert_eq!(room.plugin.calls().encrypt, 1);

    let trapped = host.to_storage(large(LARGE), b"x".to_vec().into()).await;
    assert_eq!(trapped.map(|_| ()), Err(HostError::Trapped));
    // The next request waits for the fresh instance's first Status, as at every start.
    let after = write(&host, "/after", b"after").await;
    for (key, stored, plaintext) in [("/before", &before, "before"), ("/after", &after, "after")] {
        let back = read(&host, key, stored).await;
        assert_eq!(back.plaintext.as_slice(), plaintext.as_bytes());
        assert!(!back.stale, "{key}: the key ID has not changed");
    }
    let calls = room.plugin.calls();
    assert_eq!((calls.status, calls.encrypt), (2, 2), "one priming each");
    assert_eq!(calls.decrypt, 3, "a proof in each priming, and the DEK of the value from before");
    let text = metrics.render(&host.metrics().await.expect("an engine"));
    for line in ["dekker_component_traps_total 1\n", "dekker_component_restarts_total 1\n"] {
        assert!(text.contains(line), "{line}in {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_survives_the_trap_of_another_request() {
    let room = Room::new();
    let foreign = write(&room.host(), "/k", b"foreign").await;
    let host =
        room.builder("1m").memory_limit(LITTLE).workers(0).build().expect("a valid configuration");
    write(&host, "/primed", b"x").await;
    room.plugin.hang(Call::Decrypt);
    let waiting = tokio::spawn({
        let (host, stored) = (host.clone(), foreign.clone());
        async move { host.from_storage(at("/k"), stored).await }
    });
    until_parked(&host, 1).await;
    let trapped = host.from_storage(large(LARGE), b"x".to_vec()).await;
    assert_eq!(trapped.map(|_| ()), Err(HostError::Trapped));
    until_parked(&host, 1).await;
    assert!(!waiting.is_finished());
    room.plugin.let_go();
    let back = waiting.await.expect("no panic").expect("a read");
    assert_eq!(back.plaintext.as_slice(), b"foreign");
    assert_eq!(
        room.plugin.calls().status,
        3,
        "the first host's, this one's, and the fresh instance's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_survives_consecutive_traps() {
    let room = Room::new();
    let host =
        room.builder("1m").memory_limit(LITTLE).workers(0).build().expect("a valid configuration");
    let kept = write(&host, "/kept", b"kept").await;
    for round in 0..5 {
        let trapped = host.to_storage(large(LARGE), b"x".to_vec().into()).await;
        assert_eq!(trapped.map(|_| ()), Err(HostError::Trapped), "{round}");
    }
    assert_eq!(read(&host, "/kept", &kept).await.plaintext.as_slice(), b"kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_works_after_a_trap() {
    let room = Room::new();
    let host = room.builder("1m").memory_limit(LITTLE).workers(0).automatic_reload(true);
    let host = host.build().expect("a valid configuration");
    write(&host, "/primed", b"x").await;
    let trapped = host.to_storage(large(LARGE), b"x".to_vec().into()).await;
    assert_eq!(trapped.map(|_| ()), Err(HostError::Trapped));
    let plain = "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources: [{resources: [secrets], providers: [{identity: {}}]}]\n";
    let reloaded = host.reload(plain.as_bytes().to_vec().into()).await;
    reloaded.expect("an engine").expect("a valid configuration");
    assert_eq!(write(&host, "/k", b"plain").await, b"plain");
    // The next fresh instance also has the configuration in use, not the first one.
    let trapped = host.to_storage(large(LARGE), b"x".to_vec().into()).await;
    assert_eq!(trapped.map(|_| ()), Err(HostError::Trapped));
    assert_eq!(write(&host, "/k", b"plain").await, b"plain");
}
