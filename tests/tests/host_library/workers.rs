//! Several worker instances for one host.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dekker_host::{Host, HostError, Metrics};
use dekker_tests::interop;
use dekker_tests::object::{EncryptedObject, Stored};
use tokio::task::JoinSet;

use crate::room::{Room, at, fault, large, read, write};

/// 8 MiB: enough for the engine and small values.
const LITTLE: usize = 8 << 20;
/// 16 MiB: more than the whole memory limit.
const LARGE: usize = 16 << 20;

/// Returns the DEK that sealed a value, and the counter in its nonce. The random part of the nonce is left out, so that it cannot hide a repeated
/// counter.
fn nonce(stored: &[u8]) -> (Vec<u8>, u64) {
    let object = EncryptedObject::of("a", stored);
    let counter = object.counter();
    (object.encrypted_dek_source, counter)
}

async fn sample(host: &Host, line: &str) -> Option<f64> {
    let text = Metrics::new("").render(&host.metrics().await.expect("an engine"));
    let line = text.lines().find_map(|of| of.strip_prefix(line))?;
    line.trim().parse().ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_writes_of_eight_workers_cost_one_dek() {
    const TASKS: u64 = 100;
    const EACH: u64 = 1000;
    let start = std::time::Instant::now();
    let room = Room::new();
    let host = room.builder("1m").workers(8).build().expect("a host");
    assert_eq!(host.workers(), 8);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let host = host.clone();
        tasks.spawn(async move {
            let mut nonces = Vec::new();
            for n in 0..EACH {
                let (key, plaintext) = (format!("/{task}/{n}"), n.to_le_bytes());
                let stored = write(&host, &key, &plaintext).await;
                let back = read(&host, &key, &stored).await;
                assert_eq!((back.plaintext.as_slice(), back.stale), (&plaintext[..], false));
                nonces.push(nonce(&stored));
            }
            nonces
        });
    }
    let nonces: Vec<_> = tasks.join_all().await.into_iter().flatten().collect();
    let deks: HashSet<_> = nonces.iter().map(|(dek, _)| dek).collect();
    let leases: HashSet<_> = nonces.iter().map(|(_, counter)| counter >> 32).collect();
    let unique: HashSet<_> = nonces.iter().collect();
    let calls = room.plugin.calls();
    interop::print_figures(&format!(
        "{} writes and as many reads by 8 workers: {} nonces, {} DEKs, {} parts of its counter; Status {}, Encrypt {}, Decrypt {}",
        nonces.len(),
        unique.len(),
        deks.len(),
        leases.len(),
        calls.status,
        calls.encrypt,
        calls.decrypt,
    ));
    assert_eq!(unique.len() as u64, TASKS * EACH, "no nonce twice");
    assert_eq!(deks.len(), 1);
    assert_eq!((calls.encrypt, calls.decrypt), (1, 1), "one DEK, with its proof");
    // One at the start and one each minute, in case the test takes that long.
    let polls = 1 + start.elapsed().as_secs() / 60;
    assert!((1..=polls).contains(&calls.status), "{} Status calls", calls.status);
    for direction in ["to_storage", "from_storage"] {
        let line = format!(
            "apiserver_storage_transformation_operations_total{{resource=\"secrets\",transformation_type=\"{direction}\",transformer_prefix=\"k8s:enc:kms:v2:a:\",status=\"OK\"}}"
        );
        assert_eq!(sample(&host, &line).await, Some((TASKS * EACH) as f64), "{direction}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_traps_lose_no_other_request_and_repeat_no_nonce() {
    const TRAPS: u64 = 1000;
    let room = Room::new();
    let metrics = Arc::new(Metrics::new(""));
    let host = room.builder("1m").workers(4).memory_limit(LITTLE);
    let host = host.metrics(metrics.clone()).build().expect("a host");
    write(&host, "/primed", b"x").await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let mut load = JoinSet::new();
    for task in 0..4u8 {
        let (host, stop, done) = (host.clone(), stop.clone(), done.clone());
        load.spawn(async move {
            let mut nonces = Vec::new();
            let key = format!("/load/{task}");
            while !stop.load(Ordering::Relaxed) {
                let stored = write(&host, &key, &[task; 100]).await;
                let back = read(&host, &key, &stored).await;
                assert_eq!((back.plaintext.as_slice(), back.stale), (&[task; 100][..], false));
                nonces.push(nonce(&stored));
                done.fetch_add(2, Ordering::Relaxed);
            }
            nonces
        });
    }
    let large = large(LARGE);
    for n in 0..TRAPS {
        let trapped = host.to_storage(large.clone(), b"x".to_vec().into()).await;
        assert_eq!(trapped.map(|_| ()), Err(HostError::Trapped), "{n}");
    }
    stop.store(true, Ordering::Relaxed);
    let nonces: Vec<_> = load.join_all().await.into_iter().flatten().collect();
    let unique: HashSet<_> = nonces.iter().collect();
    let leases: HashSet<_> = nonces.iter().map(|(_, counter)| counter >> 32).collect();
    let calls = room.plugin.calls();
    interop::print_figures(&format!(
        "{TRAPS} traps in 4 workers during {} requests, none of which failed: {} nonces of {}, from {} leases; Encrypt {}",
        done.load(Ordering::Relaxed),
        unique.len(),
        nonces.len(),
        leases.len(),
        calls.encrypt,
    ));
    assert!(!nonces.is_empty());
    assert_eq!(unique.len(), nonces.len(), "no nonce twice");
    assert_eq!((calls.encrypt, calls.decrypt), (1, 1), "the plugin has not noticed");
    let text = metrics.render(&host.metrics().await.expect("an engine"));
    assert!(text.contains(&format!("dekker_component_traps_total {TRAPS}\n")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_dek_and_a_new_file_reach_every_worker() {
    let room = Room::new();
    let host = room.builder("1m").automatic_reload(true).workers(8);
    let host = host.build().expect("a host");
    let old = write(&host, "/old", b"old").await;
    // All workers are busy at once, so each one is used.
    let by_all = async |key_id: &'static str| {
        let mut tasks = JoinSet::new();
        for n in 0..64 {
            let host = host.clone();
            let key = format!("/{n}");
            tasks.spawn(async move {
                let stored = write(&host, &key, b"x").await;
                assert_eq!(EncryptedObject::of("a", &stored).key_id, key_id);
                assert!(!read(&host, &key, &stored).await.stale);
            });
        }
        tasks.join_all().await;
    };
    by_all("key-1").await;
    room.plugin.script().key_id = "key-2".to_owned();
    // Another timeout makes it another provider, which has a separate DEK.
    let reloaded = host.reload(room.config("59s").into_bytes().into()).await;
    reloaded.expect("an engine").expect("a healthy plugin");
    by_all("key-2").await;
    assert!(read(&host, "/old", &old).await.stale);

    let plain = room.config("59s") + "- resources: [pods]\n  providers: [{identity: {}}]\n";
    let reloaded = host.reload(plain.into_bytes().into()).await;
    reloaded.expect("an engine").expect("a healthy plugin");
    let encrypts = room.plugin.calls().encrypt;
    by_all("key-2").await;
    assert_eq!(room.plugin.calls().encrypt, encrypts, "the same provider, and so the same DEK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_dek_is_decrypted_once_for_all_workers() {
    let room = Room::new();
    let foreign = write(&room.host(), "/k", b"foreign").await;
    let host = room.builder("1m").workers(8).build().expect("a host");
    write(&host, "/primed", b"x").await;
    let before = room.plugin.calls().decrypt;
    let mut tasks = JoinSet::new();
    for _ in 0..64 {
        let (host, foreign) = (host.clone(), foreign.clone());
        tasks.spawn(async move {
            for _ in 0..50 {
                let back = read(&host, "/k", &foreign).await;
                assert_eq!(back.plaintext.as_slice(), b"foreign");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(room.plugin.calls().decrypt, before + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_match_those_of_a_host_without_workers() {
    let room = Room::new();
    let alone = room.builder("1m").workers(0).build().expect("a host");
    let host = room.builder("1m").workers(3).build().expect("a host");
    assert_eq!((alone.workers(), host.workers()), (0, 3));
    let good = write(&host, "/k", b"x").await;
    let mut altered = good.clone();
    altered[30] ^= 1;
    let table: &[(&str, &[u8])] = &[
        ("/k", &altered),
        ("/another", &good),
        ("/k", b"k8s:enc:kms:v2:a:"),
        ("/k", b"k8s:enc:kms:v2:b:x"),
        ("/k", b"plain"),
    ];
    for (key, stored) in table {
        let of = async |host: &Host| fault(host.from_storage(at(key), stored.to_vec()).await);
        assert_eq!(of(&host).await, of(&alone).await, "{key} {stored:?}");
    }
    // Each failure was counted once, as without workers.
    let failed = "apiserver_storage_transformation_operations_total{resource=\"secrets\",transformation_type=\"from_storage\",transformer_prefix=\"k8s:enc:kms:v2:a:\",status=\"unknown-non-grpc\"}";
    assert_eq!(sample(&host, failed).await, Some(3.0));
    assert_eq!(sample(&alone, failed).await, Some(3.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_contained_component_has_no_workers() {
    let Some(component) = std::env::var_os("DEKKER_COMPONENT") else {
        panic!("DEKKER_COMPONENT names the component: `cargo xtask test end-to-end` sets it");
    };
    let room = Room::new();
    let component = std::fs::read(component).expect("a component");
    let host = room.builder("1m").component(component).workers(4);
    let host = host.build().expect("a host");
    assert_eq!(host.workers(), 0);
    let stored = write(&host, "/k", b"x").await;
    assert_eq!(read(&host, "/k", &stored).await.plaintext.as_slice(), b"x");
}
