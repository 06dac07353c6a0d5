//! Detects whether this process, or the machine it runs on, was restored from a snapshot.
//!
//! In a restored memory, every nonce counter has the value it had when the snapshot was taken. Nonces are then protected by their random bytes, which
//! come from the kernel at the moment of use ([`dekker_crypto::random`]). This protection needs no detection and works from the first write. When this
//! module detects a restore, the engine also replaces its write DEKs, so that a counter does not repeat its values for long.
//!
//! | event | detected by | when |
//! |---|---|---|
//! | a hypervisor with a VM generation ID restored or cloned the virtual machine | the kernel's uevent `NEW_VMGENID` | within a second, and before a lease |
//! | the same without the ID, or the kernel or a sandbox withholds the uevent | the time of day runs ahead of `CLOCK_BOOTTIME` | within a second after the time of day was set |
//! | CRIU restored the process | a different boot ID or process start time, or a `CLOCK_BOOTTIME` that went back | within a second, and before a lease |
//! | a debugger restored the process' memory; a snapshot younger than two seconds; a machine whose clock is never set | not detected | |
//! | live migration, a pause, sleep | not detected; no detection is needed because nothing runs twice | |
//!
//! A process on Linux cannot read the VM generation ID itself. The driver passes it to the kernel's random number generator, and notifies user space
//! only that there is a new one.

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{KOBJECT_UEVENT, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use crate::clock;

/// The time between two checks, 1 second. A check takes some microseconds.
const INTERVAL: Duration = Duration::from_secs(1);

/// The smallest jump ahead of the time of day, between two checks, that counts as a sign of a restore: 2 seconds. A leap second is 1 second, and
/// chrony slews by at most 83 ms per second. Suspend does not count because `CLOCK_BOOTTIME` includes it. If an administrator sets the clock ahead,
/// the only consequence is a rotation.
const AHEAD_MIN: Duration = Duration::from_secs(2);

/// The minimum time between two rotations that are caused by the time of day, 10 seconds. Any administrator of the machine may set the time. A sign
/// that comes earlier is reported when this time has passed.
const CLOCK_SIGN_INTERVAL: Duration = Duration::from_secs(10);

/// The size of the buffer for a uevent, 4 KiB. The kernel builds uevents in 2 KiB.
const UEVENT_MAX: usize = 4096;
/// The maximum number of uevents read per check, 1024. More than that per second occur only at boot; the rest stay in the socket.
const UEVENTS_MAX: usize = 1024;
/// The netlink group of the kernel's own messages. Messages from udev are in another group.
const KERNEL_GROUP: u32 = 1;

/// A sign of a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// The machine has a new VM generation ID.
    Generation,
    /// The process' start time or boot ID changed, or `CLOCK_BOOTTIME` went back.
    Process,
    /// The time of day ran ahead of the time since boot.
    Clock,
    /// The program that runs this host reported a restore.
    Reported,
}

impl fmt::Display for Sign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generation => "the machine has a new VM generation ID",
            Self::Process => "the process has another start time or boot ID than before",
            Self::Clock => "the time of day ran ahead of the time since boot",
            Self::Reported => "the program that embeds this host reported it",
        })
    }
}

/// Checks for signs of a restore once a second, and on request.
pub(crate) struct Watch {
    detector: Detector,
    ticks: Interval,
    uevents: Option<OwnedFd>,
}

impl Watch {
    /// Starts the checks. Must be called within a tokio runtime.
    pub(crate) fn start() -> Self {
        let mut ticks = interval_at(Instant::now() + INTERVAL, INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let uevents = uevents().inspect_err(|error| {
            tracing::debug!(%error, "no uevents: a restored virtual machine is detected only by its clock");
        });
        Self { detector: Detector::new(Reading::take()), ticks, uevents: uevents.ok() }
    }

    /// Waits for a sign. The future may be dropped and the function called again without losing a sign.
    pub(crate) async fn sign(&mut self) -> Sign {
        loop {
            self.ticks.tick().await;
            if let Some(sign) = self.check() {
                return sign;
            }
        }
    }

    /// Checks now.
    pub(crate) fn check(&mut self) -> Option<Sign> {
        let is_new = self.uevents.as_ref().is_some_and(has_new_generation);
        let sign = self.detector.check(Reading::take());
        if is_new { Some(Sign::Generation) } else { sign }
    }
}

/// What a restore changes.
#[derive(Clone, Debug)]
struct Reading {
    /// The time since the Unix epoch.
    time_of_day: Duration,
    /// `CLOCK_BOOTTIME`, which includes sleep.
    since_boot: Duration,
    /// `None` if there is no `/proc`.
    process: Option<Process>,
}

/// Identifies the process. CRIU creates a new process with a different start time; on another machine or after a reboot, the boot ID is also
/// different.
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
        // In a simulation, thousands of simulated seconds pass but the process stays the same, so skip reading `/proc`.
        #[cfg(test)]
        if crate::simulation::seams::is_simulated() {
            return None;
        }
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let stat = std::fs::read("/proc/self/stat").ok()?;
        Some(Self { boot_id, start_time: start_time(&stat)? })
    }
}

