//! How long the oldest record of a sink has waited.

use std::collections::VecDeque;

use tokio::time::{Duration, Instant};

/// Samples that are kept; when there are more, every other one goes. A second apart they cover
/// eight minutes to the second, and any time to a quarter of it.
const KEPT_SAMPLES: usize = 512;

/// Tells the age of records from samples of the newest one, so that none has to bear its time.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// When a record was the newest.
    samples: VecDeque<(Instant, u64)>,
}

impl Ages {
    /// How long the `oldest` record that waits has done so at least, in steps of the samples.
    /// `newest` is the last that was taken.
    pub(super) fn sample(
        &mut self,
        now: Instant,
        newest: Option<u64>,
        oldest: Option<u64>,
    ) -> Duration {
        if let Some(newest) = newest
            && self.samples.back().is_none_or(|(_, last)| *last < newest)
        {
            self.samples.push_back((now, newest));
        }
        let Some(oldest) = oldest else {
            self.samples.clear();
            return Duration::ZERO;
        };
        while self
            .samples
            .front()
            .is_some_and(|(_, newest)| *newest < oldest)
        {
            self.samples.pop_front();
        }
        if self.samples.len() > KEPT_SAMPLES {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
        let since = self.samples.front().map(|(time, _)| *time);
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Duration, Instant};

    use super::{Ages, KEPT_SAMPLES};

    #[test]
    fn the_age_is_that_of_the_oldest_that_waits() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut ages = Ages::default();
        assert_eq!(ages.sample(at(0), None, None), Duration::ZERO);
        assert_eq!(ages.sample(at(1), Some(10), Some(1)), Duration::ZERO);
        assert_eq!(
            ages.sample(at(2), Some(20), Some(1)),
            Duration::from_secs(1)
        );
        assert_eq!(
            ages.sample(at(9), Some(20), Some(10)),
            Duration::from_secs(8)
        );
        assert_eq!(
            ages.sample(at(10), Some(30), Some(11)),
            Duration::from_secs(8)
        );
        assert_eq!(ages.sample(at(11), Some(30), None), Duration::ZERO);
        assert_eq!(ages.sample(at(12), Some(40), Some(31)), Duration::ZERO);
    }

    #[test]
    fn samples_are_bounded_and_the_oldest_stays() {
        let begin = Instant::now();
        let mut ages = Ages::default();
        for second in 1..=10_000 {
            let now = begin + Duration::from_secs(second);
            let age = ages.sample(now, Some(second), Some(1));
            assert_eq!(age, Duration::from_secs(second - 1));
            assert!(ages.samples.len() <= KEPT_SAMPLES);
        }
    }
}
