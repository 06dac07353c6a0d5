//! A state directory on a disk that is full or read-only.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use crate::life::{Life, READY, assert_no_panic, kill};
use crate::nonces::KeysOnDisk;
use crate::process::Process;
use crate::seed::report;
use crate::server::Server;
use crate::stage::{Stage, play, skip};
use crate::wait::until;

/// 4 KiB: the unit in which tmpfs allocates space.
const PAGE: usize = 4 << 10;

/// 16 pages: more than a state directory needs.
const PAGES: usize = 16;

/// A tmpfs in a separate mount namespace, which ends with its process.
struct SmallDisk {
    holder: Process,
    directory: PathBuf,
    before: Vec<String>,
}

impl SmallDisk {
    /// Returns `None` if the system does not permit the mount; the test is then skipped.
    async fn mount(stage: &Stage, name: &str) -> Option<Self> {
        let directory = stage.path(name);
        fs::create_dir(&directory).expect("our own directory");
        let mut command = Command::new("unshare");
        let mut enter = vec!["nsenter".to_owned()];
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--map-root-user"]);
            enter.extend(["--user", "--preserve-credentials"].map(str::to_owned));
        }
        let script = format!(
            "mount -t tmpfs -o size={},mode=0700 dekker \"$0\" && echo mounted && exec sleep infinity",
            PAGES * PAGE
        );
        command.args(["--mount", "sh", "-c", &script]).arg(&directory);
        let holder = Process::start(command, b"");
        let mounted = until("the disk is mounted or refused", async || {
            let said = holder.stdout.text().contains("mounted");
            (said || holder.stdout.is_closed()).then_some(said)
        })
        .await;
        if !mounted {
            let why = holder.finished().await.stderr;
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "{why}");
            skip(&format!("no mount namespace: {why}"));
            return None;
        }
        enter.push(format!("--mount=/proc/{}/ns/mnt", holder.id()));
        enter.push(format!("--wd={}", stage.path("").display()));
        Some(Self { holder, directory, before: enter })
    }

    /// Returns the path at which this process sees the disk.
    fn seen(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.directory.strip_prefix("/").expect("absolute"))
    }

    fn life(&self, stage: &Stage) -> Life {
        let state = self.directory.join("state");
        Life::elsewhere(stage, &state, self.seen().join("state"), self.before.clone())
    }

    /// Fills the disk until only `free` pages are left.
    fn fill(&self, free: usize) {
        self.clear();
        let mut filler = File::create(self.seen().join("filler")).expect("it is empty");
        // Fills the whole disk, then frees a part.
        while filler.write(&[1; PAGE]).is_ok_and(|len| len > 0) {}
        let len = filler.metadata().expect("a file").len();
        let free = u64::try_from(free * PAGE).expect("a small number");
        filler.set_len(len.saturating_sub(free)).expect("less than before");
    }

    fn clear(&self) {
        // The file may not exist.
        let _ = fs::remove_file(self.seen().join("filler"));
    }

    async fn remount(&self, how: &str) {
        let (program, words) = self.before.split_first().expect("nsenter");
        let mut command = Command::new(program);
        command.args(words).args(["mount", "-o", &format!("remount,{how}")]).arg(&self.directory);
        Process::start(command, b"").finished().await.done();
    }
}

/// Checks that the message contains the system's error for a full disk.
fn names_the_full_disk(stderr: &str) -> bool {
    stderr.contains("No space left on device")
}

#[test]
fn a_first_start_on_a_full_disk_is_refused_and_does_not_block_the_next() {
    play(async |stage| {
        let mut refused = 0;
        for free in 0..8 {
            let Some(disk) = SmallDisk::mount(&stage, &format!("disk{free}")).await else {
                return;
            };
            let mut life = disk.life(&stage);
            disk.fill(free);
            let mut process = Process::start(life.serve_command(&stage), b"");
            let ready = until("the server is ready or dead", async || {
                let ready = process.stdout.text().contains(READY);
                (ready || process.stdout.is_closed()).then_some(ready)
            })
            .await;
            if ready {
                let banner = process.says(READY).await;
                let mut server = Server::of(process, banner);
                life.write_with_new(&server).await;
                kill(&mut server.process).await;
            } else {
                let finished = process.finished().await;
                assert_no_panic(&finished);
                assert_eq!(finished.code, Some(1), "{finished:?}");
                assert!(names_the_full_disk(&finished.stderr), "{finished:?}");
                refused += 1;
            }
            // The keyring must be complete or absent.
            KeysOnDisk::read(&disk.seen().join("state"));
            disk.clear();
            life.finish(&stage).await;
        }
        assert!(refused > 0, "the disk was never full");
        report(&format!(
            "first starts on a disk with 0 to 7 free pages: {refused} refused, 8 of 8 healthy once there was room"
        ));
    });
}

#[test]
fn a_rotation_on_a_full_disk_is_refused_and_the_server_keeps_serving() {
    play(async |stage| {
        let Some(disk) = SmallDisk::mount(&stage, "disk").await else {
            return;
        };
        let mut life = disk.life(&stage);
        let mut server = life.serve(&stage).await;
        disk.fill(0);
        for _ in 0..3 {
            let rotated = Process::start(life.rotate_command(&stage), b"").finished().await;
            assert_no_panic(&rotated);
            assert_eq!(rotated.code, Some(1), "{rotated:?}");
            assert!(names_the_full_disk(&rotated.stderr), "{rotated:?}");
            life.check_files(&stage).await;
            life.write_with_new(&server).await;
        }
        // A restart must not need to write anything.
        kill(&mut server.process).await;
        let server = life.serve(&stage).await;
        life.write_with_new(&server).await;
        disk.clear();
        Process::start(life.rotate_command(&stage), b"").finished().await.done();
        life.write_with_new(&server).await;
        server.stop().await;
        life.finish(&stage).await;
    });
}

#[test]
fn values_in_a_read_only_state_directory_can_be_decrypted() {
    play(async |stage| {
        let Some(disk) = SmallDisk::mount(&stage, "disk").await else {
            return;
        };
        let mut life = disk.life(&stage);
        life.serve(&stage).await.stop().await;
        let (key, plaintext) = life.next_value();
        let encrypt = life.one_shot_command(&stage, "encrypt", &key);
        let stored = Process::start(encrypt, &plaintext).finished().await.done();
        disk.remount("ro").await;
        let decrypt = life.one_shot_command(&stage, "decrypt", &key);
        let decrypted = Process::start(decrypt, &stored).finished().await;
        assert_no_panic(&decrypted);
        assert_eq!(decrypted.code, Some(0), "{decrypted:?}");
        assert_eq!(decrypted.stdout, plaintext);
        // A server must create its sockets. It reports what it cannot write, and where.
        let served = Process::start(life.serve_command(&stage), b"").finished().await;
        assert_no_panic(&served);
        assert_eq!(served.code, Some(1), "{served:?}");
        assert!(served.stderr.contains("Read-only file system"), "{served:?}");
        disk.remount("rw").await;
        life.acknowledge(key, plaintext, stored);
        life.finish(&stage).await;
    });
}
