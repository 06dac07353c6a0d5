//! Tests of the driver with components that trap, in simulated time and without a separate thread.

use tokio::sync::oneshot;

use super::restarts::{LIVED, LONGEST_RESTART_WAIT};
use super::*;
use crate::fault::ReloadError;
use crate::model::{Encrypted, HostError, Location};

const CONFIG: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources: [{resources: [secrets], providers: [{identity: {}}]}]";

/// A configuration whose plugin never exists, so that operations wait for it.
const KMS: &str = "
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{kms: {apiVersion: v2, name: a, endpoint: 'unix:///nowhere/dekker-test.sock', timeout: 1h}}]";

/// Returns the embedded component with the body of one function replaced by a trap. `function` is the end of the function's export name.
fn broken(function: &str) -> Component {
    let mut bytes = crate::guest::EMBEDDED.to_vec();
    let mut core: Vec<std::ops::Range<usize>> = Vec::new();
    let (mut imported, mut wanted, mut at) = (0, None, 0);
    for payload in wasmparser::Parser::new(0).parse_all(crate::guest::EMBEDDED) {
        match payload.expect("a component") {
            wasmparser::Payload::ModuleSection { .. } => (imported, wanted, at) = (0, None, 0),
            wasmparser::Payload::ImportSection(imports) => {
                let imports = imports.into_imports();
                let functions = imports
                    .map(|import| import.expect("an import"))
                    .filter(|import| matches!(import.ty, wasmparser::TypeRef::Func(_)));
                imported = u32::try_from(functions.count()).expect("a few");
            }
            wasmparser::Payload::ExportSection(exports) => {
                let exports = exports.into_iter().map(|export| export.expect("an export"));
                let mut named = exports.filter(|export| {
                    export.name.ends_with(function) && !export.name.starts_with("cabi_post_")
                });
                wanted = named.next().map(|export| export.index - imported);
            }
            wasmparser::Payload::CodeSectionEntry(body) => {
                if wanted == Some(at) {
                    let start = body.get_operators_reader().expect("a body");
                    core.push(start.original_position()..body.range().end);
                }
                at += 1;
            }
            _ => {}
        }
    }
    let [body] = &core[..] else {
        panic!("{function} is {} functions", core.len());
    };
    // Fill the body with `unreachable`, as many `nop` as fit, and `end`.
    bytes[body.clone()].fill(0x01);
    bytes[body.start] = 0x00;
    bytes[body.end - 1] = 0x0b;
    Component::compile(&bytes, crate::guest::MEMORY_MAX).expect("a valid component")
}

fn options() -> Options {
    Options {
        reload: true,
        dek_source: crate::guest::DekSource::Counter,
        coast: crate::guest::Coast::Strict,
        dek_cache_capacity: 0,
        apiserver_id: String::new(),
        read_only: false,
    }
}

fn driver(component: Component, config: &str) -> (Driver, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new(""));
    let (control, _) = mpsc::unbounded_channel();
    let config = config.as_bytes().to_vec().into();
    let driver =
        Driver::new(component, options(), config, metrics.clone(), control, Kms::default());
    (driver.expect("an instance").expect("valid"), metrics)
}

fn traps(metrics: &Metrics) -> u64 {
    let text = metrics.render(&[]);
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("dekker_component_traps_total "));
    line.expect("a metric").parse().expect("a number")
}

/// Starts a write and returns the receiver of its result.
fn write(driver: &mut Driver, op: u64) -> oneshot::Receiver<Result<Encrypted, HostError>> {
    let (reply, answer) = oneshot::channel();
    driver.request(Request::ToStorage {
        op,
        at: Location { resource: "secrets".to_owned(), key: b"/k".to_vec() },
        plaintext: b"x".to_vec().into(),
        reply,
    });
    driver.keep_alive();
    answer
}

/// Advances the time by `duration` and runs the timers that become due.
async fn pass(driver: &mut Driver, duration: Duration) {
    let end = Instant::now() + duration;
    while let Some(due) = driver.due
        && due <= end
    {
        tokio::time::advance(due.saturating_duration_since(Instant::now())).await;
        driver.timeout();
        driver.keep_alive();
    }
    tokio::time::advance(end.saturating_duration_since(Instant::now())).await;
}

