//! One engine for all threads of a program. Each thread that encrypts or decrypts gets its own worker.

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use dekker_core::engine::Options;
use dekker_core::{Location, Timestamp};
use dekker_ring::{KernelEntropy, Ring};
use dekker_shared::{Parts, SharedEngine};

const CONFIG: &[u8] = b"
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
- resources: [secrets]
  providers: [{secretbox: {keys: [{name: a, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}]}}]
";

const VALUES: usize = 1000;

fn main() -> Result<(), Box<dyn Error>> {
    let parts = Parts { keys: || Box::new(Ring), entropy: || Box::new(KernelEntropy) };
    let engine = SharedEngine::new(CONFIG, Options::default(), parts, now())?;
    let read_back = || {
        let mut count = 0;
        for at in 0..VALUES {
            let key = format!("/registry/secrets/default/{at}");
            let location = Location { resource: "secrets", key: key.as_bytes() };
            // `None` means that the control engine must do it: a KMS call is needed, or there is an error to report.
            let written = engine.to_storage(location, b"hunter2", now());
            let read =
                written.and_then(|value| engine.from_storage(location, &value.stored, now()));
            count += usize::from(read.is_some_and(|read| read.plaintext.expose() == b"hunter2"));
        }
        count
    };
    let counts = std::thread::scope(|scope| {
        [0; 4].map(|_| scope.spawn(read_back)).map(|thread| thread.join().unwrap_or_default())
    });
    println!("4 threads wrote and read back {} values", counts.iter().sum::<usize>());
    Ok(())
}

/// Milliseconds since the Unix epoch. A long-running program must make sure that they never go back.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as u64)
}
