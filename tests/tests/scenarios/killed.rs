//! A sidecar that is killed with lines in its buffer.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lab::{Session, agent::Config, pod::PodSpec};
use serde_json::json;

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{Way, matched, matched_at_both, wait_for_line},
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
    ensure!(Way::HTTP1[0].get(session, client, server, "/written", &[])? == 200);
    // It has just flushed.
    wait_for_line(session, victim, "/written ")?;
    let asking = &*session;
    Way::all_at_once(|way| {
        let path = way.path("/buffered");
        ensure!(way.get(asking, client, server, &path, &[])? == 200);
        Ok(())
    })?;
    let envoy = session.lab.pod_mut(victim).envoy();
    envoy.context("the pod has a sidecar")?.kill();
    judge(move |evidence| {
        ensure!(
            evidence.lines(victim, "/buffered")?.is_empty(),
            "lines were written before the sidecar was killed"
        );
        matched_at_both(evidence, client, server, "/written")?;
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
