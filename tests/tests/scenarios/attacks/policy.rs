//! Traffic past the sidecar that was declared.

use anyhow::{Result, ensure};
use lab::{
    Session,
    agent::Config,
    pod::{APP, PodSpec},
    process::User,
};
use serde_json::json;

use crate::stage::{Chapter, Judge, Scenario, judge};

/// What is declared.
pub(crate) fn config(config: Config) -> Config {
    let rule = json!({
        "expect": "direct", "direction": "outbound", "port": 9001,
        "workload": "shop/declared", "reason": "the old registry",
    });
    config.setting("/mesh", json!({ "policy": [rule] }))
}

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Traffic past its sidecar that was declared",
    scenarios: &[Scenario {
        name: "declared_bypass",
        happens: "a connection past the sidecar that `expect: direct` covers, and one that it does not",
        recorded: "client: `outside` (`policy`) 1/0; the other `bypassed` 1/0",
        finds: &[("declared", "MW-103"), ("declared", "MW-106")],
        pods: || vec![PodSpec::new("declared").excluding_outbound(9001)],
        play: declared,
    }],
};

fn declared(session: &mut Session) -> Result<Judge> {
    let outside = session.lab.outside().addresses().v4;
    for (user, port) in [(User::APP, 9001), (User::PROXY, 80)] {
        let url = format!("http://{outside}:{port}/taken");
        let words = ["curl", "-sS", "--fail", &url];
        let output = session.lab.pod("declared").run(APP, user, words)?;
        ensure!(output.status.success(), "{output:?}");
    }
    judge(|evidence| {
        let to = |port| {
            evidence.of(
                "declared",
                &format!("connections to port {port}"),
                |record| record.server().is_some_and(|(_, found)| found == port),
            )
        };
        to(9001)
            .are("outside")?
            .with_reason("policy")?
            .of_units(1, 0)?;
        for record in to(9001).records {
            let reason = record.text("/attributes/meshwitness.policy.reason");
            ensure!(reason == "the old registry", "{}", record.line());
        }
        to(80).are("bypassed")?.of_units(1, 0)?;
        Ok(())
    })
}
