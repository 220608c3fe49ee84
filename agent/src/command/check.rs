//! `check`: the preflight.

use std::{io::Write, path::Path, thread};

use anyhow::anyhow;

use super::{CommandError, agent::sinks, config_or_default, usage};
use crate::{
    capture,
    check::{self, Probes},
    config::Config,
    forward::{self, SinkSettings},
    witness::{cgroup_mount, cgroups, now},
};

/// Says whether `run` would work here.
///
/// # Errors
/// If it would not.
pub fn check(config_file: Option<&Path>, json: bool) -> Result<(), CommandError> {
    let config = config_or_default(config_file)?;
    if let Some(config_file) = config_file {
        config.require_sinks(config_file).map_err(usage)?;
    }
    let sinks = sinks(&config);
    forward::check(&sinks).map_err(usage)?;
    let probes = Probes {
        kernel: try_capture(&config),
        collectors: try_collectors(sinks)?,
    };
    let report = check::check(&config, &probes, now());
    let mut out = anstream::stdout();
    let text = if json {
        report.to_json()
    } else {
        report.to_text()
    };
    writeln!(out, "{}", text.trim_end())?;
    match report.exit_code() {
        0 => Ok(()),
        _ => Err(CommandError::Failed(anyhow!(
            "the agent would not work here; see above"
        ))),
    }
}

fn try_capture(config: &Config) -> capture::Probe {
    // Without a mount there is a line of its own that says so.
    match cgroup_mount(&config.capture) {
        Ok(mount) => capture::probe(&mount, &cgroups(&mount, &config.capture)),
        Err(_) => capture::probe(Path::new("/"), &[]),
    }
}

/// Shakes hands with all collectors at once, as `run` does: without any capability.
fn try_collectors(sinks: Vec<SinkSettings>) -> Result<Vec<(String, forward::Probe)>, CommandError> {
    // Capabilities belong to threads; what is looked at later still needs them.
    let unprivileged = thread::Builder::new().name("handshakes".into());
    let handshakes = unprivileged.spawn(|| -> anyhow::Result<_> {
        capture::drop_privileges()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let probes = runtime.block_on(shake_hands(sinks));
        // A resolver or a volume that hangs keeps its thread.
        runtime.shutdown_background();
        Ok(probes?)
    })?;
    match handshakes.join() {
        Ok(probes) => Ok(probes?),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn shake_hands(
    sinks: Vec<SinkSettings>,
) -> Result<Vec<(String, forward::Probe)>, tokio::task::JoinError> {
    let tasks: Vec<_> = sinks
        .into_iter()
        .map(|sink| tokio::spawn(async move { (forward::probe(&sink).await, sink.endpoint) }))
        .collect();
    let mut probes = Vec::new();
    for task in tasks {
        let (probe, endpoint) = task.await?;
        probes.push((endpoint, probe));
    }
    Ok(probes)
}
