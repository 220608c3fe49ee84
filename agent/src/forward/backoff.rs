//! How long to wait before the next attempt. The chance is an argument.

use std::time::Duration;

/// Exponential backoff with jitter: each delay lies between one half and the whole of a step that
/// doubles from `first` to `limit`, so that many agents do not come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    limit: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new(first: Duration, limit: Duration) -> Self {
        Self {
            first,
            limit,
            failures: 0,
        }
    }

    /// The delay before the next attempt; `chance` is uniform.
    pub(super) fn delay(&mut self, chance: u32) -> Duration {
        let factor = 2_u32.checked_pow(self.failures).unwrap_or(u32::MAX);
        let step = self.first.saturating_mul(factor).min(self.limit);
        self.failures = self.failures.saturating_add(1);
        let half = step / 2;
        half + half.mul_f64(f64::from(chance) / f64::from(u32::MAX))
    }

    /// The connection was good.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Backoff;

    #[test]
    fn doubles_up_to_the_limit_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        let longest: Vec<_> = (0..10)
            .map(|_| backoff.delay(u32::MAX).as_millis())
            .collect();
        assert_eq!(
            longest,
            [
                200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000
            ]
        );
        for _ in 0..100 {
            assert_eq!(backoff.delay(0), Duration::from_secs(15));
        }
        backoff.reset();
        assert_eq!(backoff.delay(0), Duration::from_millis(100));
    }
}
