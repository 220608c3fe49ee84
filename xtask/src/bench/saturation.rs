//! As much as goes through: the throughput with the agent against that without. A report, not a
//! gate: on a saturated machine pairs differ by more than the agent costs.

use anyhow::Result;
use serde::Serialize;

use super::{
    fixed_rate::MESH,
    load::{Load, Loaded, Pace},
    stage::Stage,
};
use crate::progress::Task;

/// Pairs of runs; the median of an odd number is one of them.
const PAIRS: usize = 7;
/// Seconds of each run.
const SECONDS: u64 = 5;

/// All pairs.
#[derive(Debug, Serialize)]
pub(super) struct Saturation {
    pub(super) pairs: Vec<Pair>,
}

/// One run without the agent and one with it, close together.
#[derive(Debug, Serialize)]
pub(super) struct Pair {
    /// Requests a second.
    pub(super) without: f64,
    /// Requests a second.
    pub(super) with: f64,
    /// What was lost, or accused, in the run with the agent.
    pub(super) losses: Vec<String>,
}

impl Saturation {
    /// Smallest, median and largest ratio of the throughputs.
    pub(super) fn ratios(&self) -> [f64; 3] {
        let ratios = self.pairs.iter().map(|pair| pair.with / pair.without);
        let mut ratios: Vec<f64> = ratios.collect();
        ratios.sort_by(f64::total_cmp);
        let at = |index: usize| ratios.get(index).copied().unwrap_or(f64::NAN);
        [0, ratios.len() / 2, ratios.len().saturating_sub(1)].map(at)
    }
}

/// Measures all pairs; which run of a pair is the first alternates.
pub(super) fn measure(stage: &Stage) -> Result<Saturation> {
    let mut pairs = Vec::new();
    for number in 1..=PAIRS {
        let name = format!("pair {number} of {PAIRS}");
        pairs.push(Task::run(&name, |_| pair(stage, number % 2 == 0))?);
    }
    Ok(Saturation { pairs })
}

fn pair(stage: &Stage, agent_first: bool) -> Result<Pair> {
    let early = match agent_first {
        false => Some(flat_out(stage)?),
        true => None,
    };
    let mut watched = stage.start_agent()?;
    let with = flat_out(stage)?;
    watched.settle()?;
    let losses = watched.tally.totals.objections(true);
    watched.stop()?;
    let without = match early {
        Some(early) => early,
        None => flat_out(stage)?,
    };
    Ok(Pair {
        without: without.rate,
        with: with.rate,
        losses,
    })
}

fn flat_out(stage: &Stage) -> Result<Loaded> {
    Load::start(&stage.lab, MESH.route, Pace::FlatOut, SECONDS)?.finish()
}

#[cfg(test)]
mod tests {
    use super::{Pair, Saturation};

    #[test]
    fn the_median_is_that_of_the_ratios() {
        let pair = |without, with| Pair {
            without,
            with,
            losses: Vec::new(),
        };
        let pairs = vec![pair(10.0, 9.0), pair(20.0, 10.0), pair(5.0, 6.0)];
        assert_eq!(Saturation { pairs }.ratios(), [0.5, 0.9, 1.2]);
    }
}