#[tokio::test(start_paused = true)]
async fn a_component_that_always_traps_is_retried_with_increasing_delay_and_each_operation_ends() {
    for function in [
        "[method]engine.poll-actions",
        "[method]engine.poll-timeout",
        "[method]engine.running-generation",
    ] {
        let (mut driver, metrics) = driver(broken(function), CONFIG);
        // The first instance is replaced at once, and the second after a delay.
        assert_eq!(traps(&metrics), 2, "{function}");
        assert_eq!(
            write(&mut driver, 1).try_recv().map(|answer| answer.map(drop)),
            Ok(Err(HostError::Trapped))
        );
        for (seconds, tries) in [(1, 3), (2, 4), (4, 5), (8, 6), (16, 7), (32, 8), (60, 9)] {
            pass(&mut driver, Duration::from_secs(seconds)).await;
            assert_eq!(traps(&metrics), tries, "{function}");
        }
        pass(&mut driver, Duration::from_secs(600)).await;
        assert_eq!(traps(&metrics), 19, "{function}: once a minute");
        assert_eq!(
            write(&mut driver, 2).try_recv().map(|answer| answer.map(drop)),
            Ok(Err(HostError::Trapped))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_component_that_cannot_be_recreated_is_retried_with_increasing_delay() {
    let embedded = Component::embedded(crate::guest::MEMORY_MAX).expect("a component");
    let (mut driver, metrics) = driver(embedded.clone(), CONFIG);
    driver.component = broken("[static]engine.create");
    driver.recover(None, &Trap::msg("a test's"));
    driver.keep_alive();
    assert!(driver.guest.is_none());
    assert_eq!(
        write(&mut driver, 1).try_recv().map(|answer| answer.map(drop)),
        Ok(Err(HostError::Trapped))
    );
    pass(&mut driver, Duration::from_secs(3600)).await;
    assert!(driver.guest.is_none());
    driver.component = embedded;
    pass(&mut driver, LONGEST_RESTART_WAIT).await;
    assert!(write(&mut driver, 2).try_recv().expect("an answer").is_ok());
    // The instance was stable, so the next trap causes no delay.
    pass(&mut driver, LIVED).await;
    driver.recover(None, &Trap::msg("a test's"));
    driver.keep_alive();
    assert!(write(&mut driver, 3).try_recv().expect("an answer").is_ok());
    assert_eq!(traps(&metrics), 2);
}

#[tokio::test(start_paused = true)]
async fn a_trap_in_an_operation_fails_no_other_operation() {
    let embedded = Component::embedded(crate::guest::MEMORY_MAX).expect("a component");
    let (mut driver, metrics) = driver(embedded, KMS);
    let mut waiting: Vec<_> = (1..=5).map(|op| write(&mut driver, op)).collect();
    assert_eq!(driver.open.len(), 5);
    // A trap outside of an operation: all operations are passed to the next instance.
    driver.recover(None, &Trap::msg("a test's"));
    driver.keep_alive();
    assert_eq!(driver.open.len(), 5);
    // A trap in an operation: the operation fails, and the next instance is created at once.
    driver.recover(Some(1), &Trap::msg("a test's"));
    driver.keep_alive();
    assert!(driver.guest.is_some());
    assert_eq!(driver.open.len(), 4);
    let ended = waiting.remove(0).try_recv().expect("an answer");
    assert_eq!(ended.map(drop), Err(HostError::Trapped));
    // The next instance is created a second later, and the operations do not wait for it.
    driver.recover(None, &Trap::msg("a test's"));
    driver.keep_alive();
    assert!(driver.guest.is_none());
    for mut answer in waiting {
        let ended = answer.try_recv().expect("an answer");
        assert_eq!(ended.map(drop), Err(HostError::Trapped));
    }
    assert_eq!(traps(&metrics), 3);
}

#[tokio::test(start_paused = true)]
async fn overdue_work_runs_before_an_operation_if_the_timer_slept() {
    let embedded = Component::embedded(crate::guest::MEMORY_MAX).expect("a component");
    let (mut driver, _) = driver(embedded, KMS);
    let due = driver.due_at.expect("the deadline of the first call");
    // By the guest's clock the deadline has passed. Tokio's clock stood still, as it does while the machine sleeps.
    driver.due_at = Some(due.min(driver.clock.now()));
    write(&mut driver, 1);
    assert_eq!(driver.due_at, Some(due), "the guest was asked");
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_published_before_its_caller_is_notified_and_without_a_caller() {
    let embedded = Component::embedded(crate::guest::MEMORY_MAX).expect("a component");
    let (mut driver, metrics) = driver(embedded, CONFIG);
    let workers = driver.start_workers(1).expect("workers");
    let first = workers.published();
    let more = format!("{CONFIG}\n# another\n");
    for heard in [true, false] {
        let (reply, answer) = oneshot::channel();
        let answer = heard.then_some(answer);
        let config = if heard { &more } else { CONFIG };
        driver.request(Request::Reload {
            config: config.as_bytes().to_vec().into(),
            over: None,
            reply,
        });
        let published = workers.published();
        assert_eq!(published.config.as_slice(), config.as_bytes());
        if let Some(mut answer) = answer {
            assert!(matches!(answer.try_recv(), Ok(Ok(Ok(())))));
        }
    }
    assert_eq!(workers.published().epoch, first.epoch + 2);
    let text = metrics.render(&[]);
    let hash = crate::sha256::text(CONFIG.as_bytes());
    assert!(
        text.contains(&format!("last_config_info{{apiserver_id_hash=\"\",hash=\"{hash}\"}} 1"))
    );
    assert!(text.contains("automatic_reloads_total{status=\"success\",apiserver_id_hash=\"\"} 2"));

    // A file that was to replace a configuration that is not in use is not offered.
    let (reply, mut answer) = oneshot::channel();
    driver.request(Request::Reload {
        config: more.into_bytes().into(),
        over: Some("sha256:another".into()),
        reply,
    });
    assert!(matches!(answer.try_recv(), Ok(Ok(Err(ReloadError::Overtaken)))));
    // A fresh instance starts with the configuration that was in use.
    driver.recover(None, &Trap::msg("a test's"));
    driver.keep_alive();
    assert_eq!(*driver.configs.running().hash, *hash);
    assert!(write(&mut driver, 1).try_recv().expect("an answer").is_ok());
}
