//! Many servers that start or stop at the same time.

use std::process::Command;

use rustix::process::Signal;

use crate::process::Process;
use crate::server::Server;
use crate::stage::{Stage, play};

const KEY: &str = "/registry/secrets/default/token";

/// Returns the command for a server with its own socket.
fn serve_command(stage: &Stage, state: &str, n: usize) -> Command {
    let mut command = stage.command(["serve", "--health-listen", "127.0.0.1:0", "--state-dir"]);
    let socket = stage.path(&format!("api{n}.sock"));
    command.arg(stage.path(state)).args(["--listen", &format!("unix://{}", socket.display())]);
    command
}

async fn start_all(commands: impl Iterator<Item = Command>) -> Vec<Server> {
    let processes: Vec<Process> = commands.map(|command| Process::start(command, b"")).collect();
    let mut servers = Vec::new();
    for process in processes {
        servers.push(Server::ready(process).await);
    }
    servers
}

#[test]
fn no_stop_ends_in_a_panic() {
    const AT_ONCE: usize = 6;
    const ROUNDS: usize = 8;
    play(async |stage| {
        for _ in 0..ROUNDS {
            let commands = (0..AT_ONCE).map(|n| serve_command(&stage, &format!("state{n}"), n));
            let servers = start_all(commands).await;
            for server in &servers {
                server.process.signal(Signal::TERM);
            }
            for mut server in servers {
                let status = server.process.ended().await;
                let log = server.process.stderr.text();
                assert_eq!(status.code(), Some(0), "{log}");
                assert!(!log.contains("panicked"), "{log}");
            }
        }
    });
}

#[test]
fn forty_first_starts_in_one_state_directory_succeed() {
    play(async |stage| {
        let servers = start_all((0..40).map(|n| serve_command(&stage, "state", n))).await;
        let stored = servers[0].write(KEY, b"hunter2").await;
        for server in &servers {
            assert!(server.banner.contains("KMS: healthy"), "{}", server.banner);
            assert_eq!(
                server.read_well(KEY, &stored).await,
                (b"hunter2".to_vec(), false),
                "all have one keyring"
            );
        }
        let in_the_way = std::fs::read_dir(stage.path("state")).expect("the state directory");
        let in_the_way: Vec<_> = in_the_way
            .map(|entry| entry.expect("an entry").file_name())
            .filter(|name| name.to_string_lossy().contains(".new"))
            .collect();
        assert!(in_the_way.is_empty(), "{in_the_way:?}");
    });
}
