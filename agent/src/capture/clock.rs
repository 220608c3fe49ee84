//! From the time since boot, in which the kernel side counts, to the time of day.

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
        Self {
            offset: current_offset(),
        }
    }

    /// Looks at both clocks again; a step if the wall clock was set meanwhile.
    pub(super) fn sample(&mut self) -> Option<Observation> {
        self.adopt(current_offset(), boot_time())
    }

    fn adopt(&mut self, offset: i64, boot: u64) -> Option<Observation> {
        let nanoseconds = offset - self.offset;
        self.offset = offset;
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

/// The best of three samples: a reader that was interrupted between two clocks is wrong by that
/// time.
fn current_offset() -> i64 {
    let sample = || {
        let before = nanoseconds(clock_gettime(ClockId::Boottime));
        let wall = nanoseconds(clock_gettime(ClockId::Realtime));
        let after = nanoseconds(clock_gettime(ClockId::Boottime));
        let took = after - before;
        (took, wall - (before + took / 2))
    };
    let samples = [sample(), sample(), sample()];
    let best = samples.iter().min_by_key(|(took, _)| *took);
    best.map_or(0, |(_, offset)| *offset)
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
        assert_eq!(clock.adopt(2_000, 0), None, "slewing");
        let hour = 3_600_000_000_000;
        let step = clock.adopt(2_000 + hour, 5_000);
        let time = Timestamp(7_000 + hour.unsigned_abs());
        let nanoseconds = hour;
        assert_eq!(step, Some(Observation::ClockStep { time, nanoseconds }));
        assert_eq!(clock.adopt(2_000 + hour, 6_000), None);
        assert_eq!(clock.wall(6_000), Timestamp(8_000 + hour.unsigned_abs()));
        let back = clock.adopt(2_000, 0);
        assert!(
            matches!(back, Some(Observation::ClockStep { nanoseconds, .. }) if nanoseconds == -hour)
        );
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
