//! What `meshwitness check` says here, under the three capabilities.

use std::path::Path;

use anyhow::{Context, ensure};
use meshwitness::{
    capture,
    check::{self, Item, State},
    config::Config,
    timestamp::Timestamp,
};

use crate::{
    machine::{self, CGROUPS},
    watch::with_three_capabilities,
};

/// The line that old kernels have.
const MEMORY_LOCK: &str = "locked memory";

/// Everything is well. On kernels that charge maps to the limit on locked memory it is not before
/// that limit is raised, and the check says so.
pub(crate) fn check() -> anyhow::Result<()> {
    let items = items()?;
    let Some(limit) = items.iter().find(|item| item.name == MEMORY_LOCK) else {
        return all_well(&items);
    };
    ensure!(limit.state == State::Failure, "{limit:?}");
    let refused = items.iter().find(|item| item.name == "programs");
    let refused = refused.context("nothing about the programs")?;
    ensure!(
        refused.state == State::Failure && refused.message.contains("RLIMIT_MEMLOCK"),
        "{refused:?}"
    );
    machine::raise_memory_lock()?;
    all_well(&self::items()?)
}

fn all_well(items: &[Item]) -> anyhow::Result<()> {
    for item in items {
        ensure!(item.state == State::Ok, "{}: {}", item.name, item.message);
    }
    Ok(())
}

/// What the check says about the kernel: nothing here has a log or a collector.
fn items() -> anyhow::Result<Vec<Item>> {
    let config = Config::parse(Path::new("guest"), "forward: []", &|_| None)?;
    let report = with_three_capabilities(move || {
        let probes = check::Probes {
            kernel: capture::probe(Path::new(CGROUPS), &[machine::pods()]),
            collectors: Vec::new(),
        };
        Ok(check::check(&config, &probes, Timestamp::default()))
    })?;
    let of_kernel = |item: &&Item| {
        let first = item.name.split(' ').next().unwrap_or_default();
        item.name == MEMORY_LOCK
            || ["kernel", "feature", "programs", "capability", "attach"].contains(&first)
    };
    Ok(report.items().iter().filter(of_kernel).cloned().collect())
}
