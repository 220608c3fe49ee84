//! One steady clock for what was timed on a wall clock that may have been set.
//!
//! Every input bears a reading of the wall clock, from before or after each step of it. The books
//! reckon on the clock as it was at the start, so that waiting takes as long as it says, and what
//! belongs together stays together. Records show the wall clock again.

use std::time::Duration;

use crate::timestamp::Timestamp;

/// Steps that are remembered.
const KEPT_EPOCHS: usize = 64;

/// The kernel's times around a step may have been taken on either side of it for so long after.
const UNSETTLED: Duration = Duration::from_secs(10);

/// A kernel's time so near to the present is not looked for elsewhere.
const NEAR: Duration = Duration::from_secs(1);

/// How much later than in its order a line may stand in its log.
const DISORDER: Duration = Duration::from_millis(100);

/// How late a step may be noticed, and a line be stamped.
const SLACK: Duration = Duration::from_secs(2);

/// The steady clock. It agrees with the wall clock until that is set.
#[derive(Clone, Debug)]
pub(super) struct SteadyClock {
    /// Oldest first, never empty.
    epochs: Vec<Epoch>,
    /// The latest moment that was told, in an unsettled time.
    present: Timestamp,
}

/// A time in which the wall clock was not set.
#[derive(Clone, Copy, Debug)]
struct Epoch {
    /// When it began.
    from: Timestamp,
    /// The last reading of the wall clock in it.
    last_reading: Timestamp,
    /// The wall clock minus the steady one, in nanoseconds.
    ahead: i64,
}

impl Default for SteadyClock {
    fn default() -> Self {
        let first = Epoch {
            from: Timestamp::default(),
            last_reading: Timestamp::MAX,
            ahead: 0,
        };
        Self {
            epochs: vec![first],
            present: Timestamp::default(),
        }
    }
}

impl SteadyClock {
    /// The wall clock was set by so much, which was noticed at this reading of the new one.
    /// Returns the moment.
    pub(super) fn step(&mut self, reading: Timestamp, nanoseconds: i64) -> Timestamp {
        let before = reading
            .0
            .saturating_add_signed(nanoseconds.saturating_neg());
        let ahead = self.newest().ahead.saturating_add(nanoseconds);
        if let Some(ended) = self.epochs.last_mut() {
            ended.last_reading = Timestamp(before);
        }
        let mut epoch = Epoch {
            from: Timestamp::default(),
            last_reading: Timestamp::MAX,
            ahead,
        };
        epoch.from = epoch.steady(reading);
        self.epochs.push(epoch);
        if self.epochs.len() > KEPT_EPOCHS {
            self.epochs.remove(0);
        }
        self.present = epoch.from;
        epoch.from
    }

    /// The wall clock was never set.
    pub(super) fn is_undisturbed(&self) -> bool {
        self.epochs.len() == 1
    }

    /// When the wall clock was last set; the beginning of time if never.
    pub(super) fn last_step(&self) -> Timestamp {
        self.newest().from
    }

    /// The latest moment that was told.
    pub(super) fn present(&self) -> Timestamp {
        self.present
    }

    /// The moment of a reading just now.
    pub(super) fn now(&mut self, reading: Timestamp) -> Timestamp {
        let now = self.newest().steady(reading);
        self.present = self.present.max(now);
        now
    }

    /// The moment of a reading that the kernel side gave. It is of a moment ago, but just after a
    /// step it may still be one of before.
    pub(super) fn of_kernel(&self, reading: Timestamp) -> Timestamp {
        let newest = self.newest().steady(reading);
        let settled = self.present >= self.last_step() + UNSETTLED;
        if settled || newest.distance(self.present) <= NEAR {
            return newest;
        }
        let before = self.epochs.iter().rev().nth(1);
        let before = before.filter(|epoch| epoch.can_have_read(reading));
        let others = before.map(|epoch| epoch.steady(reading));
        std::iter::once(newest)
            .chain(others)
            .min_by_key(|moment| moment.distance(self.present))
            .unwrap_or(newest)
    }

