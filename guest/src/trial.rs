//! What `meshwitness check` says of the limit on locked memory, under the three capabilities.

use std::{fs, path::Path};

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

/// The one of the kernels that charges maps to that limit, as those before 5.11 do.
const CHARGING: &str = "5.10.";

/// With the limit that it gave init this kernel refuses the programs, and the check says what to
/// raise. With others nothing is tried: to load twice would take as long as all the rest.
pub(crate) fn with_limited_memory() -> anyhow::Result<()> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let items = if release.starts_with(CHARGING) {
        items()?
    } else {
        return Ok(());
    };
    let find = |name: &str| {
        let item = items.iter().find(|item| item.name == name);
        item.with_context(|| format!("the check has no line `{name}`"))
    };
    let (limit, programs) = (find("locked memory")?, find("programs")?);
    ensure!(limit.state == State::Failure, "{limit:?}");
    ensure!(
        programs.state == State::Failure && programs.message.contains("RLIMIT_MEMLOCK"),
        "{programs:?}"
    );
    Ok(())
}

/// What the check says. Nothing here has a log or a collector.
fn items() -> anyhow::Result<Vec<Item>> {
    let config = Config::parse(Path::new("guest"), "forward: []", &|_| None)?;
    with_three_capabilities(move || {
        let probes = check::Probes {
            kernel: capture::probe(Path::new(CGROUPS), &[machine::pods()]),
            collectors: Vec::new(),
        };
        let report = check::check(&config, &probes, Timestamp::default());
        Ok(report.items().to_vec())
    })
}
