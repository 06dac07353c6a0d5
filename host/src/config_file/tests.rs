//! Tests of the controller with a fake engine, in simulated time.

use std::future::pending;
use std::sync::{Mutex, MutexGuard};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;

#[test]
fn a_file_is_identified_by_its_hash() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.yaml");
    std::fs::write(&path, b"abc").unwrap();
    let content = read(&path).unwrap();
    assert_eq!(
        content.hash,
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

/// How the fake engine responds to the next offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    /// They take effect.
    Takes,
    /// They are probed until the next offer.
    Looks,
    /// They are refused.
    Refuses,
    /// They are not valid.
    Faulty,
}

struct State {
    running: Vec<u8>,
    candidate: Option<Vec<u8>>,
    mood: Mood,
    /// The candidate takes effect when this file is judged.
    commits_at: Option<&'static [u8]>,
    /// What `/statusz` would show of the file.
    status: serde_json::Value,
    /// Pairs of files. The second of a pair does not read everything that the first reads.
    losing: Vec<(&'static [u8], &'static [u8])>,
}

/// A fake engine that logs the calls it receives.
#[derive(Clone)]
struct Fake {
    state: Arc<Mutex<State>>,
    log: Arc<watch::Sender<Vec<String>>>,
}

fn hash(bytes: &[u8]) -> Arc<str> {
    crate::sha256::text(bytes).into()
}

fn fault(message: &str) -> Fault {
    Fault { path: String::new(), message: message.to_owned(), position: None }
}

impl Fake {
    fn running(bytes: &[u8]) -> Self {
        let state = State {
            running: bytes.to_vec(),
            candidate: None,
            mood: Mood::Takes,
            commits_at: None,
            status: serde_json::Value::Null,
            losing: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), log: Arc::new(watch::channel(Vec::new()).0) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn log(&self, what: &str, bytes: &[u8]) {
        let line = format!("{what} {}", String::from_utf8_lossy(bytes));
        self.log.send_modify(|log| log.push(line));
    }

    /// Waits for a log line, for at most an hour of simulated time. Removes the line and all earlier lines from the log.
    async fn until(&self, line: &str) {
        let mut log = self.log.subscribe();
        let found = log.wait_for(|log| log.iter().any(|of| of == line));
        let found = tokio::time::timeout(Duration::from_secs(3600), found).await;
        let seen = self.log.borrow().clone();
        found
            .unwrap_or_else(|_| panic!("{line:?} is not in {seen:?}"))
            .expect("the sender is here");
        self.log.send_modify(|log| {
            let at = log.iter().position(|of| of == line).expect("it is there");
            log.drain(..=at);
        });
    }
}

impl Engine for Fake {
    async fn configs_in_use(&self) -> Result<ConfigsInUse, HostError> {
        let state = self.state();
        Ok(ConfigsInUse {
            running: hash(&state.running),
            candidate: state.candidate.as_deref().map(hash),
        })
    }

    async fn judge(&self, config: Zeroizing<Vec<u8>>) -> Result<Judged, HostError> {
        let mut state = self.state();
        let over = hash(&state.running);
        let of = |(old, new): &(&[u8], &[u8])| (*old, *new) == (&*state.running, &**config);
        let loses = state.losing.iter().any(of);
        if state.commits_at == Some(&**config) {
            state.commits_at = None;
            if let Some(candidate) = state.candidate.take() {
                self.log("commits", &candidate);
                state.running = candidate;
            }
        }
        Ok(Judged {
            over,
            outcome: Ok(loses.then(|| "secrets: what it read".to_owned()).into_iter().collect()),
        })
    }

