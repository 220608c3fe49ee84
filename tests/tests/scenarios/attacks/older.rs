//! A connection past the sidecar that is older than the agent.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use lab::{
    Session,
    agent::{Agent, Config},
    pod::PodSpec,
};

use crate::stage::{Chapter, Judge, Scenario, judge};

pub(crate) const CHAPTER: Chapter = Chapter {
    title: "Traffic that is older than the agent",
    scenarios: &[Scenario {
        name: "older_bypass",
        happens: "a connection past the sidecar is opened before the agent starts and used afterwards",
        recorded: "client: `bypassed` (`preexisting`) 1/0",
        finds: &[("early", "MW-101")],
        pods: || vec![PodSpec::new("early").excluding_outbound(9001)],
        play: older,
    }],
};

fn older(session: &mut Session) -> Result<Judge> {
    session.agent.kill();
    let lab = &session.lab;
    let address = format!("{}:9001", lab.outside().addresses().v4);
    let file = lab.directory().join("go-on");
    let words = ["linger", &address, "/old", &file.display().to_string()];
    let client = lab.pod("early").spawn_client(&words)?;
    let deadline = Instant::now() + Duration::from_secs(20);
    let served = || {
        lab.outside()
            .nginx_log()
            .map(|log| log.iter().any(|found| found.path() == "/old/before"))
    };
    while !served()? {
        ensure!(
            Instant::now() < deadline,
            "the first request was not served"
        );
        thread::sleep(Duration::from_millis(10));
    }
    let config = Config::delivering_to(lab, "later", &session.receiver.endpoint())?;
    session.agent = Agent::start(lab, &config)?;
    fs::write(&file, "")?;
    ensure!(client.responses()?.len() == 2);
    judge(|evidence| {
        evidence
            .of("early", "connections out", |record| {
                record.side() == "client"
            })
            .are("bypassed")?
            .with_reason("preexisting")?
            .of_units(1, 0)?;
        Ok(())
    })
}
