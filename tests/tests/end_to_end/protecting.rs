//! How a running server protects its memory from other processes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use rustix::process::Signal;

use crate::peers::{as_other, binary_for_other};
use crate::server::Server;
use crate::stage::{play, skip};

const KEY: &str = "/registry/secrets/default/token";
const PLAINTEXT: &[u8] = b"a plaintext that is nowhere else";

#[test]
fn a_crash_leaves_no_core_dump() {
    play(async |stage| {
        let can_dump = Command::new("sh").args(["-c", "ulimit -c unlimited"]).status();
        let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
        let dumps_to_file = pattern.trim() == "core";
        if !can_dump.is_ok_and(|status| status.success()) || !dumps_to_file {
            skip("core dumps are limited here, or not written to a file");
            // If the kernel would never write a core dump to a file, this test proves nothing. The next test still does.
            return;
        }
        for (args, is_dumped) in [(&[][..], false), (&["--allow-core-dumps"], true)] {
            let mut command = Command::new("sh");
            command
                .args(["-c", "ulimit -c unlimited; exec \"$@\"", "sh"])
                .arg(stage.binary())
                .args(["serve", "--health-listen", "127.0.0.1:0", "--state-dir"])
                .arg(stage.state())
                .args(args)
                .current_dir(stage.path(""));
            let mut server = Server::start(command).await;
            server.write(KEY, PLAINTEXT).await;
            server.process.signal(Signal::ABORT);
            let status = server.process.ended().await;
            assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
            assert_eq!(status.core_dumped(), is_dumped, "{args:?}");
            let entries = fs::read_dir(stage.path("")).expect("our own directory");
            let cores = entries.filter(|entry| {
                let name = entry.as_ref().expect("an entry").file_name();
                name.to_string_lossy().starts_with("core")
            });
            assert_eq!(cores.count() > 0, is_dumped, "{args:?}");
        }
    });
}

#[test]
fn other_processes_of_its_user_cannot_access_its_memory() {
    play(async |stage| {
        let Some(binary) = binary_for_other(&stage) else {
            return;
        };
        let own = fs::metadata(stage.state()).expect("a directory").uid();
        for (args, owner) in [(&[][..], 0), (&["--allow-core-dumps"], own)] {
            let mut command = as_other(&binary.display().to_string());
            command
                .args(["serve", "--health-listen", "127.0.0.1:0", "--state-dir"])
                .arg(stage.state())
                .args(args)
                .current_dir("/");
            let server = Server::start(command).await;
            let proc = format!("/proc/{}", server.process.id());
            // The files in /proc of a process that cannot be dumped belong to root.
            let found = fs::metadata(format!("{proc}/mem")).expect("it runs").uid();
            assert_eq!(found, owner, "{args:?}");
            let mut reading = as_other("head");
            reading.args(["-c", "1", &format!("{proc}/maps")]);
            let reading = reading.output().expect("head").status;
            assert_eq!(reading.success(), owner == own, "{args:?}");
            let limits = fs::read_to_string(format!("{proc}/limits")).expect("it runs");
            let core = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
            let core: Vec<_> = core.expect("a limit").split_whitespace().take(2).collect();
            if owner == 0 {
                assert_eq!(core, ["0", "0"]);
            }
            server.stop().await;
        }
    });
}
