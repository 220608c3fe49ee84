//! What came of all boots.

use std::{fmt, time::Duration};

use anyhow::{bail, ensure};

use crate::steps::seconds;

/// How many instructions the verifier may go through in one program; its limit is a million. What
/// is left is for kernels and compilers that are still to come: each counts differently.
const BUDGET: u32 = 350_000;

/// All kernels that were tried.
pub(crate) struct Report {
    tried: Vec<Tried>,
}

/// A kernel, and what came of it.
pub(super) struct Tried {
    pub(super) series: &'static str,
    pub(super) outcome: Result<Passed, Failure>,
}

/// A boot in which what was told was the truth.
pub(super) struct Passed {
    pub(super) kernel: String,
    pub(super) time: Duration,
    /// Each program with the instructions that the verifier went through, where the kernel says.
    pub(super) programs: Vec<(String, Option<u32>)>,
    /// What was told, free of chance.
    pub(super) records: Vec<String>,
}

pub(super) enum Failure {
    /// It could not be had.
    NotObtained(anyhow::Error),
    /// It was booted, and something was not as it must be.
    Failed {
        kernel: String,
        error: anyhow::Error,
    },
}

impl Report {
    pub(super) const fn new(tried: Vec<Tried>) -> Self {
        Self { tried }
    }

    /// Every kernel that was booted passed, all told the same, and no program is over its budget.
    pub(super) fn ensure_none_failed(&self) -> anyhow::Result<()> {
        for tried in &self.tried {
            if let Err(Failure::Failed { kernel, .. }) = &tried.outcome {
                bail!("kernel {kernel} failed; see above");
            }
        }
        let mut passed = self.passed();
        let Some(first) = passed.next() else {
            return Ok(());
        };
        ensure!(
            !first.records.is_empty(),
            "kernel {}: no records",
            first.kernel
        );
        for other in passed {
            for (one, two) in first.records.iter().zip(&other.records) {
                ensure!(
                    one == two,
                    "kernels tell differently\n{}: {one}\n{}: {two}",
                    first.kernel,
                    other.kernel
                );
            }
            ensure!(
                first.records.len() == other.records.len(),
                "some tell more than others"
            );
        }
        for passed in self.passed() {
            for (program, count) in &passed.programs {
                ensure!(
                    count.is_none_or(|count| count <= BUDGET),
                    "kernel {}: expected program `{program}` to take at most {BUDGET} instructions \
                     of the verifier's, got {count:?}",
                    passed.kernel
                );
            }
        }
        Ok(())
    }

    /// Every kernel that is promised was there.
    pub(super) fn ensure_all_ran(&self) -> anyhow::Result<()> {
        for tried in &self.tried {
            if let Err(Failure::NotObtained(error)) = &tried.outcome {
                bail!("kernel {} could not be had: {error:#}", tried.series);
            }
        }
        Ok(())
    }

    fn passed(&self) -> impl Iterator<Item = &Passed> {
        self.tried
            .iter()
            .filter_map(|tried| tried.outcome.as_ref().ok())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for tried in &self.tried {
            match &tried.outcome {
                Ok(passed) => {
                    let (time, records) = (seconds(passed.time), passed.records.len());
                    let Passed { kernel, .. } = passed;
                    writeln!(
                        f,
                        "{:8} {kernel}: passed, {records} records, {time}",
                        tried.series
                    )?;
                }
                Err(Failure::NotObtained(error)) => {
                    writeln!(
                        f,
                        "{:8} not run: it could not be had: {error:#}",
                        tried.series
                    )?;
                }
                Err(Failure::Failed { kernel, error }) => {
                    writeln!(f, "{:8} {kernel}: FAILED: {error:#}", tried.series)?;
                }
            }
        }
        self.fmt_programs(f)
    }
}

impl Report {
    /// A table of programs and kernels.
    fn fmt_programs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed: Vec<&Passed> = self.passed().collect();
        let Some(first) = passed.first() else {
            return Ok(());
        };
        write!(f, "\n{:16}", "verified")?;
        for passed in &passed {
            write!(f, "{:>16}", passed.kernel)?;
        }
        for (program, _) in &first.programs {
            write!(f, "\n{program:16}")?;
            for passed in &passed {
                let count = passed.programs.iter().find(|(name, _)| name == program);
                match count.and_then(|(_, count)| *count) {
                    Some(count) => write!(f, "{count:>16}")?,
                    None => write!(f, "{:>16}", "not told")?,
                }
            }
        }
        write!(f, "\n{:16}{BUDGET:>16}", "at most")
    }
}
