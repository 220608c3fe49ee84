//! Ten minutes of traffic: whether memory grows.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use super::{
    fixed_rate::MESH,
    load::{Load, Pace},
    stage::Stage,
    usage,
};
use crate::progress::Task;

const LENGTH: Duration = Duration::from_secs(600);
/// Until then caches and tables have come to their size.
const GROWN_UP: Duration = Duration::from_secs(180);
/// Memory at a moment is the mean of so long before it.
const WINDOW: Duration = Duration::from_secs(30);
const EVERY: Duration = Duration::from_secs(1);
/// How often what was stored is counted and removed.
const TALLY_EVERY: Duration = Duration::from_secs(10);

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Soak {
    pub(super) void: Vec<String>,
    pub(super) bytes_at_minute_3: u64,
    pub(super) bytes_at_minute_10: u64,
    pub(super) peak_bytes: u64,
}

impl Soak {
    /// By how much memory grew between the two, as a share.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub(super) fn growth(&self) -> f64 {
        self.bytes_at_minute_10 as f64 / self.bytes_at_minute_3 as f64 - 1.0
    }
}

/// Measures.
pub(super) fn measure(stage: &Stage) -> Result<Soak> {
    let mut watched = stage.start_agent()?;
    let agent = watched.agent.id();
    let mut load = Load::start(
        &stage.lab,
        MESH.route,
        Pace::Rate(MESH.rate),
        LENGTH.as_secs(),
    )?;
    let began = Instant::now();
    let mut samples = Vec::new();
    Task::run("traffic", |task| -> Result<()> {
        let mut counted = began;
        while !load.has_ended() {
            samples.push((began.elapsed(), usage::resident_bytes(agent)?));
            if counted.elapsed() >= TALLY_EVERY {
                watched.tally.read_on()?;
                stage.forget_lines();
                counted = Instant::now();
            }
            task.tell(&format!(
                "{} of {} s",
                began.elapsed().as_secs(),
                LENGTH.as_secs()
            ));
            thread::sleep(EVERY);
        }
        Ok(())
    })?;
    let loaded = load.finish()?;
    Task::run("verdicts, and books without anything pending", |_| {
        watched.settle()
    })?;
    let peak_bytes = usage::peak_bytes(agent)?;
    let mut void = watched.tally.totals.objections(true);
    if loaded.failed > 0 {
        void.push(format!("{} requests failed", loaded.failed));
    }
    watched.stop()?;
    Ok(Soak {
        void,
        bytes_at_minute_3: mean(&samples, GROWN_UP),
        bytes_at_minute_10: mean(&samples, LENGTH),
        peak_bytes,
    })
}

/// The mean of the samples in the window that ends at a moment.
fn mean(samples: &[(Duration, u64)], end: Duration) -> u64 {
    let window = end.saturating_sub(WINDOW)..=end;
    let within = samples.iter().filter(|(time, _)| window.contains(time));
    let (sum, count) = within.fold((0, 0), |(sum, count), (_, bytes)| (sum + bytes, count + 1));
    sum / u64::max(count, 1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::mean;

    #[test]
    fn only_what_lies_in_the_window_counts() {
        let at = |seconds, bytes| (Duration::from_secs(seconds), bytes);
        let samples = [at(10, 1000), at(40, 100), at(60, 200), at(61, 5000)];
        assert_eq!(mean(&samples, Duration::from_secs(60)), 150);
        assert_eq!(mean(&[], Duration::from_secs(60)), 0);
    }
}
