//! Whether this process, or the machine that it runs on, was restored from a snapshot.
//!
//! A restored memory has every nonce counter where it was when the snapshot was taken. What protects nonces then is that their random bytes are the
//! kernel's at that moment ([`dekker_aead::random`]); that needs no detection, and holds from the first write. What is detected here makes the
//! engine replace its write DEKs as well, so that a counter does not go over the same numbers twice for long.
//!
//! | what happened | how it is seen | when |
//! |---|---|---|
//! | a virtual machine was restored or cloned by a hypervisor with a VM generation ID | the kernel's uevent `NEW_VMGENID` | within a second, and before a lease |
//! | the same without the ID, or the kernel or a sandbox keeps the uevent away | the time of day runs ahead of `CLOCK_BOOTTIME` | within a second after somebody has set the time of day |
//! | CRIU restored the process | another boot ID or start time of the process, or a `CLOCK_BOOTTIME` that went back | within a second, and before a lease |
//! | a debugger put back the process' memory; a snapshot younger than two seconds; a machine whose clock nobody sets | not seen | |
//! | live migration, a pause, sleep | not seen, and need not be: nothing runs twice | |
//!
//! The VM generation ID itself cannot be read by a process on Linux: its driver hands it to the kernel's generator, and tells user space only
//! that there is a new one.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::clock;

/// 1 second: how often clocks and process are looked at. It takes some microseconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// 2 seconds: by so much the time of day must run ahead between two looks. A leap second is one second, and chrony slews by at most 83 ms a
/// second; suspend does not count, for `CLOCK_BOOTTIME` goes on meanwhile. Whoever sets the clock ahead by hand causes a rotation, no more.
const AHEAD_MIN: Duration = Duration::from_secs(2);

/// 10 seconds: the least time between two rotations because of the time of day, which anybody may set who administers the machine. A sign that
/// comes earlier is kept until then.
const CLOCK_SIGN_INTERVAL: Duration = Duration::from_secs(10);

/// 4 KiB: the kernel builds a uevent in 2 KiB.
const UEVENT_MAX: usize = 4096;
/// 1024: how many are read at once. More than that in a second come at boot only, and stay in the socket.
const UEVENTS_MAX: usize = 1024;
/// The kernel's own messages; udev's are in another group.
const KERNEL_GROUP: u32 = 1;

/// What was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The machine has a new VM generation ID.
    Generation,
    /// The process is not the one that it was.
    Process,
    /// The time of day ran ahead.
    Clock,
    /// Whoever runs this host says so.
    Told,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generation => "the machine has a new VM generation ID",
            Self::Process => "the process has another start time or boot ID than before",
            Self::Clock => "the time of day ran ahead of the time since boot",
            Self::Told => "the program that runs this host said so",
        })
    }
}

/// Looks once a second, and whenever it is asked to.
pub(crate) struct Watch {
    detector: Detector,
    ticks: Interval,
    uevents: Option<OwnedFd>,
}

impl Watch {
    /// Within a tokio runtime.
    pub(crate) fn start() -> Self {
        let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let uevents = uevents().inspect_err(|error| {
            tracing::debug!(%error, "no uevents: a restored virtual machine is noticed by its clock only");
        });
        Self {
            detector: Detector::new(Reading::take()),
            ticks,
            uevents: uevents.ok(),
        }
    }

    /// Waits for a sign. May be dropped and called again.
    pub(crate) async fn sign(&mut self) -> Sign {
        loop {
            self.ticks.tick().await;
            if let Some(sign) = self.look() {
                return sign;
            }
        }
    }

    /// Looks now.
    pub(crate) fn look(&mut self) -> Option<Sign> {
        let is_new = self.uevents.as_ref().is_some_and(tell_of_new_generation);
        let sign = self.detector.look(Reading::take());
        if is_new { Some(Sign::Generation) } else { sign }
    }
}

/// What a restore changes.
#[derive(Clone, Debug)]
struct Reading {
    /// Since the Unix epoch.
    time_of_day: Duration,
    /// `CLOCK_BOOTTIME`, which runs on while the machine sleeps.
    since_boot: Duration,
    /// `None`: there is no `/proc`.
    process: Option<Process>,
}

/// CRIU makes a new process, which has another start time; on another machine, or after a boot, also another boot ID.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    boot_id: String,
    start_time: u64,
}

impl Reading {
    fn take() -> Self {
        Self {
            time_of_day: clock::time_of_day(),
            since_boot: clock::boot_time(),
            process: Process::this(),
        }
    }
}

