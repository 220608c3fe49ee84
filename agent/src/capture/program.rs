//! What the kernel tells of a program.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use aya::programs::Program;

/// What the kernel tells of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramFacts {
    /// Its name.
    pub name: String,
    /// How many instructions the verifier went through; the limit is a million.
    pub verified_instructions: Option<u32>,
    /// How often it ran. 0 unless `kernel.bpf_stats_enabled` is set.
    pub runs: u64,
    /// How long it ran altogether. 0 unless `kernel.bpf_stats_enabled` is set.
    pub run_time: Duration,
}

impl ProgramFacts {
    /// Whether the kernel counts runs and their time (`kernel.bpf_stats_enabled`).
    #[must_use]
    pub fn are_counted() -> bool {
        let enabled = fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled");
        enabled.is_ok_and(|enabled| enabled.trim() == "1")
    }

    pub(super) fn of(name: &str, program: &Program) -> io::Result<Self> {
        // Kernels before 5.19 tell that to those with CAP_BPF alone; the file below, to all.
        let info = program.info().ok();
        let file = program.fd().map_err(io::Error::other)?;
        let file = file.as_fd().as_raw_fd();
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{file}"))?;
        Ok(Self {
            name: name.to_owned(),
            verified_instructions: info.and_then(|info| info.verified_instruction_count()),
            runs: number(&facts, "run_cnt:"),
            run_time: Duration::from_nanos(number(&facts, "run_time_ns:")),
        })
    }
}

/// The number behind a name; 0 where the kernel does not tell it.
fn number(facts: &str, name: &str) -> u64 {
    let value = facts.lines().find_map(|line| line.strip_prefix(name));
    value.map_or(0, |value| value.trim().parse().unwrap_or(0))
}