    /// The moment of a reading between two moments; none if there may be several.
    pub(super) fn only_between(
        &self,
        reading: Timestamp,
        (from, to): (Timestamp, Timestamp),
    ) -> Option<Timestamp> {
        let between = |moment: &Timestamp| (from..=to).contains(moment);
        let mut moments = self.moments(reading).filter(between);
        let only = moments.next()?;
        moments.next().is_none().then_some(only)
    }

    /// The moment of a stamp in a log, or of its end, which was read up to `read_until` before:
    /// the earliest after that.
    pub(super) fn of_log(&self, stamp: Timestamp, read_until: Option<Timestamp>) -> Timestamp {
        let Some(read_until) = read_until else {
            // The log was not read before, and may be older than the step.
            let able = self.moments(stamp);
            let nearest = able.min_by_key(|moment| moment.distance(self.present));
            return nearest.unwrap_or_else(|| self.newest().steady(stamp));
        };
        self.moments(stamp)
            .find(|moment| *moment + DISORDER >= read_until && *moment <= self.present + SLACK)
            .unwrap_or_else(|| self.nearest(stamp, self.present))
    }

    /// The first and the last moment which a START_TIME may mean, of a line whose request lasted
    /// so long, and that was stamped within `grace` of its end.
    pub(super) fn of_start(
        &self,
        start: Timestamp,
        stamped: Timestamp,
        lasted: Option<Duration>,
        grace: Duration,
    ) -> (Timestamp, Timestamp) {
        let in_time = |moment: &Timestamp| {
            let latest = *moment + lasted.unwrap_or_default() + grace + SLACK;
            latest >= stamped && *moment <= stamped + DISORDER
        };
        let mut moments = self.moments(start).filter(in_time);
        let first = moments.next();
        let first = first.unwrap_or_else(|| self.nearest(start, stamped));
        (first, moments.last().unwrap_or(first))
    }

    /// What the wall clock showed at a moment.
    pub(super) fn reading(&self, moment: Timestamp) -> Timestamp {
        let began = |epoch: &&Epoch| epoch.from <= moment;
        let epoch = self.epochs.iter().rev().find(began);
        let ahead = epoch.map_or(0, |epoch| epoch.ahead);
        Timestamp(moment.0.saturating_add_signed(ahead))
    }

    /// The moments at which the wall clock showed this, earliest first.
    fn moments(&self, reading: Timestamp) -> impl Iterator<Item = Timestamp> {
        let able = self
            .epochs
            .iter()
            .filter(move |it| it.can_have_read(reading));
        able.map(move |epoch| epoch.steady(reading))
    }

    fn nearest(&self, reading: Timestamp, to: Timestamp) -> Timestamp {
        let moments = self.epochs.iter().rev().map(|epoch| epoch.steady(reading));
        let nearest = moments.min_by_key(|moment| moment.distance(to));
        nearest.unwrap_or(reading)
    }

    fn newest(&self) -> Epoch {
        self.epochs.last().copied().unwrap_or(Epoch {
            from: Timestamp::default(),
            last_reading: Timestamp::MAX,
            ahead: 0,
        })
    }
}

impl Epoch {
    fn steady(&self, reading: Timestamp) -> Timestamp {
        Timestamp(reading.0.saturating_add_signed(self.ahead.saturating_neg()))
    }

