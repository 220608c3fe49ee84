//! A sidecar that is killed with lines in its buffer.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lab::{Session, agent::Config, pod::PodSpec};
use serde_json::json;

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{PATIENCE, Way, matched, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "A sidecar that is killed",
    scenarios: &[
        Scenario {
            name: "proxy_killed",
            happens: "the client's sidecar is killed with lines in its buffer",
            recorded: "client: what was written is `matched` 1/1, the rest `unlogged` (`proxy_killed`) 1/0; server: `matched` 1/1",
            finds: &[("victimclient", "MW-004")],
            pods: || {
                vec![
                    PodSpec::new("victimclient").flushing_after(FLUSH),
                    PodSpec::new("b"),
                ]
            },
            play: |session| killed(session, "victimclient", "b", "victimclient"),
        },
        Scenario {
            name: "killed_at_server",
            happens: "the server's sidecar is killed with lines in its buffer",
            recorded: "server: what was written is `matched` 1/1, the rest `unlogged` (`proxy_killed`) 1/0; client: `matched` 1/1",
            finds: &[("victimserver", "MW-004")],
            pods: || {
                vec![
                    PodSpec::new("b"),
                    PodSpec::new("victimserver").flushing_after(FLUSH),
                ]
            },
            play: |session| killed(session, "b", "victimserver", "victimserver"),
        },
    ],
};

/// How long the victims hold their lines back: less than the agent is told, and time enough to ask
/// and to kill between two flushes.
const FLUSH: Duration = Duration::from_secs(4);

pub(crate) fn config(config: Config) -> Config {
    config.setting("/logs/flush", json!("5s"))
}

fn killed(
    session: &mut Session,
    client: &'static str,
    server: &'static str,
    victim: &'static str,
) -> Result<Judge> {
    get_all_ways(session, client, server, "/written")?;
    for path in Way::paths("/written") {
        wait_for_line(session, victim, &format!("{path} "))?;
    }
    wait_until_writer_sleeps(session.lab.pod_mut(victim).envoy()?.id())?;
    get_all_ways(session, client, server, "/buffered")?;
    session.lab.pod_mut(victim).envoy()?.kill();
    judge(move |evidence| {
        ensure!(
            evidence.lines(victim, "/buffered")?.is_empty(),
            "lines were written before the sidecar was killed"
        );
        for path in Way::paths("/written") {
            matched_at_both(evidence, client, server, &path)?;
        }
        for path in Way::paths("/buffered") {
            for (pod, side) in [(client, "client"), (server, "server")] {
                if pod == victim {
                    let found = evidence.http(pod, side, &path);
                    found
                        .are("unlogged")?
                        .with_reason("proxy_killed")?
                        .of_units(1, 0)?;
                } else {
                    matched(evidence, pod, side, &path)?;
                }
            }
        }
        Ok(())
    })
}

fn get_all_ways(session: &Session, client: &str, server: &str, base: &str) -> Result<()> {
    Way::all_at_once(|way| {
        let status = way.get(session, client, server, &way.path(base), &[])?;
        ensure!(status == 200, "expected status 200, got {status}");
        Ok(())
    })
}

/// Waits until Envoy's thread that writes the log sleeps, which it does until the next flush: what
/// comes while it is awake is written at once.
fn wait_until_writer_sleeps(envoy: u32) -> Result<()> {
    let begin = Instant::now();
    while state_of_writer(envoy)? != 'S' {
        ensure!(begin.elapsed() < PATIENCE, "the log's writer never sleeps");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// The state of that thread, of proc_pid_stat(5).
fn state_of_writer(envoy: u32) -> Result<char> {
    for task in fs::read_dir(format!("/proc/{envoy}/task"))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        if let Some((_, rest)) = stat.split_once("(AccessLogFlush) ") {
            return rest.chars().next().context("expected a state");
        }
    }
    bail!("Envoy has no thread that writes its log")
}
