//! How much of the processors other programs used during a run. Beside other work, figures are too high and vary; only the ratios of what is measured in
//! turns mean something then.

use std::fs;
use std::io;

/// 5%: a machine on which other programs use more than this is not idle.
pub const IDLE_MAX: f64 = 0.05;

/// The processor time since the machine started, in the kernel's ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Of all processors, whether they worked or not.
    total: u64,
    /// In which processors worked, or other machines on the same host did.
    busy: u64,
    /// In which this process worked, or one of its children that has ended.
    own: u64,
}

impl Load {
    /// Reads the times.
    ///
    /// # Errors
    /// Returns an error if the kernel does not report them in `/proc`.
    pub fn now() -> io::Result<Self> {
        let all = fs::read_to_string("/proc/stat")?;
        let own = fs::read_to_string("/proc/self/stat")?;
        Self::parse(&all, &own).ok_or_else(|| io::Error::other("unknown times in /proc"))
    }

    fn parse(all: &str, own: &str) -> Option<Self> {
        let line = all.lines().next()?.strip_prefix("cpu ")?;
        let times: Vec<u64> =
            line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        // user, nice, system, idle, iowait, irq, softirq, steal. The times of guests that follow are part of the first two.
        let &[user, nice, system, idle, iowait, irq, softirq, steal] = times.first_chunk()?;
        let busy = user + nice + system + irq + softirq + steal;
        // The name of the program, in parentheses, may contain spaces.
        let (_, fields) = own.rsplit_once(')')?;
        // utime, stime, cutime and cstime are the fields 14 to 17; the first one here is the third.
        let own = fields.split_whitespace().skip(11).take(4);
        let own: Vec<u64> = own.map(str::parse).collect::<Result<_, _>>().ok()?;
        let own = (own.len() == 4).then(|| own.iter().sum())?;
        Some(Self { total: busy + idle + iowait, busy, own })
    }

    /// Returns the share of the processors that other programs have used since `before`, from 0 to 1. `None` if no time has passed.
    pub fn of_others_since(&self, before: &Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        let busy = self.busy.saturating_sub(before.busy);
        let own = self.own.saturating_sub(before.own);
        Some(busy.saturating_sub(own) as f64 / total as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str =
        "cpu  100 20 30 700 50 1 2 97 40 0\ncpu0 100 20 30 700 50 1 2 97 40 0\nintr 1\n";
    const OWN: &str = "812 (a name) with) S 1 2 3 4 5 6 7 8 9 10 60 5 4 3 20 0 1 0 99 1 2 3\n";

    #[test]
    fn the_times_of_others_are_those_of_all_without_ours() {
        let before = Load { total: 0, busy: 0, own: 0 };
        let after = Load::parse(ALL, OWN).unwrap();
        assert_eq!(after, Load { total: 1000, busy: 250, own: 72 });
        assert_eq!(after.of_others_since(&before), Some(0.178));
        assert_eq!(after.of_others_since(&after), None);
        // A child that ends takes its time along from before the run.
        let child = Load { own: 900, ..after };
        assert_eq!(child.of_others_since(&before), Some(0.0));
    }

    #[test]
    fn other_texts_are_no_times() {
        for (all, own) in [("", OWN), ("cpu  1 2 3\n", OWN), (ALL, ""), (ALL, "1 (x) S 1 2 3")] {
            assert_eq!(Load::parse(all, own), None, "{all:?} {own:?}");
        }
    }

    #[test]
    fn this_kernel_reports_the_times() {
        let load = Load::now().unwrap();
        assert!(load.total >= load.busy && load.total > 0, "{load:?}");
    }
}
