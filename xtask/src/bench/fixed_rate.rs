//! Traffic at a fixed rate: CPU, latency and memory.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use super::{
    latency::Latency,
    load::{Load, Loaded, Pace, Protocol, Route},
    programs::{self, ByProgram, Measuring},
    stage::{Stage, Watched},
    tally::Totals,
    usage,
};
use crate::progress::Task;

/// How long an agent without traffic is looked at.
const REST: Duration = Duration::from_secs(10);
/// Seconds of the load that nobody measures: connections, caches, the first verdicts.
const WARM_UP: u64 = 3;
/// The least of the rate that must be reached.
const REACHED: f64 = 0.97;

/// What is sent, and what has to come of it.
#[derive(Clone, Copy)]
pub(super) struct Traffic {
    /// What goes where: behind "5,000 requests a second".
    what: &'static str,
    pub(super) rate: u32,
    pub(super) route: Route,
    /// Units that a request makes on each side of the books, all to be `matched`; none: nothing
    /// may be lost and nobody accused.
    matched: Option<u32>,
}

impl Traffic {
    /// The same at another rate.
    pub(super) const fn at(self, rate: u32) -> Self {
        Self { rate, ..self }
    }

    pub(super) fn title(&self) -> String {
        let (thousands, rest) = (self.rate / 1_000, self.rate % 1_000);
        match thousands {
            0 => format!("{rest} requests a second {}", self.what),
            _ => format!("{thousands},{rest:03} requests a second {}", self.what),
        }
    }
}

/// Through both sidecars: two exchanges, two lines, two records.
pub(super) const MESH: Traffic = Traffic {
    what: "through both sidecars",
    rate: 5_000,
    route: Route {
        from: "a",
        to: "b",
        connections: 50,
        protocol: Protocol::Http1,
    },
    matched: Some(2),
};

/// The same over HTTP/2, many streams on few connections.
pub(super) const HTTP2: Traffic = Traffic {
    what: "of HTTP/2 through both sidecars",
    rate: 5_000,
    route: Route {
        from: "a",
        to: "b",
        connections: 10,
        protocol: Protocol::Http2(10),
    },
    matched: Some(2),
};

/// Between pods without sidecars: the programs are attached to all pods, but there is nothing to
/// reconcile here. What the agent costs those whom it does not concern.
pub(super) const DIRECT: Traffic = Traffic {
    what: "between pods without sidecars",
    rate: 20_000,
    route: Route {
        from: "c",
        to: "d",
        connections: 50,
        protocol: Protocol::Http1,
    },
    matched: None,
};

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct FixedRate {
    pub(super) title: String,
    pub(super) rate: u32,
    pub(super) requests: u64,
    /// Exchanges that a request makes, each with a line and a record.
    pub(super) exchanges_per_request: u32,
    /// Why no figure counts; empty if all do.
    pub(super) void: Vec<String>,
    /// CPU time of the agent's threads, from the first request until all verdicts were delivered.
    pub(super) agent_cpu_seconds: f64,
    /// CPU time of the two pods meanwhile; that of the programs is in it.
    pub(super) pods_cpu_seconds: f64,
    pub(super) programs: ByProgram,
    /// Share of a core that the agent needs without traffic.
    pub(super) cpu_at_rest: f64,
    pub(super) resident_bytes_at_rest: u64,
    pub(super) peak_bytes: u64,
    pub(super) latency_without: Latency,
    pub(super) latency_with: Latency,
}

impl FixedRate {
    /// Of the agent, per request, microseconds.
    pub(super) fn agent_microseconds(&self) -> f64 {
        self.agent_cpu_seconds * 1e6 / requests(self.requests)
    }

    /// Of the programs, per request, microseconds.
    pub(super) fn programs_microseconds(&self) -> f64 {
        self.programs_nanoseconds() / 1e3 / requests(self.requests)
    }

    /// Of all CPU that pods and agent used: what the agent and its programs did.
    pub(super) fn share(&self) -> f64 {
        let programs = self.programs_nanoseconds() / 1e9;
        (self.agent_cpu_seconds + programs) / (self.agent_cpu_seconds + self.pods_cpu_seconds)
    }

    /// Of the agent and its programs, for each exchange that a request makes.
    pub(super) fn microseconds_per_exchange(&self) -> f64 {
        let all = self.agent_microseconds() + self.programs_microseconds();
        all / f64::from(self.exchanges_per_request)
    }

