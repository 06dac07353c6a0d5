//! Time, as the caller supplies it.

use core::fmt;
use core::time::Duration;

/// Milliseconds since the Unix epoch.
///
/// Core reads no clock: every function that depends on time takes a `Timestamp`. If the engine receives an earlier timestamp than before, it uses the
/// previous one, so its time never goes back.
///
/// ```
/// use core::time::Duration;
/// use dekker_core::time::Timestamp;
///
/// let t = Timestamp::from_millis(1_700_000_000_999);
/// assert_eq!((t + Duration::from_secs(180)).to_string(), "2023-11-14T22:16:20Z");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Creates a timestamp from milliseconds since the Unix epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Returns the milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Returns the seconds since the Unix epoch, with a fraction, as Prometheus represents time.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Returns the time from `earlier` to `self`; zero if `self` is not later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl core::ops::Add<Duration> for Timestamp {
    type Output = Self;

    /// Saturates at the largest timestamp, a time that is never reached.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// Formats as RFC 3339 in UTC, to the second, as Go's `time.RFC3339` does.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = i64::try_from(self.0 / 1000).unwrap_or(i64::MAX);
        match jiff::Timestamp::from_second(seconds) {
            Ok(time) => write!(f, "{time}"),
            // After the year 9999, which RFC 3339 cannot represent.
            Err(_) => write!(f, "@{seconds}"),
        }
    }
}
