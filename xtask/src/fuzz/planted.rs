//! Bugs that were planted: what shows that a target would find one.

use std::{fs, time::Duration};

use anyhow::{Context, ensure};

use super::{
    build::{self, Sources},
    copy::Copy,
    target::Target,
};
use crate::{progress::Task, steps::seconds};

/// Plants the bug of each target in a copy of the sources, and has the target find it. What it
/// finds must be no finding without the patch.
pub(super) fn run(targets: &[Target], time: Duration) -> anyhow::Result<()> {
    build::targets(Sources::Own, targets)?;
    let whole = build::directory()?.join("whole");
    fs::create_dir_all(&whole)?;
    for target in targets {
        // The other builds take the binary's place.
        let kept = whole.join(&target.name);
        fs::copy(build::binary(&target.name)?, &kept)
            .with_context(|| format!("copying to {}", kept.display()))?;
    }
    let copy = Copy::new()?;
    let mut missed = Vec::new();
    for target in targets {
        copy.apply(&target.patch())?;
        Task::run(&format!("{}: build", target.name), |_| {
            build::targets(Sources::Copy(&copy.root), std::slice::from_ref(target))
        })?;
        let outcome = Task::run(&target.name, |task| {
            target.fuzz_anew(&build::binary(&target.name)?, time, task)
        })?;
        copy.revert(&target.patch())?;
        let Some(finding) = outcome.finding else {
            println!("    missed in {} executions", outcome.executions);
            missed.push(target.name.as_str());
            continue;
        };
        let without = target.replay(&whole.join(&target.name), &finding.input)?;
        ensure!(
            without.is_none(),
            "{} finds this without its patch too: {}",
            target.name,
            finding.input.display()
        );
        fs::remove_file(&finding.input)?;
        println!(
            "    found after {} and {} executions: {}",
            seconds(outcome.time),
            outcome.executions,
            finding.said.lines().nth(1).unwrap_or(&finding.said).trim()
        );
    }
    ensure!(
        missed.is_empty(),
        "did not find within {} what was planted: {}",
        seconds(time),
        missed.join(", ")
    );
    println!("\neach target found what was planted, and nothing without it");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{copy::git_apply, target::Target};
    use crate::build::workspace;

    #[test]
    fn every_target_has_seeds_and_a_bug_that_can_be_planted() {
        for target in Target::all().unwrap() {
            let seeds = std::fs::read_dir(target.seeds()).unwrap().count();
            assert_ne!(seeds, 0, "{} has no seeds", target.name);
            let output = git_apply(workspace(), &["--check", "--verbose"])
                .arg(target.patch())
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", target.name);
        }
    }
}
