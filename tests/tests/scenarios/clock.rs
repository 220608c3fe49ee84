//! A clock that is set.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Session, pod::PodSpec};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{get, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "A clock that is set",
    scenarios: &[Scenario {
        name: "clock_step",
        happens: "the machine's clock is set seven seconds forward, and back, between requests",
        recorded: "both sides: `matched` 1/1 each; two `clock_step` records",
        finds: &[],
        pods: || vec![PodSpec::new("a"), PodSpec::new("b")],
        play: clock_step,
    }],
};

const STEP: Duration = Duration::from_secs(7);

/// Puts the clock right, also when the play fails.
struct Shifted;

impl Shifted {
    fn forward() -> Result<Self> {
        shift(|seconds| seconds + STEP.as_secs().cast_signed())?;
        Ok(Self)
    }
}

impl Drop for Shifted {
    fn drop(&mut self) {
        // Who could set it forward can set it back.
        let _ = shift(|seconds| seconds - STEP.as_secs().cast_signed());
    }
}

fn shift(to: impl Fn(i64) -> i64) -> Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let then = Timespec {
        tv_sec: to(now.tv_sec),
        ..now
    };
    clock_settime(ClockId::Realtime, then).context("setting the clock")
}

const PATHS: [&str; 5] = ["/clock/0", "/clock/1", "/clock/2", "/clock/3", "/clock/4"];

fn clock_step(session: &mut Session) -> Result<Judge> {
    let ask = |path: &str, options: &[&str]| -> Result<()> {
        ensure!(get(session, "a", "b", path, options)? == 200);
        Ok(())
    };
    ask(PATHS[0], &[])?;
    let shifted = Shifted::forward()?;
    ask(PATHS[1], &[])?;
    wait_for_line(session, "b", PATHS[1])?;
    ask(PATHS[2], &[])?;
    drop(shifted);
    ask(PATHS[3], &[])?;
    wait_for_line(session, "b", PATHS[3])?;
    ask(PATHS[4], &[])?;
    judge(|evidence| {
        for path in PATHS {
            matched_at_both(evidence, "a", "b", path)?;
        }
        let steps = evidence.records.find(|record| {
            record.kind() == "lifecycle" && record.line().contains("\"clock_step\"")
        });
        ensure!(steps.len() == 2, "{} clock steps were told", steps.len());
        Ok(())
    })
}
