//! How long the agent's programs ran in the kernel.

use std::{collections::BTreeMap, fs, os::fd::OwnedFd};

use anyhow::{Context, Result};
use aya::{
    programs::loaded_programs,
    sys::{Stats, enable_stats},
};
use serde::Serialize;

/// As long as this lives the kernel measures programs, as with `kernel.bpf_stats_enabled`; it
/// stops by itself when the descriptor is closed, however this process ends.
pub(super) struct Measuring {
    _descriptor: OwnedFd,
}

impl Measuring {
    pub(super) fn begin() -> Result<Self> {
        let descriptor = enable_stats(Stats::RunTime);
        Ok(Self {
            _descriptor: descriptor.context("having the kernel measure BPF programs")?,
        })
    }
}

/// What one program has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Runs {
    pub(super) runs: u64,
    /// Of all runs. The measuring itself is in it, about 60 ns a run.
    pub(super) nanoseconds: u64,
}

/// Runs of each program by name.
pub(super) type ByProgram = BTreeMap<String, Runs>;

/// The programs that a process holds.
pub(super) fn of_process(process: u32) -> Result<ByProgram> {
    let held = held_by(process)?;
    let mut found = ByProgram::new();
    for program in loaded_programs() {
        // One that was unloaded in between is not the agent's.
        let Ok(program) = program else { continue };
        if held.contains(&program.id()) {
            let name = program.name_as_str().unwrap_or_default().to_owned();
            let runs: &mut Runs = found.entry(name).or_default();
            runs.runs += program.run_count();
            runs.nanoseconds += u64::try_from(program.run_time().as_nanos())?;
        }
    }
    Ok(found)
}

/// What ran between two looks, without those that did not.
pub(super) fn since(later: ByProgram, earlier: &ByProgram) -> ByProgram {
    let less = |(name, now): (String, Runs)| {
        let before = earlier.get(&name).copied().unwrap_or_default();
        let runs = Runs {
            runs: now.runs - before.runs,
            nanoseconds: now.nanoseconds - before.nanoseconds,
        };
        (runs.runs > 0).then_some((name, runs))
    };
    later.into_iter().filter_map(less).collect()
}

/// Ids of programs behind the descriptors of a process.
fn held_by(process: u32) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    let directory = format!("/proc/{process}/fdinfo");
    for entry in fs::read_dir(&directory).with_context(|| format!("reading {directory}"))? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let is_link = text.lines().any(|line| line.starts_with("link_id:"));
        let id = text.lines().find_map(|line| line.strip_prefix("prog_id:"));
        if let (false, Some(id)) = (is_link, id) {
            ids.push(id.trim().parse()?);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::{ByProgram, Runs, since};

    #[test]
    fn only_what_ran_in_between_is_left() {
        let runs = |runs, nanoseconds| Runs { runs, nanoseconds };
        let earlier =
            ByProgram::from([("a".to_owned(), runs(2, 100)), ("b".to_owned(), runs(1, 9))]);
        let later = ByProgram::from([
            ("a".to_owned(), runs(5, 400)),
            ("b".to_owned(), runs(1, 9)),
            ("c".to_owned(), runs(1, 7)),
        ]);
        let expected =
            ByProgram::from([("a".to_owned(), runs(3, 300)), ("c".to_owned(), runs(1, 7))]);
        assert_eq!(since(later, &earlier), expected);
    }
}
