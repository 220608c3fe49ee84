//! From the time since boot, in which the kernel side counts, to the time of day.

use std::ops::RangeInclusive;

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::Observation;
use crate::timestamp::Timestamp;

/// A change of the wall clock beyond this is told as a step: less than what the proxy's and the
/// kernel's account of a moment may differ by. Slewing changes both clocks alike.
const STEP: i64 = 2_000_000;

/// The distance between the two clocks, sampled anew for each draining.
pub(super) struct Clock {
    /// Wall time minus time since boot, in nanoseconds.
    offset: i64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let offset = current_offset();
        Self {
            offset: i64::midpoint(*offset.start(), *offset.end()),
        }
    }

    /// Looks at both clocks again; a step if the wall clock was set meanwhile.
    pub(super) fn sample(&mut self) -> Option<Observation> {
        self.adopt(&current_offset(), boot_time())
    }

    /// Follows no further than the sample says for certain: a distance that trembled with each
    /// sample would put records before a moment up to which all was said to be known.
    fn adopt(&mut self, offset: &RangeInclusive<i64>, boot: u64) -> Option<Observation> {
        let followed = self.offset.clamp(*offset.start(), *offset.end());
        let nanoseconds = followed - self.offset;
        self.offset = followed;
        (nanoseconds.abs() > STEP).then(|| Observation::ClockStep {
            time: self.wall(boot),
            nanoseconds,
        })
    }

    /// The time of day at a time since boot.
    pub(super) const fn wall(&self, boot: u64) -> Timestamp {
        Timestamp(boot.saturating_add_signed(self.offset))
    }
}

/// Nanoseconds since boot, suspended time included.
pub(super) fn boot_time() -> u64 {
    nanoseconds(clock_gettime(ClockId::Boottime)).unsigned_abs()
}

/// Within what the distance lies: the narrowest of three samples, as a reader that was interrupted
/// between the clocks knows less.
fn current_offset() -> RangeInclusive<i64> {
    let sample = || {
        let before = nanoseconds(clock_gettime(ClockId::Boottime));
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        let after = nanoseconds(clock_gettime(ClockId::Boottime));
        wall - after..=wall - before
    };
    let width = |range: &RangeInclusive<i64>| range.end() - range.start();
    [sample(), sample()]
        .into_iter()
        .fold(sample(), |narrowest, next| {
            if width(&next) < width(&narrowest) {
                next
            } else {
                narrowest
            }
        })
}

const fn nanoseconds(time: Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::{Clock, Observation, boot_time};
    use crate::timestamp::Timestamp;

    #[test]
    fn a_step_is_told_once_and_followed() {
        let mut clock = Clock { offset: 1_000 };
        assert_eq!(clock.adopt(&(2_000..=3_000), 0), None, "too little");
        let hour = 3_600_000_000_000;
        let step = clock.adopt(&(2_000 + hour..=3_000 + hour), 5_000);
        let time = Timestamp(7_000 + hour.unsigned_abs());
        let nanoseconds = hour;
        assert_eq!(step, Some(Observation::ClockStep { time, nanoseconds }));
        assert_eq!(clock.adopt(&(1_000 + hour..=2_000 + hour), 6_000), None);
        assert_eq!(clock.wall(6_000), Timestamp(8_000 + hour.unsigned_abs()));
        let back = clock.adopt(&(1_000..=2_000), 0);
        assert!(
            matches!(back, Some(Observation::ClockStep { nanoseconds, .. }) if nanoseconds == -hour)
        );
    }

    #[test]
    fn follows_only_what_is_certain() {
        let mut clock = Clock { offset: 1_000 };
        for (sample, offset) in [
            (900..=1_100, 1_000),
            (999..=1_001, 1_000),
            (950..=990, 990),
            (980..=1_200, 990),
            (1_000..=1_200, 1_000),
        ] {
            assert_eq!(clock.adopt(&sample, 0), None);
            assert_eq!(clock.offset, offset);
        }
    }

    #[test]
    fn agrees_with_the_system() {
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let clock = Clock::new();
        let before = now();
        let ours = Duration::from_nanos(clock.wall(boot_time()).0);
        let after = now();
        let error = Duration::from_millis(5);
        assert!(before <= ours + error && ours <= after + error);
    }
}