    fn can_have_read(&self, reading: Timestamp) -> bool {
        reading <= self.last_reading && self.steady(reading) + SLACK >= self.from
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{KEPT_EPOCHS, SteadyClock};
    use crate::timestamp::Timestamp;

    const HOUR: i64 = 3_600_000_000_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_800_000_000_000_000_000 + seconds * 1_000_000_000)
    }

    #[test]
    fn a_step_forward_leaves_no_doubt() {
        let mut clock = SteadyClock::default();
        assert_eq!(clock.step(at(3_700), HOUR), at(100));
        assert_eq!(clock.of_kernel(at(3_701)), at(101));
        assert_eq!(clock.of_kernel(at(99)), at(99));
        assert_eq!(clock.of_log(at(99), Some(at(98))), at(99));
        assert_eq!(clock.of_log(at(3_701), Some(at(98))), at(101));
        let lasted = Some(Duration::ZERO);
        let start = clock.of_start(at(3_701), at(101), lasted, Duration::from_secs(3));
        assert_eq!(start, (at(101), at(101)));
        assert_eq!(
            (clock.reading(at(99)), clock.reading(at(101))),
            (at(99), at(3_701))
        );
    }

    #[test]
    fn a_log_that_was_not_read_before_may_be_older_than_a_step() {
        let mut clock = SteadyClock::default();
        clock.step(at(3_700), HOUR);
        assert_eq!(clock.of_log(at(98), None), at(98));
        assert_eq!(clock.of_log(at(3_701), None), at(101));
    }

    #[test]
    fn a_reading_between_two_moments_is_known_if_one_clock_alone_showed_it() {
        let mut clock = SteadyClock::default();
        clock.step(at(3_700), HOUR);
        let span = (at(50), at(101));
        assert_eq!(clock.only_between(at(98), span), Some(at(98)));
        assert_eq!(clock.only_between(at(3_699), span), Some(at(99)));
        assert_eq!(clock.only_between(at(40), span), None);
        // Back by four seconds: what is shown twice is not known.
        clock.step(at(3_796), -4_000_000_000);
        assert_eq!(clock.only_between(at(3_797), (at(100), at(300))), None);
    }

    #[test]
    fn a_step_back_shows_the_same_time_twice() {
        let mut clock = SteadyClock::default();
        let (grace, instant) = (Duration::from_secs(3), Some(Duration::ZERO));
        assert_eq!(clock.step(at(10_000 - 3_600), -HOUR), at(10_000));
        let (before, after) = (at(9_999), at(10_001));
        assert_eq!(clock.of_kernel(at(6_401)), after);
        assert_eq!(clock.of_kernel(at(9_999)), before);
        assert_eq!(clock.of_log(at(6_401), Some(at(9_999))), after);
        assert_eq!(clock.of_log(at(9_999), Some(at(9_990))), before);
        assert_eq!(
            clock.of_log(at(9_000), Some(at(8_999))),
            at(9_000),
            "lagging"
        );
        assert_eq!(
            clock.of_start(at(6_401), after, instant, grace),
            (after, after)
        );
        assert_eq!(
            clock.of_start(at(9_999), after, instant, grace),
            (before, before)
        );
        assert_eq!(clock.reading(after), at(6_401));
        // A small step leaves both open for a moment.
        assert_eq!(clock.step(at(6_500 - 4), -4_000_000_000), at(10_100));
        let start = clock.of_start(at(6_498), at(10_102), instant, grace);
        assert_eq!(start, (at(10_098), at(10_102)));
    }

    fn tenths(tenths: u64) -> Timestamp {
        Timestamp(at(0).0 + tenths * 100_000_000)
    }

    #[test]
    fn around_a_small_step_what_is_told_is_of_just_now() {
        let mut clock = SteadyClock::default();
        assert_eq!(clock.step(tenths(995), -500_000_000), at(100));
        // A reading of before the step would be as near.
        assert_eq!(clock.of_kernel(tenths(998)), tenths(1_003));
        // Of a line the earlier moment is taken, if the log was not read past it.
        clock.now(tenths(1_000));
        assert_eq!(clock.of_log(tenths(998), Some(at(99))), tenths(998));
        assert_eq!(clock.of_log(tenths(998), Some(at(101))), tenths(1_003));
    }

    #[test]
    fn a_long_request_may_have_begun_before_a_step() {
        let mut clock = SteadyClock::default();
        let back = Duration::from_secs(480);
        clock.step(at(1_000 - 480), -480_000_000_000);
        let (began, lasted) = (at(990), Duration::from_secs(600));
        let stamped = began + lasted;
        let start = clock.of_start(began, stamped, Some(lasted), Duration::from_secs(3));
        assert_eq!(start, (began, began + back));
    }

    #[test]
    fn as_many_steps_are_remembered_as_there_is_room_for() {
        let mut clock = SteadyClock::default();
        let minute = 60_000_000_000;
        let before = at(50);
        for step in 1..KEPT_EPOCHS as u64 {
            clock.step(at(100 + 60 * step), minute);
        }
        assert_eq!(clock.of_log(before, Some(before)), before);
        clock.step(at(100 + 60 * KEPT_EPOCHS as u64), minute);
        assert_ne!(clock.of_log(before, Some(before)), before);
    }
}
