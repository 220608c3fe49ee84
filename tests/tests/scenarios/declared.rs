//! What a policy declares as expected.

use anyhow::{Result, ensure};
use lab::{Session, agent::Config, pod::PodSpec};
use serde_json::json;

use crate::{
    stage::{Chapter, Judge, Scenario, judge},
    traffic::{get, matched, matched_at_both},
};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Logs that are filtered by declaration",
    scenarios: &[Scenario {
        name: "log_filter_declared",
        happens: "the client's sidecar logs errors only; a policy expects so of answers to GET",
        recorded: "client: what the policy covers is `outside` 1/0, `policy`; a POST is `unlogged`",
        finds: &[("quiet", "MW-004")],
        pods: || {
            let filter = json!({ "status_code_filter": { "comparison": {
                "op": "GE", "value": { "default_value": 400, "runtime_key": "none" },
            } } });
            vec![PodSpec::new("quiet").filtering(filter), PodSpec::new("b")]
        },
        play: log_filter_declared,
    }],
};

pub(crate) fn config(config: Config) -> Config {
    let rule = json!({
        "expect": "unlogged",
        "direction": "outbound",
        "workload": "shop/quiet",
        "method": "GET",
        "status": "2xx",
        "reason": "only errors are logged here",
    });
    config.setting("/mesh", json!({ "policy": [rule] }))
}

fn log_filter_declared(session: &mut Session) -> Result<Judge> {
    ensure!(get(session, "quiet", "b", "/missing/logged", &[])? == 404);
    ensure!(get(session, "quiet", "b", "/covered", &[])? == 200);
    ensure!(get(session, "quiet", "b", "/posted", &["--data", "x"])? == 200);
    judge(|evidence| {
        matched_at_both(evidence, "quiet", "b", "/missing/logged")?;
        let covered = evidence.http("quiet", "client", "/covered");
        covered
            .are("outside")?
            .with_reason("policy")?
            .of_units(1, 0)?;
        let posted = evidence.http("quiet", "client", "/posted");
        posted.are("unlogged")?.of_units(1, 0)?;
        for path in ["/covered", "/posted"] {
            matched(evidence, "b", "server", path)?;
        }
        Ok(())
    })
}
