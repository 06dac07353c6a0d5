//! A process that was suspended: time has passed, and work that was due was not done.

use std::env;

use rustix::process::Signal;

use crate::life::{Life, pass};
use crate::seed::report;
use crate::stage::play;

#[test]
fn a_server_keeps_serving_after_sigstop_and_sigcont() {
    play(async |stage| {
        // For a manual run use 240 seconds, so that every DEK has expired.
        let seconds: u64 = env::var("DEKKER_STOPPED_SECONDS")
            .map_or(1, |text| text.parse().expect("a whole number of seconds"));
        let mut life = Life::new(&stage, "state");
        let server = life.serve(&stage).await;
        let mut connection = server.connect().await;
        life.write(&mut connection).await.expect("an answer");
        server.process.signal(Signal::STOP);
        let written = {
            let write = life.write(&mut connection);
            // The write is answered when the process continues.
            let go_on = async {
                pass(seconds * 1_000_000).await;
                server.process.signal(Signal::CONT);
            };
            tokio::join!(write, go_on).0
        };
        written.expect("an answer");
        for _ in 0..20 {
            life.write(&mut connection).await.expect("an answer");
        }
        drop(connection);
        report(&format!("stopped with SIGSTOP for {seconds} s: 0 of 21 writes refused"));
        server.stop().await;
        life.finish(&stage).await;
    });
}
