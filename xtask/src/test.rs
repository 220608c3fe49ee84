//! `test`: everything that must hold before a change lands. Nothing in it is skipped.

mod counts;
mod program;

use std::{
    process::Command,
    sync::mpsc::{self, Receiver, Sender},
};

use anyhow::{Context, ensure};
use clap::Args;

use self::{counts::Counts, program::Program};
use crate::{
    build::{self, cargo},
    fuzz, install, kernels, require_root,
    steps::Steps,
};

/// All packages but the one that compiles for BPF only. The same choice for each command: another
/// would give dependencies other features, and have them compiled again.
const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "agent-ebpf"];
/// Scenes that the ledger must judge rightly, as it is released. A few hundred of them are unit tests
/// already, with all assertions.
const SEEDS: u32 = 10_000;
const SIMULATION: [&str; 4] = ["test", "--release", "--package", "simulation"];

/// What `test` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Do not ask before installing what the tests need
    #[arg(long, short)]
    yes: bool,
}

/// Runs everything, up to the first failure: first what all else needs, then two rows of steps beside
/// each other.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    require_root("test")?;
    let steps = Steps::begin();
    steps.run("requirements", || install::ensure_all(options.yes))?;
    steps.run("formatting", || {
        build::execute(cargo().args(["fmt", "--all", "--", "--check"]))?;
        let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--", "--check"];
        build::execute(cargo().args(fuzz))
    })?;
    steps.run("BPF programs", || build::run(&build::Options::PROGRAMS))?;
    let programs = steps.run("kernel and end-to-end tests, build", Program::build_all)?;
    let (agent, built) = mpsc::channel();
    let ((mut tests, kernels), others) = steps.beside(
        || in_turn(&steps, &programs, &built),
        || in_idle_time(&steps, agent),
    )?;
    tests += others;
    println!("\n{}", steps.times());
    println!(
        "\nformatting, lints, build, and all tests: unit, property, kernel, end to end\n\
         {kernels}\n\
         {} passed, 0 failed",
        tests.passed
    );
    Ok(())
}

/// What wants processor time when it wants it: BPF programs and, once the agent is there, traffic.
fn in_turn(
    steps: &Steps,
    programs: &[Program],
    agent: &Receiver<()>,
) -> anyhow::Result<(Counts, kernels::Report)> {
    let mut tests = Counts::default();
    let (of_agent, of_lab): (Vec<_>, _) = programs
        .iter()
        .partition(|program| program.directory.ends_with("agent"));
    ensure!(
        !of_agent.is_empty() && !of_lab.is_empty(),
        "expected test programs of the agent and of the lab, got {} and {}",
        of_agent.len(),
        of_lab.len()
    );
    for program in of_agent {
        tests += steps.run(&format!("agent: {}", program.name), || program.run())?;
    }
    // A mirror that is away is no failure of this; a kernel that was booted can fail.
    let kernels = kernels::obtain(steps)?;
    steps.run("agent, release, the rest of it", || {
        agent.recv().context("it was not built")
    })?;
    for program in of_lab {
        tests += steps.run(&format!("end to end: {}", program.name), || program.run())?;
    }
    Ok((tests, kernels::try_all(steps, kernels)?))
}

/// What can be done whenever a processor is idle, as traffic leaves it half of the time.
fn in_idle_time(steps: &Steps, agent: Sender<()>) -> anyhow::Result<Counts> {
    yield_to_all_others()?;
    steps.run_beside("agent, release", build::agent())?;
    // Nobody waits for it any more if a test has failed.
    let _ = agent.send(());
    let mut simulation = cargo();
    simulation.args(SIMULATION).env("SEEDS", SEEDS.to_string());
    let simulation = steps.run_beside(&format!("simulation, {SEEDS} seeds"), simulation)?;
    let units = cargo_test(&["--lib", "--bins"]);
    let units = steps.run_beside("unit and property tests", units)?;
    let examples = cargo_test(&["--doc"]);
    let examples = steps.run_beside("examples in the documentation", examples)?;
    steps.run_beside("guest, static", kernels::guest())?;
    let mut clippy = cargo();
    clippy.arg("clippy").args(PACKAGES).arg("--all-targets");
    steps.run_beside("lints", linting(clippy)?)?;
    steps.run_beside("lints, fuzz targets", linting(fuzz::clippy())?)?;
    let mut tests = Counts::of(&simulation)?.some()?;
    tests += Counts::of(&units)?.some()?;
    tests += Counts::of(&examples)?;
    Ok(tests)
}

/// Has this thread, and whatever it starts, run only where no other wants to (sched(7),
/// `SCHED_IDLE`).
fn yield_to_all_others() -> anyhow::Result<()> {
    let thread = rustix::thread::gettid().to_string();
    build::execute(Command::new("chrt").args(["--idle", "--pid", "0", &thread]))
}

/// Lints with any warning an error, where nobody waits for the same directory.
fn linting(mut clippy: Command) -> anyhow::Result<Command> {
    let target_dir = build::target_dir()?;
    clippy
        .arg("--target-dir")
        .arg(target_dir.join("lints"))
        .env("MESHWITNESS_BPF_OBJECT", target_dir.join(build::OBJECT))
        .args(["--", "--deny", "warnings"]);
    Ok(clippy)
}

fn cargo_test(targets: &[&str]) -> Command {
    let mut command = cargo();
    command.arg("test").args(PACKAGES).args(targets);
    command
}
