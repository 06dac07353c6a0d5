//! A host that only decrypts.

use dekker_host::{ErrorKind, ValueState};

use crate::room::{Room, at, fault, read, write};

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_host_decrypts_with_an_unhealthy_plugin_and_refuses_writes() {
    let room = Room::new();
    let writer = room.host();
    let stored = write(&writer, "/k", b"hunter2").await;
    writer.close().await;
    room.plugin.script().healthz = "tired".into();
    let before = room.plugin.calls();
    for workers in [0, 2] {
        let host = room.builder("1m").read_only(true).workers(workers).build();
        let host = host.expect("a valid configuration");
        let back = read(&host, "/k", &stored).await;
        assert_eq!(back.plaintext.as_slice(), b"hunter2", "{workers} workers");
        let checks = host.health().await.expect("an engine");
        assert!(checks[0].fault.as_deref().is_some_and(|fault| fault.ends_with("tired")));
        let refused = fault(host.to_storage(at("/k"), b"x".to_vec().into()).await);
        assert_eq!(refused.kind, ErrorKind::ReadOnly, "{workers} workers");
        // The engine reuses this answer, so the state stays unknown.
        let again = read(&host, "/k", &stored).await;
        assert_eq!((again.state, again.stale), (None, false), "{workers} workers");
        host.close().await;
    }
    let now = room.plugin.calls();
    assert_eq!((now.encrypt - before.encrypt, now.decrypt - before.decrypt), (0, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_host_compares_values_with_the_key_of_the_plugins_status() {
    let room = Room::new();
    let writer = room.host();
    let stored = write(&writer, "/k", b"hunter2").await;
    assert_eq!(read(&writer, "/k", &stored).await.state, Some(ValueState::Fresh));
    writer.close().await;
    for (key_id, expected) in [("key-1", ValueState::Fresh), ("key-2", ValueState::Stale)] {
        room.plugin.script().key_id = key_id.into();
        let host = room.builder("1m").read_only(true).build().expect("a valid configuration");
        host.health().await.expect("an engine");
        assert_eq!(read(&host, "/k", &stored).await.state, Some(expected), "{key_id}");
        host.close().await;
    }
}
