//! How long requests took.

use serde::Serialize;

/// Percentiles over all requests of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Latency {
    pub(super) p50_microseconds: u64,
    pub(super) p99_microseconds: u64,
}

impl Latency {
    /// Of times in microseconds, whatever their order; none of no times.
    pub(super) fn of(mut times: Vec<u64>) -> Option<Self> {
        times.sort_unstable();
        Some(Self {
            p50_microseconds: percentile(&times, 50)?,
            p99_microseconds: percentile(&times, 99)?,
        })
    }
}

/// The smallest time that at least `percent` of all do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::Latency;

    #[test]
    fn percentiles_are_times_that_were_measured() {
        let latency = Latency::of((1..=200).rev().collect()).unwrap();
        assert_eq!(latency.p50_microseconds, 100);
        assert_eq!(latency.p99_microseconds, 198);
        let one = Latency::of(vec![7]).unwrap();
        assert_eq!((one.p50_microseconds, one.p99_microseconds), (7, 7));
        assert_eq!(Latency::of(Vec::new()), None);
    }
}
