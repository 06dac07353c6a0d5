//! Reads and writes that run in the background of another test.

use std::path::Path;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::http::Connection;

/// Connections that write a value, read it back and repeat this until [`Load::finish`] is called.
pub(crate) struct Load {
    stop: watch::Sender<bool>,
    tasks: JoinSet<u64>,
}

impl Load {
    pub(crate) async fn start(api: &Path) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for task in 0..2 {
            let connection = Connection::unix(api).await.expect("it listens");
            tasks.spawn(write_and_read(connection, task, stopped.clone()));
        }
        Self { stop, tasks }
    }

    /// Stops the load.
    ///
    /// # Panics
    /// Panics if a request failed or returned something else than expected.
    pub(crate) async fn finish(mut self) {
        self.stop.send_replace(true);
        while let Some(rounds) = self.tasks.join_next().await {
            let rounds = rounds.unwrap_or_else(|fault| panic!("the load failed: {fault}"));
            assert!(rounds > 0, "no request was made");
        }
    }
}

async fn write_and_read(
    mut connection: Connection,
    task: u32,
    stopped: watch::Receiver<bool>,
) -> u64 {
    let mut rounds = 0;
    while !*stopped.borrow() {
        let key = format!("/registry/secrets/load/{task}-{rounds}");
        let plaintext = format!("value {rounds} of {task}");
        let stored = connection.write(key.as_bytes(), plaintext.as_bytes()).await;
        let stored = stored.expect("an answer to a write").ok();
        let read = connection.read(key.as_bytes(), &stored).await;
        let read = read.expect("an answer to a read").ok();
        assert_eq!(read, plaintext.as_bytes());
        rounds += 1;
        // Leaves the processor to the test for which this load is only the background.
        crate::wait::breathe().await;
    }
    rounds
}
