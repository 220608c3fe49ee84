//! `test`: everything that must hold before a change lands. Nothing in it is skipped.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
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

/// Runs everything, up to the first failure.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    require_root("test")?;
    let mut steps = Steps::begin();
    let mut tests = Counts::default();
    steps.run("requirements", || install::ensure_all(options.yes))?;
    steps.run("formatting", || {
        build::execute(cargo().args(["fmt", "--all", "--", "--check"]))?;
        let fuzz = ["fmt", "--manifest-path", "fuzz/Cargo.toml", "--", "--check"];
        build::execute(cargo().args(fuzz))
    })?;
    steps.run("BPF programs", || build::run(&build::Options::PROGRAMS))?;
    steps.run("lints", || {
        build::execute(cargo().arg("clippy").args(PACKAGES).args([
            "--all-targets",
            "--",
            "--deny",
            "warnings",
        ]))
    })?;
    steps.run("lints, fuzz targets", fuzz::lint)?;
    steps.run("agent, release", || build::run(&build::Options::ALL))?;
    steps.run("tests, build", || {
        build::execute(cargo().arg("test").args(PACKAGES).arg("--no-run"))
    })?;
    tests += steps.run("unit and property tests", || {
        run_tests(&["--lib", "--bins"], &[])?.some()
    })?;
    tests += steps.run(&format!("simulation, {SEEDS} seeds"), || {
        run_counted(cargo().args(SIMULATION).env("SEEDS", SEEDS.to_string()))?.some()
    })?;
    tests += steps.run("examples in the documentation", || {
        run_tests(&["--doc"], &[])
    })?;
    for test in programs("agent/tests")? {
        tests += steps.run(&format!("agent: {test}"), || {
            run_tests(&["--test", &test], &ONE_BY_ONE)?.some()
        })?;
    }
    for test in programs("tests/tests")? {
        tests += steps.run(&format!("end to end: {test}"), || {
            run_tests(&["--test", &test], &ONE_BY_ONE)?.some()
        })?;
    }
    // A mirror that is away is no failure of this; a kernel that was booted can fail.
    let kernels = kernels::try_all(&mut steps)?;
    println!("\n{}", steps.times());
    println!(
        "\nformatting, lints, build, and all tests: unit, property, kernel, end to end\n\
         {kernels}\n\
         {} passed, 0 failed",
        tests.passed
    );
    Ok(())
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

/// Runs `cargo test` on some targets, prints what it says and counts.
fn run_tests(targets: &[&str], arguments: &[&str]) -> anyhow::Result<Counts> {
    run_counted(
        cargo()
            .arg("test")
            .args(PACKAGES)
            .args(targets)
            .args(arguments),
    )
}

/// Runs a command of `cargo test`, prints what it says and counts.
fn run_counted(command: &mut Command) -> anyhow::Result<Counts> {
    command.stdout(Stdio::piped());
    let mut child = command
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
    ensure!(
        counts.ignored == 0,
        "{} tests were ignored; a test that cannot run here has to fail",
        counts.ignored
    );
    Ok(counts)
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