/// Returns the 22nd field of `/proc/self/stat`. The second field is a name in parentheses that may contain anything (proc_pid_stat(5)).
fn start_time(stat: &[u8]) -> Option<u64> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Compares each reading with the previous one.
struct Detector {
    last: Reading,
    /// When the time of day was last reported as a sign, as time since boot.
    clock_sign: Option<Duration>,
    /// Whether a jump of the time of day has not been reported yet, because it came too soon after the last sign.
    is_owed: bool,
}

impl Detector {
    fn new(first: Reading) -> Self {
        Self { last: first, clock_sign: None, is_owed: false }
    }

    fn check(&mut self, now: Reading) -> Option<Sign> {
        let last = std::mem::replace(&mut self.last, now);
        let now = &self.last;
        let is_other = match (&last.process, &now.process) {
            (Some(last), Some(now)) => last != now,
            _ => false,
        };
        if is_other || now.since_boot < last.since_boot {
            // A jump of the time of day at the same moment is part of this restore.
            self.is_owed = false;
            self.clock_sign = Some(now.since_boot);
            return Some(Sign::Process);
        }
        let passed = now.since_boot - last.since_boot;
        if now.time_of_day >= last.time_of_day + passed + AHEAD_MIN {
            self.is_owed = true;
        }
        let may_report =
            self.clock_sign.is_none_or(|last| now.since_boot >= last + CLOCK_SIGN_INTERVAL);
        if self.is_owed && may_report {
            self.is_owed = false;
            self.clock_sign = Some(now.since_boot);
            return Some(Sign::Clock);
        }
        None
    }
}

/// Opens a socket that receives the kernel's device events. This needs no privilege, but a network namespace of another user receives no events.
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

/// Reads the uevents that have arrived since the last call. Returns whether one of them reports a new VM generation ID.
fn has_new_generation(socket: &OwnedFd) -> bool {
    let mut message = [0; UEVENT_MAX];
    let mut is_new = false;
    for _ in 0..UEVENTS_MAX {
        match recv(socket, &mut message[..], RecvFlags::empty()) {
            Ok((len, _)) => is_new |= is_new_generation(&message[..len]),
            // Some messages were lost. A restore at this very moment is detected by the clock. Later messages are still in the socket.
            Err(Errno::NOBUFS | Errno::INTR) => {}
            Err(_) => break,
        }
    }
    is_new
}