    async fn reload_over(
        &self,
        config: Zeroizing<Vec<u8>>,
        over: Arc<str>,
    ) -> Result<Result<(), ReloadError>, HostError> {
        let mood = {
            let mut state = self.state();
            if over != hash(&state.running) {
                self.log("overtakes", &config);
                return Ok(Err(ReloadError::Overtaken));
            }
            match state.mood {
                Mood::Takes => {
                    state.candidate = None;
                    state.running = config.to_vec();
                }
                Mood::Looks => state.candidate = Some(config.to_vec()),
                Mood::Refuses | Mood::Faulty => state.candidate = None,
            }
            state.mood
        };
        self.log("is offered", &config);
        match mood {
            Mood::Takes => Ok(Ok(())),
            Mood::Looks => pending().await,
            Mood::Refuses => Ok(Err(ReloadError::Refused("no".to_owned()))),
            Mood::Faulty => Ok(Err(ReloadError::Faults(vec![fault("1:2: a: a fault")]))),
        }
    }

    async fn config_warnings(&self, config: Zeroizing<Vec<u8>>) -> Vec<Fault> {
        self.log("is asked for warnings of", &config);
        (1..=12).map(|n| fault(&format!("warning {n}"))).collect()
    }

    fn set_config_file(&self, status: serde_json::Value) {
        self.state().status = status.clone();
        let held = !status["heldUntilUnixSeconds"].is_null();
        self.log("polled", if held { b"held" } else { b"" });
    }
}

struct Room {
    dir: tempfile::TempDir,
    engine: Fake,
    metrics: Arc<Metrics>,
    poll_now: Arc<PollNow>,
    controller: JoinHandle<()>,
}

impl Room {
    /// Creates a controller whose file is already in use, and waits for its first poll.
    async fn new(bytes: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Fake::running(bytes);
        let poll_now = Arc::<PollNow>::default();
        let path = dir.path().join("config.yaml");
        std::fs::write(&path, bytes).unwrap();
        let timing = Timing { interval: Duration::from_secs(60), hold: Duration::from_secs(30) };
        let metrics = Arc::new(Metrics::new(""));
        let controller =
            Controller::new(path, timing, engine.clone(), metrics.clone(), poll_now.clone());
        let controller = tokio::spawn(controller.run());
        let room = Self { dir, engine, metrics, poll_now, controller };
        room.engine.until("polled ").await;
        room
    }

