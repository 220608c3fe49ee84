//! The machine that the figures come from: without it they mean nothing.

use std::{fs, process::Command, thread};

use anyhow::{Context, Result};
use lab::requirements;
use serde::Serialize;

/// What figures depend on.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) kernel: String,
    pub(super) envoy: String,
    /// Of the minute before: other than about 0 means that other work runs here.
    pub(super) load_average: f64,
}

impl Machine {
    /// Looks at this one.
    pub(super) fn look() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let memory = after(&memory, "MemTotal:").and_then(|text| text.strip_suffix("kB"));
        let load = fs::read_to_string("/proc/loadavg")?;
        let load = load.split(' ').next().unwrap_or_default();
        Ok(Self {
            processor: after(&processors, "model name\t:")
                .unwrap_or("unknown")
                .to_owned(),
            cores: thread::available_parallelism()?.get(),
            memory_bytes: memory
                .context("expected MemTotal in /proc/meminfo")?
                .trim()
                .parse::<u64>()?
                * 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            envoy: envoy()?,
            load_average: load.parse()?,
        })
    }
}

/// `<path>  version: <commit>/<release>/Clean/RELEASE/BoringSSL`
fn envoy() -> Result<String> {
    let output = Command::new(requirements::envoy()?)
        .arg("--version")
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text
        .split_once(" version: ")
        .and_then(|(_, version)| version.split('/').nth(1));
    Ok(version.unwrap_or("unknown").to_owned())
}

/// What stands behind the first line that begins with `name`.
fn after<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    value.map(str::trim)
}
