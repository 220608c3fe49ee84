//! A moment on the wall clock.

use std::{fmt, ops, time::Duration};

use serde::{Deserialize, Serialize};

/// Nanoseconds since the Unix epoch, UTC.
///
/// Displays as RFC 3339 with six digits of a second, the form of every time in a record.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Later than every moment that occurs.
    pub const MAX: Self = Self(u64::MAX);

    /// The time from `earlier` to here; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The distance between two moments, whichever comes first.
    #[must_use]
    pub fn distance(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.abs_diff(other.0))
    }
}

impl ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanoseconds(duration)))
    }
}

impl ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanoseconds(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => write!(f, "{time:.6}"),
            // Year 9999 is the end of RFC 3339.
            Err(_) => f.write_str("9999-12-31T23:59:59.999999Z"),
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_six_digits_in_utc() {
        let time = Timestamp(1_795_334_897_916_000_000);
        assert_eq!(time.to_string(), "2026-11-22T08:08:17.916000Z");
        assert_eq!(
            (time + Duration::from_nanos(1_999)).to_string(),
            "2026-11-22T08:08:17.916001Z"
        );
        assert!(Timestamp::MAX.since(time) > Duration::ZERO);
    }
}
