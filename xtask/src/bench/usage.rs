//! What processes and cgroups have used.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// CPU time of all threads of a process, those that ended included: utime and stime of
/// proc_pid_stat(5), in steps of a tick.
pub(super) fn process_cpu(process: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))
        .with_context(|| format!("the CPU time of process {process}"))?;
    let ticks = ticks(&text).with_context(|| format!("expected a stat line, got {text}"))?;
    #[expect(clippy::cast_precision_loss, reason = "a duration")]
    let seconds = ticks as f64 / clock_ticks_per_second() as f64;
    Ok(Duration::from_secs_f64(seconds))
}

/// CPU time of everything that ran in cgroups: `usage_usec` of cpu.stat, which needs no controller.
/// What the kernel does in softirqs on a process's time is in it, BPF programs too.
pub(super) fn cgroups_cpu(cgroups: &[&Path]) -> Result<Duration> {
    let mut microseconds = 0;
    for cgroup in cgroups {
        let text = fs::read_to_string(cgroup.join("cpu.stat"))
            .with_context(|| format!("the CPU time of {}", cgroup.display()))?;
        microseconds += number(&text, "usage_usec").context("expected usage_usec")?;
    }
    Ok(Duration::from_micros(microseconds))
}

/// Memory of a process that is resident now, bytes: the mapped pages of the rings included.
pub(super) fn resident_bytes(process: u32) -> Result<u64> {
    status(process, "VmRSS:")
}

/// The most that ever was.
pub(super) fn peak_bytes(process: u32) -> Result<u64> {
    status(process, "VmHWM:")
}

fn status(process: u32, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))
        .with_context(|| format!("the memory of process {process}"))?;
    Ok(number(&text, name).with_context(|| format!("expected {name}"))? * 1024)
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.split_whitespace().next()?.parse().ok()
}

/// The name of the process, in parentheses, may hold anything, blanks too.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // utime is the 14th field, the first behind the name is the third.
    let utime: u64 = fields.nth(11)?.parse().ok()?;
    let stime: u64 = fields.next()?.parse().ok()?;
    Some(utime + stime)
}

#[cfg(test)]
mod tests {
    use super::{number, ticks};

    #[test]
    fn ticks_stand_behind_the_name_whatever_it_is() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 9 0 0 0 300 21 0 0 20 0 2 0 100 9 9";
        assert_eq!(ticks(stat), Some(321));
    }

    #[test]
    fn numbers_stand_behind_their_names() {
        let text = "VmPeak:\t  90 kB\nVmHWM:\t   64 kB\n";
        assert_eq!(number(text, "VmHWM:"), Some(64));
        assert_eq!(number(text, "VmRSS:"), None);
    }
}