    /// Replaces the file.
    fn write(&self, bytes: &[u8]) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, bytes).unwrap();
        std::fs::rename(new, self.dir.path().join("config.yaml")).unwrap();
        self.poll_now.hint();
    }

    fn running(&self) -> String {
        String::from_utf8(self.engine.state().running.clone()).unwrap()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.controller.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_nobody_waited_for_is_not_forgotten() {
    let room = Room::new(b"C0").await;
    room.engine.state().mood = Mood::Looks;
    room.write(b"C1");
    room.engine.until("is offered C1").await;
    // C2 appears, and while C2 is judged, C1 takes effect although its outcome is no longer awaited. Then C2 is refused.
    room.engine.state().commits_at = Some(b"C2");
    room.engine.state().mood = Mood::Refuses;
    room.write(b"C2");
    room.engine.until("commits C1").await;
    room.engine.until("is offered C2").await;
    assert_eq!(room.running(), "C1");
    // The file now contains what was in use at the beginning, which is no longer in use.
    room.engine.state().mood = Mood::Takes;
    room.write(b"C0");
    room.engine.until("is offered C0").await;
    assert_eq!(room.running(), "C0");
}

#[tokio::test(start_paused = true)]
async fn a_pending_candidate_is_replaced_when_the_file_in_use_returns() {
    let room = Room::new(b"C0").await;
    room.engine.state().mood = Mood::Looks;
    room.write(b"C1");
    room.engine.until("is offered C1").await;
    // The file is again the one in use, so C1 must not take effect later.
    room.engine.state().mood = Mood::Takes;
    room.write(b"C0");
    room.engine.until("is offered C0").await;
    assert_eq!(room.running(), "C0");
    assert_eq!(room.engine.state().candidate, None);
}

#[tokio::test(start_paused = true)]
async fn a_file_is_compared_with_the_one_in_use_when_it_is_offered() {
    let room = Room::new(b"C0").await;
    room.engine.state().mood = Mood::Looks;
    room.write(b"C1");
    room.engine.until("is offered C1").await;
    room.engine.state().mood = Mood::Takes;
    room.engine.state().commits_at = Some(b"C2");
    // C2 loses what C1 reads. It was better than C1 while C0 was in use.
    room.engine.state().losing.push((b"C1", b"C2"));
    room.write(b"C2");
    room.engine.until("commits C1").await;
    room.engine.until("polled held").await;
    assert_eq!(room.running(), "C1");
    room.engine.until("is offered C2").await;
    assert_eq!(room.running(), "C2");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_held_once_is_not_held_again() {
    let room = Room::new(b"C0").await;
    {
        let mut state = room.engine.state();
        state.losing.push((b"C0", b"C1"));
        state.mood = Mood::Refuses;
    }
    room.write(b"C1");
    room.engine.until("polled held").await;
    // The file is refused because its plugin is unavailable. The next attempt follows after a second, not after another hold time.
    room.engine.until("is offered C1").await;
    let first = Instant::now();
    room.engine.until("is offered C1").await;
    assert!(first.elapsed() < Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_confirmation_ends_the_hold() {
    let room = Room::new(b"C0").await;
    room.engine.state().losing.push((b"C0", b"C1"));
    room.write(b"C1");
    room.engine.until("polled held").await;
    let held = Instant::now();
    room.poll_now.confirm();
    room.engine.until("is offered C1").await;
    assert!(held.elapsed() < Duration::from_secs(1));
}

/// Log lines of the current thread, without colours and times.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn collect(&self) -> tracing::subscriber::DefaultGuard {
        let lines = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .without_time()
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    fn taken(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn the_warnings_of_a_refused_file_are_logged_once() {
    let lines = Lines::default();
    let _collecting = lines.collect();
    let room = Room::new(b"C0").await;
    for (mood, config) in [(Mood::Faulty, b"C1"), (Mood::Refuses, b"C2")] {
        room.engine.state().mood = mood;
        room.write(config);
        room.engine.until("polled ").await;
        let log = lines.taken();
        let refused = log.find("the configuration was refused; the one in use is kept").unwrap();
        for n in 1..=10 {
            let line = format!("a warning about the refused configuration: warning {n} ");
            assert!(log.find(&line).is_some_and(|at| at > refused), "{n}: {log}");
        }
        assert!(!log.contains("warning 11") && log.contains("2 more warnings: run"), "{log}");
        // It is offered again, and refused for the same reason.
        let offered = format!("is offered {}", String::from_utf8_lossy(config));
        room.engine.until(&offered).await;
        room.engine.until("polled ").await;
        assert_eq!(lines.taken(), "");
    }
}

#[tokio::test(start_paused = true)]
async fn a_held_file_is_no_failure() {
    let lines = Lines::default();
    let _collecting = lines.collect();
    let room = Room::new(b"C0").await;
    room.engine.state().losing.push((b"C0", b"C1"));
    room.write(b"C1");
    room.engine.until("polled held").await;
    let status = room.engine.state().status.clone();
    let until = status["heldUntilUnixSeconds"].as_f64().unwrap();
    let until = UNIX_EPOCH + Duration::from_secs_f64(until);
    let until = humantime::format_rfc3339_seconds(until).to_string();
    let log = lines.taken();
    let expected =
        format!("the changed configuration is held until {until}: it may be half-written");
    assert!(log.contains(" WARN ") && log.contains(&expected), "{log}");
    assert!(status["held"].as_str().unwrap().starts_with(&format!("held until {until}: ")));
    assert_eq!((&status["error"], &status["refusals"]), (&serde_json::Value::Null, &0.into()));
    // A poll within the hold finds nothing new.
    room.poll_now.hint();
    room.engine.until("polled held").await;
    assert_eq!(lines.taken(), "");
    room.engine.until("polled ").await;
    assert_eq!(room.running(), "C1");
    let status = room.engine.state().status.clone();
    assert!(status["held"].is_null() && status["heldUntilUnixSeconds"].is_null(), "{status}");
    assert!(!lines.taken().contains("ERROR"));
    // The engine, which is fake here, counts the success.
    let metrics = room.metrics.render(&[]);
    assert!(!metrics.contains("status=\"failure\""), "{metrics}");
}
