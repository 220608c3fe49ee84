//! One target: what it starts from, and what a run of it comes to.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

use super::build::directory;
use crate::{build::workspace, progress::Task};

/// The most that reading one input may take, in seconds.
const TIMEOUT: &str = "-timeout=10";
/// The most memory that a target may take, in MiB.
const MEMORY: &str = "-rss_limit_mb=1024";
/// What libFuzzer exits with after a finding.
const FOUND: i32 = 77;
/// And where one input took too long.
const TIMED_OUT: i32 = 70;
/// And where one took too much memory.
const OUT_OF_MEMORY: i32 = 71;

/// A fuzz target.
pub(super) struct Target {
    pub(super) name: String,
}

/// What a run came to.
pub(super) struct Outcome {
    pub(super) executions: u64,
    /// Branches that some input took.
    pub(super) coverage: u64,
    pub(super) time: Duration,
    pub(super) finding: Option<Finding>,
}

/// An input on which a target failed.
pub(super) struct Finding {
    /// Where it is kept.
    pub(super) input: PathBuf,
    /// How the target failed.
    pub(super) said: String,
}

impl Target {
    /// All there are, by name.
    pub(super) fn all() -> anyhow::Result<Vec<Self>> {
        let path = workspace().join("fuzz/fuzz_targets");
        let mut targets = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("reading {}", path.display()))? {
            let file = entry?.path();
            let name = file.file_stem().context("expected a file's name")?;
            targets.push(Self {
                name: name.to_string_lossy().into_owned(),
            });
        }
        ensure!(
            !targets.is_empty(),
            "expected targets in {}",
            path.display()
        );
        targets.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(targets)
    }

    /// The seeds, which are never written to.
    pub(super) fn seeds(&self) -> PathBuf {
        workspace().join("fuzz/seeds").join(&self.name)
    }

    /// The patch that plants a bug for it.
    pub(super) fn patch(&self) -> PathBuf {
        let name = format!("{}.patch", self.name);
        workspace().join("fuzz/planted").join(name)
    }

    /// Runs for so long, from the seeds and from all that was learnt before.
    pub(super) fn fuzz(
        &self,
        binary: &Path,
        time: Duration,
        task: &Task,
    ) -> anyhow::Result<Outcome> {
        let corpus = directory()?.join("corpus").join(&self.name);
        self.run(binary, time, &corpus, &[], task)
    }

    /// The same, into an empty directory, and the same each time.
    pub(super) fn fuzz_anew(
        &self,
        binary: &Path,
        time: Duration,
        task: &Task,
    ) -> anyhow::Result<Outcome> {
        let corpus = directory()?.join("planted-corpus");
        if corpus.exists() {
            fs::remove_dir_all(&corpus)?;
        }
        self.run(binary, time, &corpus, &["-seed=1"], task)
    }

    /// Runs one input: what the target said, if it failed.
    pub(super) fn replay(&self, binary: &Path, input: &Path) -> anyhow::Result<Option<String>> {
        let scratch = Scratch::new(&self.name)?;
        let output = scratch.command(binary).arg(input).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        match output.status.code() {
            Some(0) => Ok(None),
            Some(FOUND | TIMED_OUT | OUT_OF_MEMORY) => Ok(Some(said.into_owned())),
            _ => bail!("{} could not run: {}\n{said}", self.name, output.status),
        }
    }

    fn run(
        &self,
        binary: &Path,
        time: Duration,
        corpus: &Path,
        more: &[&str],
        task: &Task,
    ) -> anyhow::Result<Outcome> {
        let findings = directory()?.join("findings");
        for path in [corpus, &findings] {
            fs::create_dir_all(path).with_context(|| format!("creating {}", path.display()))?;
        }
        let scratch = Scratch::new(&self.name)?;
        let began = Instant::now();
        let mut child = scratch
            .command(binary)
            .args([corpus, &self.seeds()])
            .arg(format!("-max_total_time={}", time.as_secs()))
            .arg(format!(
                "-artifact_prefix={}/{}-",
                findings.display(),
                self.name
            ))
            .arg("-print_final_stats=1")
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let mut said = Said::default();
        let lines = BufReader::new(child.stderr.take().context("expected a pipe")?).split(b'\n');
        for line in lines {
            said.read(&String::from_utf8_lossy(&line?), task);
        }
        let status = child.wait()?;
        let finding = match status.code() {
            Some(0) => None,
            Some(FOUND | TIMED_OUT | OUT_OF_MEMORY) => {
                let input = said.input.context("expected the input that was found")?;
                Some(Finding {
                    input,
                    said: said.failure.join("\n  "),
                })
            }
            _ => bail!(
                "{} could not run: {status}\n{}",
                self.name,
                said.failure.join("\n")
            ),
        };
        ensure!(said.executions > 0, "{} ran nothing", self.name);
        Ok(Outcome {
            executions: said.executions,
            coverage: said.coverage,
            time: began.elapsed(),
            finding,
        })
    }
}

/// What libFuzzer and a target that fails write.
#[derive(Default)]
struct Said {
    executions: u64,
    coverage: u64,
    input: Option<PathBuf>,
    /// The panic, or libFuzzer's own word.
    failure: Vec<String>,
}

impl Said {
    fn read(&mut self, line: &str, task: &Task) {
        /// Enough for a message and both sides of a comparison.
        const LINES: usize = 6;
        const CHARACTERS: usize = 600;
        let number = |text: &str| text.trim().parse().unwrap_or(0);
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            self.executions = number(count);
        } else if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.input = Some(PathBuf::from(path));
        } else if let Some((_, rest)) = line.split_once(" cov: ") {
            self.coverage = number(rest.split(' ').next().unwrap_or_default());
            if let Some(count) = line.strip_prefix('#') {
                let count = count.split_whitespace().next().unwrap_or_default();
                task.tell(&format!("{count} executions, {} branches", self.coverage));
            }
        } else {
            let begins = line.contains("panicked at ") || line.contains("ERROR: libFuzzer");
            let goes_on = !self.failure.is_empty() && !line.starts_with("stack backtrace");
            if (begins || goes_on) && self.failure.len() < LINES {
                self.failure.push(line.chars().take(CHARACTERS).collect());
            }
        }
    }
}

/// A directory for the files of a target that writes some: in memory where there is such a place.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    fn new(name: &str) -> anyhow::Result<Self> {
        let shared = Path::new("/dev/shm");
        let above = if shared.is_dir() {
            shared.to_owned()
        } else {
            env::temp_dir()
        };
        let path = above.join(format!("meshwitness-fuzz-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self { path })
    }

    fn command(&self, binary: &Path) -> Command {
        let mut command = Command::new(binary);
        command
            .args([TIMEOUT, MEMORY])
            .env("TMPDIR", &self.path)
            .env("RUST_BACKTRACE", "0")
            .current_dir(&self.path)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}