    #[expect(clippy::cast_precision_loss, reason = "a duration")]
    fn programs_nanoseconds(&self) -> f64 {
        let all = self.programs.values().map(|program| program.nanoseconds);
        all.sum::<u64>() as f64
    }
}

#[expect(clippy::cast_precision_loss, reason = "a divisor")]
fn requests(count: u64) -> f64 {
    count.max(1) as f64
}

/// Measures first without an agent, then with one.
pub(super) fn measure(stage: &Stage, traffic: &Traffic, seconds: u64) -> Result<FixedRate> {
    let load = |seconds| Load::start(&stage.lab, traffic.route, Pace::Rate(traffic.rate), seconds);
    let without = Task::run("without an agent", |_| {
        load(WARM_UP)?.finish()?;
        load(seconds)?.finish()
    })?;
    let mut watched = Task::run("start of the agent", |_| stage.start_agent())?;
    let agent = watched.agent.id();
    let (cpu_at_rest, resident_bytes_at_rest) = Task::run("the agent at rest", |_| at_rest(agent))?;
    Task::run("warming up", |_| {
        load(WARM_UP)?.finish()?;
        watched.settle()
    })?;

    let pods = stage.cgroups([traffic.route.from, traffic.route.to]);
    let measuring = Measuring::begin()?;
    let before = Used::until_now(&watched, &pods)?;
    let with = Task::run("with the agent", |_| load(seconds)?.finish())?;
    Task::run("verdicts, and books without anything pending", |_| {
        watched.settle()
    })?;
    let after = Used::until_now(&watched, &pods)?;
    drop(measuring);
    let peak_bytes = usage::peak_bytes(agent)?;
    watched.stop()?;
    Ok(FixedRate {
        title: traffic.title(),
        rate: traffic.rate,
        requests: with.requests,
        exchanges_per_request: traffic.matched.unwrap_or(1),
        void: objections(
            traffic,
            &[without, with],
            &after.totals.since(&before.totals),
        ),
        agent_cpu_seconds: (after.agent - before.agent).as_secs_f64(),
        pods_cpu_seconds: (after.pods - before.pods).as_secs_f64(),
        programs: programs::since(after.programs, &before.programs),
        cpu_at_rest,
        resident_bytes_at_rest,
        peak_bytes,
        latency_without: without.latency,
        latency_with: with.latency,
    })
}

/// The share of a core that an agent needs when nothing happens, and its memory.
fn at_rest(agent: u32) -> Result<(f64, u64)> {
    let before = usage::process_cpu(agent)?;
    let began = Instant::now();
    thread::sleep(REST);
    let used = usage::process_cpu(agent)? - before;
    let share = used.as_secs_f64() / began.elapsed().as_secs_f64();
    Ok((share, usage::resident_bytes(agent)?))
}

/// What was used and delivered up to a moment.
struct Used {
    agent: Duration,
    pods: Duration,
    programs: ByProgram,
    totals: Totals,
}

impl Used {
    fn until_now(watched: &Watched, pods: &[&std::path::Path]) -> Result<Self> {
        let agent = watched.agent.id();
        Ok(Self {
            agent: usage::process_cpu(agent)?,
            pods: usage::cgroups_cpu(pods)?,
            programs: programs::of_process(agent)?,
            totals: watched.tally.totals.clone(),
        })
    }
}

/// Why the figures do not count.
fn objections(traffic: &Traffic, loads: &[Loaded], totals: &Totals) -> Vec<String> {
    let mut objections = totals.objections(traffic.matched.is_some());
    for load in loads {
        if load.failed > 0 {
            objections.push(format!("{} requests failed", load.failed));
        }
        if load.rate < f64::from(traffic.rate) * REACHED {
            objections.push(format!(
                "{:.0} requests a second instead of {}",
                load.rate, traffic.rate
            ));
        }
    }
    if let (Some(a_request), Some(load)) = (traffic.matched, loads.last()) {
        let matched = totals.verdicts.get("matched").copied().unwrap_or_default();
        let requests = i64::try_from(load.requests).unwrap_or(i64::MAX);
        let expected = i64::from(a_request) * requests;
        if matched.observed < expected || matched.logged < expected {
            objections.push(format!(
                "{} exchanges and {} lines were matched, expected {expected} each",
                matched.observed, matched.logged
            ));
        }
    }
    objections
}
