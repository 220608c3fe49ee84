//! `test`: everything that must hold before a change lands. Nothing in it is skipped.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    panic::resume_unwind,
    process::{Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
};

use anyhow::{Context, bail, ensure};
use clap::Args;

use crate::{build, fuzz, install, kernels, require_root, steps::Steps};

/// All packages but the one that compiles for BPF only. The same choice for each command: another
/// would give dependencies other features, and have them compiled again.
const PACKAGES: [&str; 3] = ["--workspace", "--exclude", "agent-ebpf"];
/// Scenes that the ledger must judge rightly, as it is released. A few hundred of them are unit tests
/// already, with all assertions.
const SEEDS: u32 = 10_000;
const SIMULATION: [&str; 4] = ["test", "--release", "--package", "simulation"];
/// Tests that need the machine to themselves.
const ONE_BY_ONE: [&str; 2] = ["--", "--test-threads=1"];

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
    steps.run("tests, build", || {
        build::execute(&mut cargo_test(&["--no-run"], &[]))
    })?;
    let (agent, built) = mpsc::channel();
    let steps = &steps;
    let (in_turn, in_idle_time) = thread::scope(|scope| {
        let in_idle_time = scope.spawn(move || in_idle_time(steps, &agent));
        let in_turn = in_turn(steps, &built);
        if in_turn.is_err() {
            println!("\na step failed; what runs beside it is still waited for");
        }
        let in_idle_time = in_idle_time.join();
        (
            in_turn,
            in_idle_time.unwrap_or_else(|panic| resume_unwind(panic)),
        )
    });
    steps.print_kept();
    let ((mut tests, kernels), others) = match (in_turn, in_idle_time) {
        (Err(one), Err(other)) => bail!("{one:#}\n{other:#}"),
        (in_turn, in_idle_time) => (in_turn?, in_idle_time?),
    };
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
fn in_turn(steps: &Steps, agent: &Receiver<()>) -> anyhow::Result<(Counts, kernels::Report)> {
    let mut tests = Counts::default();
    let one_by_one = |name: &str, test: &str| {
        steps.run(name, || {
            run_tests(cargo_test(&["--test", test], &ONE_BY_ONE))?.some()
        })
    };
    for test in programs("agent/tests")? {
        tests += one_by_one(&format!("agent: {test}"), &test)?;
    }
    // A mirror that is away is no failure of this; a kernel that was booted can fail.
    let kernels = kernels::try_all(steps)?;
    steps.run("agent, release, the rest of it", || {
        agent.recv().context("it was not built")
    })?;
    for test in programs("tests/tests")? {
        tests += one_by_one(&format!("end to end: {test}"), &test)?;
    }
    Ok((tests, kernels))
}

/// What can be done whenever a processor is idle, as traffic leaves it half of the time.
fn in_idle_time(steps: &Steps, agent: &Sender<()>) -> anyhow::Result<Counts> {
    yield_to_all_others()?;
    steps.run_beside("agent, release", build::agent())?;
    // Nobody waits for it any more if a test has failed.
    let _ = agent.send(());
    let mut simulation = cargo();
    simulation.args(SIMULATION).env("SEEDS", SEEDS.to_string());
    let simulation = steps.run_beside(&format!("simulation, {SEEDS} seeds"), simulation)?;
    let units = cargo_test(&["--lib", "--bins"], &[]);
    let units = steps.run_beside("unit and property tests", units)?;
    let examples = cargo_test(&["--doc"], &[]);
    let examples = steps.run_beside("examples in the documentation", examples)?;
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

/// What the test programs of one command said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    passed: usize,
    ignored: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.ignored += other.ignored;
    }
}

impl Counts {
    /// Itself if any test has run: a step without tests is a mistake, not a success.
    fn some(self) -> anyhow::Result<Self> {
        ensure!(self.passed > 0, "expected tests, got none");
        Ok(self)
    }

    /// What a whole output says.
    fn of(output: &str) -> anyhow::Result<Self> {
        let mut counts = Self::default();
        output.lines().for_each(|line| counts.add_line(line));
        counts.none_ignored()
    }

    fn none_ignored(self) -> anyhow::Result<Self> {
        ensure!(
            self.ignored == 0,
            "{} tests were ignored; a test that cannot run here has to fail",
            self.ignored
        );
        Ok(self)
    }

    /// Adds a program's last line: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add_line(&mut self, line: &str) {
        let Some(result) = line.strip_prefix("test result: ") else {
            return;
        };
        for part in result.split(['.', ';']) {
            match part.trim().split_once(' ') {
                Some((count, "passed")) => self.passed += count.parse().unwrap_or(0),
                Some((count, "ignored")) => self.ignored += count.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

fn cargo_test(targets: &[&str], arguments: &[&str]) -> Command {
    let mut command = cargo();
    command
        .arg("test")
        .args(PACKAGES)
        .args(targets)
        .args(arguments);
    command
}

/// Runs tests, prints what they say and counts.
fn run_tests(mut command: Command) -> anyhow::Result<Counts> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let mut counts = Counts::default();
    for line in BufReader::new(child.stdout.take().context("expected a pipe")?).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.add_line(&line);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    counts.none_ignored()
}

/// The test programs in a directory, by name: files and directories, as cargo finds them.
fn programs(directory: &str) -> anyhow::Result<Vec<String>> {
    let path = build::workspace().join(directory);
    let mut names = Vec::new();
    for entry in fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))? {
        let file = entry?.path();
        let is_program = file.extension().is_some_and(|extension| extension == "rs")
            || file.join("main.rs").is_file();
        if is_program && let Some(name) = file.file_stem() {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    ensure!(!names.is_empty(), "expected tests in {}", path.display());
    names.sort();
    Ok(names)
}

fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(build::workspace());
    command
}

#[cfg(test)]
mod tests {
    use super::Counts;

    #[test]
    fn results_of_test_programs_are_added() {
        let mut counts = Counts::default();
        for line in [
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test books::passed ... ok",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.00s",
        ] {
            counts.add_line(line);
        }
        assert_eq!(
            counts,
            Counts {
                passed: 15,
                ignored: 1
            }
        );
        assert!(Counts::default().some().is_err());
    }
}
