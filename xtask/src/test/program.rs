//! Test programs that are not run by cargo.

use std::{
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use serde::Deserialize;

use super::{cargo_test, counts::Counts};

/// A program with tests that need root, and the machine to themselves.
pub(super) struct Program {
    pub(super) name: String,
    executable: PathBuf,
    /// Of its package.
    pub(super) directory: PathBuf,
}

impl Program {
    /// Builds all of them. They are run without cargo, which may be building something else then.
    pub(super) fn build_all() -> anyhow::Result<Vec<Self>> {
        let output = cargo_test(&["--test", "*"])
            .args(["--no-run", "--message-format", "json-render-diagnostics"])
            .stderr(Stdio::inherit())
            .output()
            .context("starting cargo")?;
        ensure!(output.status.success(), "cargo failed: {}", output.status);
        let messages = serde_json::Deserializer::from_slice(&output.stdout).into_iter();
        let mut programs = Vec::new();
        for message in messages {
            programs.extend(Self::of(message.context("a message of cargo's")?));
        }
        programs.sort_by(|one, other| {
            (&one.directory, &one.name).cmp(&(&other.directory, &other.name))
        });
        Ok(programs)
    }

    /// One, if a message tells of one (The Cargo Book, External tools, Artifact messages).
    fn of(message: Message) -> Option<Self> {
        let target = message.target.filter(|target| target.kind == ["test"])?;
        Some(Self {
            name: target.name,
            executable: message.executable?,
            directory: message.manifest_path?.parent()?.to_owned(),
        })
    }

    /// Runs it, prints what it says and counts.
    pub(super) fn run(&self) -> anyhow::Result<Counts> {
        let Self {
            executable,
            directory,
            ..
        } = self;
        let mut command = Command::new(executable);
        let mut child = command
            .arg("--test-threads=1")
            // As cargo does it.
            .current_dir(directory)
            .env("CARGO_MANIFEST_DIR", directory)
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
        ensure!(status.success(), "{command:?} failed: {status}");
        counts.none_ignored()?.some()
    }
}

/// What cargo says of one thing that it has built.
#[derive(Deserialize)]
struct Message {
    target: Option<BuiltTarget>,
    manifest_path: Option<PathBuf>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct BuiltTarget {
    kind: Vec<String>,
    name: String,
}