impl Process {
    fn this() -> Option<Self> {
        // Its seconds pass by the thousand, and the process stays what it is.
        #[cfg(test)]
        if crate::simulation::seams::is_simulated() {
            return None;
        }
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let stat = std::fs::read("/proc/self/stat").ok()?;
        Some(Self {
            boot_id,
            start_time: start_time(&stat)?,
        })
    }
}

/// The 22nd field of `/proc/self/stat`; the second is a name in parentheses that may hold anything (proc_pid_stat(5)).
fn start_time(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Compares what is with what was.
struct Detector {
    last: Reading,
    /// When the time of day last was a sign, since boot.
    clock_sign: Option<Duration>,
    /// The time of day was a sign too early after that.
    is_owed: bool,
}

impl Detector {
    fn new(first: Reading) -> Self {
        Self {
            last: first,
            clock_sign: None,
            is_owed: false,
        }
    }

    fn look(&mut self, now: Reading) -> Option<Sign> {
        let last = std::mem::replace(&mut self.last, now);
        let now = &self.last;
        let is_other = match (&last.process, &now.process) {
            (Some(last), Some(now)) => last != now,
            _ => false,
        };
        if is_other || now.since_boot < last.since_boot {
            // That of the time of day is one with it.
            self.is_owed = false;
            self.clock_sign = Some(now.since_boot);
            return Some(Sign::Process);
        }
        let passed = now.since_boot - last.since_boot;
        if now.time_of_day >= last.time_of_day + passed + AHEAD_MIN {
            self.is_owed = true;
        }
        let may_tell = self
            .clock_sign
            .is_none_or(|told| now.since_boot >= told + CLOCK_SIGN_INTERVAL);
        if self.is_owed && may_tell {
            self.is_owed = false;
            self.clock_sign = Some(now.since_boot);
            return Some(Sign::Clock);
        }
        None
    }
}

/// A socket that gets what the kernel says of its devices. It needs no privilege; a network namespace of another user has none.
fn uevents() -> std::io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
        Some(KOBJECT_UEVENT),
    )?;
    bind(&socket, &SocketAddrNetlink::new(0, KERNEL_GROUP))?;
    Ok(socket)
}

/// Whether one of the uevents that have come since this was last asked tells of a new VM generation ID.
fn tell_of_new_generation(socket: &OwnedFd) -> bool {
    let mut message = [0; UEVENT_MAX];
    let mut is_new = false;
    for _ in 0..UEVENTS_MAX {
        match recv(socket, &mut message[..], RecvFlags::empty()) {
            Ok((len, _)) => is_new |= is_new_generation(&message[..len]),
            // Some were lost; whoever is restored at this very moment is seen by the clock. What came after them is still there.
            Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(_) => break,
        }
    }
    is_new
}

