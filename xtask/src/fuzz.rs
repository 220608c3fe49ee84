//! `fuzz`: coverage-guided fuzzing of everything that reads what others wrote.
//!
//! The targets are in `fuzz/fuzz_targets`, each with seeds (`fuzz/seeds`) and with a patch that
//! plants a bug (`fuzz/planted`). What libFuzzer learns stays in the target directory for the next
//! time.

mod build;
mod copy;
mod planted;
mod target;

pub(crate) use build::clippy;

use std::{fs, path::PathBuf, time::Duration};

use anyhow::{Context, bail, ensure};
use clap::Args;

use self::target::{Finding, Outcome, Target};
use crate::{install, progress::Task, steps::seconds};

/// What `fuzz` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Only this target
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Plant a bug for each target, which it must find within that time
    #[arg(long)]
    planted: bool,
    /// Run this input once, for example one that was kept
    #[arg(
        long,
        value_name = "FILE",
        requires = "target",
        conflicts_with = "planted"
    )]
    input: Option<PathBuf>,
    /// Do not ask before installing what this needs
    #[arg(long, short)]
    yes: bool,
}

/// Runs the targets, all of them, and fails if any found something.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let targets = chosen(options.target.as_deref())?;
    install::ensure_fuzzing(options.yes)?;
    let time = Duration::from_secs(options.seconds);
    if options.planted {
        return planted::run(&targets, time);
    }
    build::targets(build::Sources::Own, &targets)?;
    if let (Some(input), [target]) = (&options.input, targets.as_slice()) {
        let input = fs::canonicalize(input)
            .with_context(|| format!("expected an input at {}", input.display()))?;
        return match target.replay(&build::binary(&target.name)?, &input)? {
            None => Ok(()),
            Some(said) => bail!("{} fails on it:\n{said}", target.name),
        };
    }
    let mut findings = Vec::new();
    for target in &targets {
        let outcome = Task::run(&target.name, |task| {
            target.fuzz(&build::binary(&target.name)?, time, task)
        })?;
        println!("    {}", described(&outcome));
        findings.extend(outcome.finding.map(|finding| (target, finding)));
    }
    report(&findings)
}

/// All targets, or the one of that name.
fn chosen(name: Option<&str>) -> anyhow::Result<Vec<Target>> {
    let mut targets = Target::all()?;
    if let Some(name) = name {
        let known: Vec<_> = targets.iter().map(|target| target.name.clone()).collect();
        targets.retain(|target| target.name == name);
        ensure!(
            !targets.is_empty(),
            "no target is named {name}; expected one of {}",
            known.join(", ")
        );
    }
    Ok(targets)
}

fn described(outcome: &Outcome) -> String {
    let rate = f64::from(u32::try_from(outcome.executions).unwrap_or(u32::MAX))
        / outcome.time.as_secs_f64().max(0.001);
    format!(
        "{} executions in {}, {rate:.0} a second, {} branches reached; {}",
        outcome.executions,
        seconds(outcome.time),
        outcome.coverage,
        if outcome.finding.is_some() {
            "a finding"
        } else {
            "no finding"
        },
    )
}

fn report(findings: &[(&Target, Finding)]) -> anyhow::Result<()> {
    for (target, finding) in findings {
        println!(
            "\n{}: {}\n  the input is kept in {}; to run it again:\n  \
             cargo xtask fuzz --target {} --input {}",
            target.name,
            finding.said,
            finding.input.display(),
            target.name,
            finding.input.display()
        );
    }
    let names: Vec<_> = findings
        .iter()
        .map(|(target, _)| target.name.as_str())
        .collect();
    ensure!(names.is_empty(), "found something: {}", names.join(", "));
    println!("\nnothing was found");
    Ok(())
}