/// Returns whether a uevent reports a new VM generation ID. A uevent consists of `ACTION@DEVPATH` and `KEY=VALUE` fields, each terminated by a zero
/// byte.
fn is_new_generation(uevent: &[u8]) -> bool {
    uevent.split(|byte| *byte == 0).any(|field| field == b"NEW_VMGENID=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two clocks and a process that the test controls.
    struct Machine {
        now: Reading,
        detector: Detector,
    }

    impl Machine {
        fn new() -> Self {
            let now = Reading {
                time_of_day: Duration::from_secs(1_700_000_000),
                since_boot: Duration::from_secs(5_000),
                process: Some(Process { boot_id: "a\n".to_owned(), start_time: 4_000 }),
            };
            Self { detector: Detector::new(now.clone()), now }
        }

        fn process(&mut self) -> &mut Process {
            self.now.process.as_mut().expect("it has one")
        }

        /// Advances the time by `ms`, and the time of day by `ahead_ms` more (or less).
        fn pass(&mut self, ms: u64, ahead_ms: i64) -> Option<Sign> {
            self.now.since_boot += Duration::from_millis(ms);
            let millis = i64::try_from(ms).unwrap() + ahead_ms;
            let by = Duration::from_millis(millis.unsigned_abs());
            if millis < 0 {
                self.now.time_of_day -= by;
            } else {
                self.now.time_of_day += by;
            }
            self.detector.check(self.now.clone())
        }
    }

    #[test]
    fn a_restored_machine_is_detected_once_its_clock_is_set() {
        let mut machine = Machine::new();
        assert_eq!(machine.pass(1_000, 0), None);
        // The snapshot is an hour old. The clock has not been set yet.
        assert_eq!(machine.pass(1_000, 0), None);
        assert_eq!(machine.pass(1_000, 3_600_000), Some(Sign::Clock));
        assert_eq!(machine.pass(1_000, 0), None, "once");
    }

    #[test]
    fn sleep_pauses_slewing_and_leap_seconds_are_not_taken_for_a_restore() {
        let table = [
            ("sleep for a night: both clocks advance", 36_000_000, 0),
            ("stopped for four minutes", 240_000, 0),
            ("a leap second is removed", 1_000, 1_000),
            ("a leap second is inserted", 1_000, -1_000),
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
    fn a_process_restored_by_criu_is_detected_from_the_kernels_data() {
        let mut later = Machine::new();
        later.process().start_time += 1;
        assert_eq!(later.pass(10, 0), Some(Sign::Process), "the same boot");
        let mut elsewhere = Machine::new();
        elsewhere.process().boot_id = "b\n".to_owned();
        assert_eq!(elsewhere.pass(10, 0), Some(Sign::Process));
        let mut earlier = Machine::new();
        earlier.now.since_boot -= Duration::from_secs(100);
        assert_eq!(earlier.pass(10, 0), Some(Sign::Process), "no time namespace");
        // The age of the image makes the time of day jump as well: both signs are one restore.
        let mut old = Machine::new();
        old.process().start_time += 1;
        assert_eq!(old.pass(10, 3_600_000), Some(Sign::Process));
        assert_eq!(old.pass(1_000, 0), None);
        // `/proc` is unavailable for a while.
        let mut hidden = Machine::new();
        hidden.now.process = None;
        assert_eq!(hidden.pass(1_000, 0), None);
    }

    #[test]
    fn repeated_clock_jumps_are_reported_at_most_every_ten_seconds() {
        let mut machine = Machine::new();
        let signs = (0..100).filter_map(|_| machine.pass(1_000, 5_000));
        assert_eq!(signs.count(), 10);
        // A jump that came too soon is reported later.
        let mut machine = Machine::new();
        assert_eq!(machine.pass(1_000, 5_000), Some(Sign::Clock));
        assert_eq!(machine.pass(1_000, 5_000), None);
        assert_eq!(machine.pass(8_000, 0), None);
        assert_eq!(machine.pass(1_000, 0), Some(Sign::Clock));
        assert_eq!(machine.pass(60_000, 0), None);
        // A different process is reported at any time.
        machine.process().start_time += 1;
        assert_eq!(machine.pass(1, 0), Some(Sign::Process));
        machine.process().start_time += 1;
        assert_eq!(machine.pass(1, 0), Some(Sign::Process));
    }

    #[test]
    fn repeated_readings_of_this_process_report_nothing() {
        let mut detector = Detector::new(Reading::take());
        assert!(detector.last.process.is_some(), "Linux has /proc");
        for _ in 0..100 {
            assert_eq!(detector.check(Reading::take()), None);
        }
    }

    #[test]
    fn the_start_time_is_found_after_any_process_name() {
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
    fn only_a_new_vmgenid_is_a_new_generation() {
        let table: [(&[u8], bool); 5] = [
            (b"change@/devices/VMGENCTR:00\0ACTION=change\0SUBSYSTEM=platform\0NEW_VMGENID=1\0SEQNUM=7\0", true),
            (b"add@/devices/x\0ACTION=add\0SEQNUM=8\0", false),
            (b"change@/NEW_VMGENID=1/x\0ACTION=change\0", false),
            (b"change@/x\0XNEW_VMGENID=1\0NEW_VMGENID=10\0", false),
            (b"", false),
        ];
        for (uevent, expected) in table {
            assert_eq!(is_new_generation(uevent), expected, "{}", uevent.escape_ascii());
        }
    }
}
