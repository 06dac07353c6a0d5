//! A thousand reloads under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dekker_tests::interop;
use tokio::task::JoinSet;

use crate::room::{Room, at, read, write};

const RELOADS: usize = 1000;
/// The number of reloads after which memory and descriptors should no longer grow.
const WARM: usize = 100;
/// 64 MiB: what the other tests of this binary, each with an instance of the component, may use at the same time. If each of 900 reloads leaked a
/// configuration, a provider or a connection, that would cost more.
const SLACK: u64 = 64 * 1024 * 1024;

/// Returns the number of open descriptors, and the resident memory in bytes.
fn footprint() -> (usize, u64) {
    let descriptors = std::fs::read_dir("/proc/self/fd").expect("procfs").count();
    let statm = std::fs::read_to_string("/proc/self/statm").expect("procfs");
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    (descriptors, pages.expect("a number") * 4096)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_reloads_under_load_lose_no_request_and_leak_nothing() {
    let room = Room::new();
    let host = room.builder("1m").automatic_reload(true).build().expect("a host");
    let foreign = write(&room.host(), "/k", b"foreign").await;
    // Now the plugin has answered all calls of a new host, and the foreign DEK is cached.
    let known = read(&host, "/k", &foreign).await;
    assert_eq!(known.plaintext.as_slice(), b"foreign");
    let stop = Arc::new(AtomicBool::new(false));
    let requests = Arc::new(AtomicU64::new(0));
    let mut load = JoinSet::new();
    for n in 0..4u8 {
        let (host, stop, requests) = (host.clone(), stop.clone(), requests.clone());
        let foreign = foreign.clone();
        load.spawn(async move {
            let key = format!("/load/{n}");
            while !stop.load(Ordering::Relaxed) {
                let stored = write(&host, &key, &[n; 100]).await;
                let read = host.from_storage(at(&key), stored).await.expect("a read");
                assert_eq!((read.plaintext.as_slice(), read.stale), (&[n; 100][..], false));
                let read = host.from_storage(at("/k"), foreign.clone()).await.expect("a read");
                assert_eq!(read.plaintext.as_slice(), b"foreign");
                requests.fetch_add(3, Ordering::Relaxed);
            }
        });
    }
    let mut warm = footprint();
    let calls = room.plugin.calls();
    for n in 0..RELOADS {
        // The rule changes, but the provider does not.
        let more = if n % 2 == 0 { "  - identity: {}\n" } else { "" };
        let config = room.config("1m") + more;
        let outcome = host.reload(config.into_bytes().into()).await.expect("a host");
        outcome.unwrap_or_else(|error| panic!("reload {n}: {error}"));
        if n == WARM {
            warm = footprint();
        }
    }
    let end = footprint();
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
    let after = room.plugin.calls();
    interop::print_figures(&format!(
        "{RELOADS} reloads during {} requests; Encrypt {} → {}, Decrypt {} → {}; descriptors {} → {}, resident {} → {} KiB",
        requests.load(Ordering::Relaxed),
        calls.encrypt,
        after.encrypt,
        calls.decrypt,
        after.decrypt,
        warm.0,
        end.0,
        warm.1 / 1024,
        end.1 / 1024,
    ));
    assert!(requests.load(Ordering::Relaxed) > 0);
    assert_eq!(after.encrypt, calls.encrypt, "an unchanged provider keeps its DEK");
    assert_eq!(after.decrypt, calls.decrypt, "an unchanged provider keeps its cache");
    // Other tests of this binary open and close descriptors at the same time. A reload that leaked one would leave hundreds.
    assert!(end.0 < warm.0 + 100, "descriptors {} → {}", warm.0, end.0);
    assert!(end.1 < warm.1 + SLACK, "resident {} → {}", warm.1, end.1);
}
