use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::kms::address::SocketAddress;
use crate::kms::claim::{Claim, ClaimError, claim};

/// A socket behind a real lock, with a script for the attempts to serve it.
#[derive(Clone)]
struct Socket {
    address: SocketAddress,
    /// How the next attempts to serve end. After these, each serves until it is asked to stop.
    ends: Arc<Mutex<Vec<End>>>,
    served: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum End {
    ByItself,
    Fault,
    Panic,
    /// Ends after an hour.
    Late,
}

impl Socket {
    fn new(path: PathBuf) -> Self {
        Self { address: SocketAddress::Path(path), ends: Arc::default(), served: Arc::default() }
    }

    /// Returns another process's view of the same address.
    fn another(&self) -> Self {
        Self { address: self.address.clone(), ends: Arc::default(), served: Arc::default() }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }
}

impl Resource for Socket {
    const NAME: &'static str = "a socket";
    type Claim = Claim;

    async fn claim(&self) -> anyhow::Result<Option<Claim>> {
        match claim(&self.address).await {
            Ok(claim) => Ok(Some(claim)),
            Err(ClaimError::AlreadyServed(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn serve(&self, _claim: Claim, stop: Stop) -> anyhow::Result<()> {
        self.served.fetch_add(1, Ordering::Relaxed);
        let end = {
            let mut ends = self.ends.lock().unwrap();
            (!ends.is_empty()).then(|| ends.remove(0))
        };
        match end {
            None => stop.requested().await,
            Some(End::ByItself) => {}
            Some(End::Fault) => anyhow::bail!("a fault"),
            Some(End::Panic) => panic!("on purpose"),
            Some(End::Late) => sleep(Duration::from_secs(3600)).await,
        }
        Ok(())
    }
}

async fn until(standing: &mut watch::Receiver<Standing>, wanted: &Standing) {
    let seen = standing.wait_for(|standing| standing == wanted).await;
    drop(seen.unwrap());
}

fn socket() -> (tempfile::TempDir, Socket) {
    let root = tempfile::tempdir().unwrap();
    let socket = Socket::new(root.path().join("s"));
    (root, socket)
}

#[tokio::test(start_paused = true)]
async fn another_candidate_takes_over_when_the_owner_stops_or_dies() {
    let (_root, socket) = socket();
    let first = Ownership::start(socket.clone()).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(Ownership::start(socket.another()).await.unwrap());
    }
    assert_eq!(*first.standing().borrow(), Standing::Serving);
    let serving = |others: &[Ownership]| {
        let standings = others.iter().map(|other| other.standing().borrow().clone());
        standings.filter(|standing| *standing == Standing::Serving).count()
    };
    sleep(Duration::from_secs(600)).await;
    assert_eq!(serving(&others), 0);

    first.stop().await;
    sleep(LOOK * 2).await;
    assert_eq!(serving(&others), 1);
    socket.address.connect().await.unwrap();

    let owner = others.iter().position(|other| *other.standing().borrow() == Standing::Serving);
    let owner = others.remove(owner.unwrap());
    owner.kill().await;
    sleep(LOOK * 2).await;
    assert_eq!(serving(&others), 1);
    socket.address.connect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_ends_fails_or_panics_is_restarted_with_increasing_delay() {
    let (_root, socket) = socket();
    *socket.ends.lock().unwrap() = [End::ByItself, End::Fault, End::Panic]
        .into_iter()
        .cycle()
        .take(12)
        .chain([End::Late, End::Fault])
        .collect();
    let began = Instant::now();
    let ownership = Ownership::start(socket.clone()).await.unwrap();
    let mut standing = ownership.standing();
    for fault in ["it ended by itself", "a fault", "it panicked"] {
        until(&mut standing, &Standing::Failed(fault.to_owned())).await;
    }
    sleep(Duration::from_secs(600)).await;
    assert_eq!(socket.served(), 13, "then the one that serves for an hour");
    assert_eq!(*standing.borrow(), Standing::Serving);
    // 12 pauses: 250 ms, doubled up to 15 s.
    until(&mut standing, &Standing::Failed("it ended by itself".to_owned())).await;
    let took = began.elapsed() - Duration::from_secs(3600);
    assert!((Duration::from_secs(100)..Duration::from_secs(106)).contains(&took), "{took:?}");
    // After an hour of serving, the next attempt follows the shortest pause.
    sleep(FIRST_RETRY * 4).await;
    assert_eq!(socket.served(), 15);
    assert_eq!(*standing.borrow(), Standing::Serving);
    ownership.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_claim_is_retried_until_it_succeeds() {
    let (root, socket) = socket();
    let first = Ownership::start(socket.clone()).await.unwrap();
    let second = Ownership::start(socket.another()).await.unwrap();
    let path = root.path().join("s");
    first.stop().await;
    std::fs::write(&path, "in the way").unwrap();
    let mut standing = second.standing();
    let seen = standing.wait_for(|standing| matches!(standing, Standing::Failed(_))).await;
    drop(seen.unwrap());
    let start = Ownership::start(socket.another()).await;
    assert!(start.is_err(), "the first attempt returns the error");
    std::fs::remove_file(&path).unwrap();
    until(&mut standing, &Standing::Serving).await;
    second.stop().await;
    assert!(!path.exists());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_candidate_can_be_stopped_without_effect_on_the_owner() {
    let (_root, socket) = socket();
    let first = Ownership::start(socket.clone()).await.unwrap();
    let second = Ownership::start(socket.another()).await.unwrap();
    second.stop().await;
    assert_eq!(*first.standing().borrow(), Standing::Serving);
    socket.address.connect().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_standing_that_stays_is_published_once() {
    let (_root, socket) = socket();
    let first = Ownership::start(socket.clone()).await.unwrap();
    let second = Ownership::start(socket.another()).await.unwrap();
    for (owner, expected) in [(&first, Standing::Serving), (&second, Standing::Elsewhere)] {
        let mut standing = owner.standing();
        assert_eq!(*standing.borrow_and_update(), expected);
        // In this simulated minute the second looks many times.
        let changed = tokio::time::timeout(Duration::from_secs(60), standing.changed()).await;
        assert!(changed.is_err(), "{expected:?} is no news");
    }
}
