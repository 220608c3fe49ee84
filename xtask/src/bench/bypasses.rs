//! How soon a bypass is known at the receiver.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use lab::{
    agent::{Agent, Config},
    pod::APP,
    process::User,
    receiver::Receiver,
};
use serde::Serialize;
use serde_json::Value;

use super::{
    latency::Latency,
    load::{Load, Pace, Protocol, Route},
    stage::Stage,
};

pub(super) const TITLE: &str = "200 bypasses under 1,000 requests a second";

const BYPASSES: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);
/// The load has begun after this.
const WARM_UP: Duration = Duration::from_secs(2);
/// Longer than the bypasses take.
const SECONDS: u64 = 30;
const PATIENCE: Duration = Duration::from_secs(30);
const ROUTE: Route = Route {
    from: "a",
    to: "b",
    connections: 20,
    protocol: Protocol::Http1,
};

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Bypasses {
    /// Bypassing connections.
    pub(super) count: usize,
    /// Requests that were answered meanwhile.
    pub(super) requests: u64,
    /// From a connection's time, which is that of its establishment and so before its first
    /// segment, to the arrival of its `open` record.
    pub(super) delay: Latency,
}

/// Measures it.
pub(super) fn measure(stage: &Stage) -> Result<Bypasses> {
    let receiver = Receiver::start(&stage.lab, "bypasses")?;
    let config = Config::delivering_to(&stage.lab, "bypasses", &receiver.endpoint())?;
    let agent = Agent::start(&stage.lab, &config)?;
    let load = Load::start(&stage.lab, ROUTE, Pace::Rate(1_000), SECONDS)?;
    thread::sleep(WARM_UP);
    let url = format!("http://{}/bypass", stage.lab.outside().addresses().v4);
    for _ in 0..BYPASSES {
        let words = ["curl", "-sS", "--fail", "-o", "/dev/null", &url];
        let output = stage.lab.pod("a").run(APP, User::PROXY, words)?;
        ensure!(output.status.success(), "{output:?}");
        thread::sleep(PAUSE);
    }
    let loaded = load.finish()?;
    let deadline = Instant::now() + PATIENCE;
    let delays = loop {
        let delays = delays(&receiver)?;
        if delays.len() >= BYPASSES || Instant::now() > deadline {
            break delays;
        }
        thread::sleep(PAUSE);
    };
    ensure!(
        delays.len() == BYPASSES,
        "{} of {BYPASSES} bypasses were told as open",
        delays.len()
    );
    let ended = agent.stop()?;
    ensure!(ended.status.success(), "the agent ended: {}", ended.stderr);
    Ok(Bypasses {
        count: delays.len(),
        requests: loaded.requests,
        delay: Latency::of(delays).context("no bypass was told")?,
    })
}

/// From each bypassing connection's time to the arrival of its `open` record, in microseconds.
fn delays(receiver: &Receiver) -> Result<Vec<u64>> {
    let mut delays = Vec::new();
    for (arrival, line) in receiver.arrivals()? {
        if !line.contains("\"bypassed\"") {
            continue;
        }
        let record: Value = serde_json::from_str(&line)?;
        let is_open = record.pointer("/connection/state") == Some(&Value::from("open"));
        if record["verdict"] == "bypassed" && is_open {
            let time = record["time"].as_str().context("a record has a time")?;
            let time = time.parse::<Timestamp>()?.as_microsecond();
            let delay = i64::try_from(arrival / 1_000)?.saturating_sub(time);
            delays.push(u64::try_from(delay).unwrap_or_default());
        }
    }
    Ok(delays)
}
