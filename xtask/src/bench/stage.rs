//! Where it is measured: two pods with sidecars, two without, a collector.

use std::{
    cell::Cell,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use jiff::Timestamp;
use lab::{
    Lab,
    agent::{Agent, Config},
    collector::Collector,
    envoy::Sidecar,
    pod::{APP, Kind, PROXY, Pod, PodSpec},
};
use serde_json::{Value, json};

use super::tally::Tally;

/// How long the books may take to be without anything pending.
const SETTLED: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(200);

/// All that stays while agents come and go. Dropped, or at Ctrl-C, it is gone.
pub(super) struct Stage {
    // Fields are dropped in this order.
    collector: Collector,
    pub(super) lab: Lab,
    /// How many agents there were.
    agents: Cell<usize>,
}

impl Stage {
    /// Brings everything up but an agent.
    pub(super) fn set() -> Result<Self> {
        let lab = Lab::start([
            PodSpec::new("a").editing(close_idle_connections),
            PodSpec::new("b").editing(close_idle_connections),
            PodSpec::new("c").without_sidecar(),
            PodSpec::new("d").without_sidecar(),
        ])?;
        let collector = Collector::start(&lab, "bench")?;
        Ok(Self {
            collector,
            lab,
            agents: Cell::new(0),
        })
    }

    /// Starts an agent as it comes, but for its ledger's interval: the books are closed every two
    /// seconds, so that nobody has to wait for them.
    pub(super) fn start_agent(&self) -> Result<Watched> {
        self.start(&["run"])
    }

    /// The same, but recording.
    pub(super) fn start_recorder(&self, file: &Path) -> Result<Watched> {
        self.start(&["record", &file.to_string_lossy()])
    }

    /// The cgroups of what runs in two pods.
    pub(super) fn cgroups(&self, pods: [&str; 2]) -> Vec<&Path> {
        let containers = pods.into_iter().flat_map(|name| {
            let pod = self.lab.pod(name);
            containers(pod).iter().map(|name| pod.container(name))
        });
        containers
            .map(|container| container.cgroup.path())
            .collect()
    }

    /// Drops the lab's copies of all log lines: a long run has more than fit in memory.
    pub(super) fn forget_lines(&self) {
        for pod in self.lab.pods() {
            for container in containers(pod) {
                pod.container(container).log.forget_lines();
            }
        }
    }

    fn start(&self, words: &[&str]) -> Result<Watched> {
        // Each has a state of its own: one that an earlier agent left would have it read all that
        // was logged in between.
        self.agents.set(self.agents.get() + 1);
        let name = format!("agent-{}", self.agents.get());
        let config = Config::delivering_to(&self.lab, &name, &self.collector.endpoint())?
            .setting("/logs/flush", json!("10s"));
        // What an earlier agent delivered is not this one's.
        let tally = Tally::after_what_is_in(self.collector.directory())?;
        Ok(Watched {
            agent: Agent::start_command(&self.lab, words, &config)?,
            tally,
        })
    }
}

/// Of a connection of HTTP/2 that is older than an agent not all can be decoded: each agent is to
/// meet new ones.
fn close_idle_connections(envoy: &mut Value, _: &Sidecar<'_>) {
    let clusters = envoy["static_resources"]["clusters"].as_array_mut();
    for cluster in clusters.into_iter().flatten() {
        cluster["typed_extension_protocol_options"]["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]
            ["common_http_protocol_options"] = json!({ "idle_timeout": "2s" });
    }
}

/// The containers of a pod, which its kind decides.
fn containers(pod: &Pod) -> &'static [&'static str] {
    match pod.spec().kind() {
        Kind::Meshed => &[APP, PROXY],
        Kind::Plain => &[APP],
        Kind::Gateway { .. } => &[PROXY],
    }
}

/// An agent, and what the collector has of it.
pub(super) struct Watched {
    pub(super) agent: Agent,
    pub(super) tally: Tally,
}

impl Watched {
    /// Waits until the books closed without anything pending, in an interval that began after now.
    pub(super) fn settle(&mut self) -> Result<()> {
        let now = Timestamp::now();
        let deadline = Instant::now() + SETTLED;
        loop {
            self.tally.read_on()?;
            if self.tally.totals.are_settled_since(now) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "the books were not settled within {SETTLED:?}: {:?}\nthe agent said:\n{}",
                    self.tally.totals,
                    self.agent.stderr()?
                );
            }
            thread::sleep(POLL);
        }
    }

    /// Ends the agent.
    pub(super) fn stop(self) -> Result<()> {
        let ended = self.agent.stop()?;
        ensure!(
            ended.status.success(),
            "the agent ended with {}: {}",
            ended.status,
            ended.stderr
        );
        Ok(())
    }
}
