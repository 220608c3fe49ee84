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
    pub(super) fn of(name: &str, program: &Program) -> io::Result<Self> {
        let info = program.info().map_err(io::Error::other)?;
        let file = program.fd().map_err(io::Error::other)?;
        let file = file.as_fd().as_raw_fd();
        let facts = fs::read_to_string(format!("/proc/self/fdinfo/{file}"))?;
        Ok(Self {
            name: name.to_owned(),
            verified_instructions: info.verified_instruction_count(),
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
