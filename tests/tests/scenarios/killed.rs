//! A sidecar that is killed with lines in its buffer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Session, agent::Config, pod::PodSpec};
use serde_json::json;

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{get, matched, matched_at_both, wait_for_line},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "A sidecar that is killed",
    scenarios: &[Scenario {
        name: "killed_at_server",
        happens: "the server's Envoy is killed before it has written its last line",
        recorded: "server: `unlogged` 1/0, `proxy_killed`; client: `matched` 1/1",
        finds: &[("victimserver", "MW-004")],
        pods: || {
            vec![
                PodSpec::new("b"),
                PodSpec::new("victimserver").flushing_after(FLUSH),
            ]
        },
        play: |session| killed(session, "b", "victimserver", "victimserver"),
    }],
};

/// How long the victims hold their lines back.
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
    ensure!(get(session, client, server, "/before-kill", &[])? == 200);
    // It was flushed just now, so the next line has time until it is.
    wait_for_line(session, victim, "/before-kill ")?;
    ensure!(get(session, client, server, "/at-kill", &[])? == 200);
    let envoy = session.lab.pod_mut(victim).envoy();
    envoy.context("expected an Envoy")?.kill();
    judge(move |evidence| {
        ensure!(
            evidence.lines(victim, "/at-kill ")?.is_empty(),
            "the line was written"
        );
        matched_at_both(evidence, client, server, "/before-kill")?;
        for (pod, side) in [(client, "client"), (server, "server")] {
            if pod == victim {
                let found = evidence.http(pod, side, "/at-kill");
                found
                    .are("unlogged")?
                    .with_reason("proxy_killed")?
                    .of_units(1, 0)?;
            } else {
                matched(evidence, pod, side, "/at-kill")?;
            }
        }
        Ok(())
    })
}
