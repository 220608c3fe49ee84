//! The ledger alone, fed from a recording of real traffic.

use std::{env, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::{
    fixed_rate::MESH,
    load::{Load, Pace},
    stage::Stage,
};
use crate::{build, progress::Task};

/// Seconds of traffic that are recorded: 100,000 exchanges.
const SECONDS: u64 = 10;

/// What came of it; CPU time, so other work on the machine does not count.
#[derive(Debug, Serialize)]
pub(super) struct Replay {
    pub(super) void: Vec<String>,
    #[serde(flatten)]
    pub(super) judged: Judged,
}

/// What `agent/benches/ledger.rs` prints.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Judged {
    pub(super) exchanges: u64,
    pub(super) records: u64,
    pub(super) record_bytes: u64,
    /// Inputs into records.
    pub(super) ledger_seconds: f64,
    /// Records into JSON.
    pub(super) sealing_seconds: f64,
}

/// Records traffic, then replays it.
pub(super) fn measure(stage: &Stage) -> Result<Replay> {
    let file = stage.lab.directory().join("recording");
    let void = Task::run("recording", |_| record(stage, &file))?;
    let judged = Task::run("the ledger alone", |_| judge(&file))?;
    Ok(Replay { void, judged })
}

fn record(stage: &Stage, file: &Path) -> Result<Vec<String>> {
    let mut watched = stage.start_recorder(file)?;
    Load::start(&stage.lab, MESH.route, Pace::Rate(MESH.rate), SECONDS)?.finish()?;
    watched.settle()?;
    let objections = watched.tally.totals.objections(true);
    watched.stop()?;
    Ok(objections)
}

fn judge(recording: &Path) -> Result<Judged> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["bench", "--quiet", "--package", "meshwitness"])
        .args(["--bench", "ledger", "--"])
        .arg(recording)
        .current_dir(build::workspace());
    let output = cargo.output().context("starting cargo bench")?;
    ensure!(
        output.status.success(),
        "the ledger's benchmark failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