/// `ACTION@DEVPATH` and then `KEY=VALUE`, each with a zero byte behind it.
fn is_new_generation(uevent: &[u8]) -> bool {
    uevent
        .split(|byte| *byte == 0)
        .any(|field| field == b"NEW_VMGENID=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clocks and a process in a test's hands.
    struct Machine {
        now: Reading,
        detector: Detector,
    }

    impl Machine {
        fn new() -> Self {
            let now = Reading {
                time_of_day: Duration::from_secs(1_700_000_000),
                since_boot: Duration::from_secs(5_000),
                process: Some(Process {
                    boot_id: "a\n".to_owned(),
                    start_time: 4_000,
                }),
            };
            Self {
                detector: Detector::new(now.clone()),
                now,
            }
        }

        fn process(&mut self) -> &mut Process {
            self.now.process.as_mut().expect("it has one")
        }

        /// Time passes, and the time of day runs ahead of it (or behind) by `ahead_ms`.
        fn pass(&mut self, ms: u64, ahead_ms: i64) -> Option<Sign> {
            self.now.since_boot += Duration::from_millis(ms);
            let millis = i64::try_from(ms).unwrap() + ahead_ms;
            let by = Duration::from_millis(millis.unsigned_abs());
            if millis < 0 {
                self.now.time_of_day -= by;
            } else {
                self.now.time_of_day += by;
            }
            self.detector.look(self.now.clone())
        }
    }

    #[test]
    fn a_restored_machine_is_seen_once_its_clock_is_set() {
        let mut machine = Machine::new();
        assert_eq!(machine.pass(1_000, 0), None);
        // The snapshot is an hour old. Nobody has set the clock yet.
        assert_eq!(machine.pass(1_000, 0), None);
        assert_eq!(machine.pass(1_000, 3_600_000), Some(Sign::Clock));
        assert_eq!(machine.pass(1_000, 0), None, "once");
    }

    #[test]
    fn sleep_pauses_slewing_and_leap_seconds_are_no_signs() {
        let table = [
            ("sleep for a night: both clocks run on", 36_000_000, 0),
            ("stopped for four minutes", 240_000, 0),
            ("a leap second is left out", 1_000, 1_000),
            ("a leap second is put in", 1_000, -1_000),
            ("ntpd steps", 1_000, 500),
            ("chrony slews as fast as it can", 1_000, 84),
            ("set back by a day", 1_000, -86_400_000),
            ("a millisecond too little", 1_000, 1_999),
        ];
        for (desc, ms, ahead) in table {
            assert_eq!(Machine::new().pass(ms, ahead), None, "{desc}");
        }
        assert_eq!(Machine::new().pass(1_000, 2_000), Some(Sign::Clock));
        let mut slewed = Machine::new();
        for _ in 0..1_000 {
            assert_eq!(slewed.pass(1_000, 84), None);
        }
    }

    #[test]
    fn a_process_restored_by_criu_is_seen_by_what_the_kernel_says_of_it() {
        let mut later = Machine::new();
        later.process().start_time += 1;
        assert_eq!(later.pass(10, 0), Some(Sign::Process), "the same boot");
        let mut elsewhere = Machine::new();
        elsewhere.process().boot_id = "b\n".to_owned();
        assert_eq!(elsewhere.pass(10, 0), Some(Sign::Process));
        let mut earlier = Machine::new();
        earlier.now.since_boot -= Duration::from_secs(100);
        assert_eq!(
            earlier.pass(10, 0),
            Some(Sign::Process),
            "no time namespace"
        );
        // It comes with the time that the image lay about: that is one restore.
        let mut old = Machine::new();
        old.process().start_time += 1;
        assert_eq!(old.pass(10, 3_600_000), Some(Sign::Process));
        assert_eq!(old.pass(1_000, 0), None);
        // No `/proc` for a while.
        let mut hidden = Machine::new();
        hidden.now.process = None;
        assert_eq!(hidden.pass(1_000, 0), None);
    }

    #[test]
    fn a_clock_that_is_set_again_and_again_costs_a_rotation_each_ten_seconds() {
        let mut machine = Machine::new();
        let signs = (0..100).filter_map(|_| machine.pass(1_000, 5_000));
        assert_eq!(signs.count(), 10);
        // What came too early is not forgotten.
        let mut machine = Machine::new();
        assert_eq!(machine.pass(1_000, 5_000), Some(Sign::Clock));
        assert_eq!(machine.pass(1_000, 5_000), None);
        assert_eq!(machine.pass(8_000, 0), None);
        assert_eq!(machine.pass(1_000, 0), Some(Sign::Clock));
        assert_eq!(machine.pass(60_000, 0), None);
        // Another process is told of at any time.
        machine.process().start_time += 1;
        assert_eq!(machine.pass(1, 0), Some(Sign::Process));
        machine.process().start_time += 1;
        assert_eq!(machine.pass(1, 0), Some(Sign::Process));
    }

    #[test]
    fn this_process_is_the_same_at_each_look() {
        let mut detector = Detector::new(Reading::take());
        assert!(detector.last.process.is_some(), "Linux has /proc");
        for _ in 0..100 {
            assert_eq!(detector.look(Reading::take()), None);
        }
    }

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let fields = " S 1 2 3 4 -1 5 6 7 8 9 10 11 12 13 20 0 1 0 68479 3133440 389";
        for name in ["cat", "a b", ") R 1 (", "\u{fffd}"] {
            let stat = format!("14414 ({name}){fields}");
            assert_eq!(start_time(stat.as_bytes()), Some(68_479), "{name}");
        }
        for stat in ["", "1 (cat", "1 (cat)", "1 (cat) S 1 2 3", "1 (cat)x"] {
            assert_eq!(start_time(stat.as_bytes()), None, "{stat}");
        }
    }

    #[test]
    fn only_a_new_generation_is_one() {
        let table: [(&[u8], bool); 5] = [
            (b"change@/devices/VMGENCTR:00\0ACTION=change\0SUBSYSTEM=platform\0NEW_VMGENID=1\0SEQNUM=7\0", true),
            (b"add@/devices/x\0ACTION=add\0SEQNUM=8\0", false),
            (b"change@/NEW_VMGENID=1/x\0ACTION=change\0", false),
            (b"change@/x\0XNEW_VMGENID=1\0NEW_VMGENID=10\0", false),
            (b"", false),
        ];
        for (uevent, expected) in table {
            assert_eq!(
                is_new_generation(uevent),
                expected,
                "{}",
                uevent.escape_ascii()
            );
        }
    }
}
