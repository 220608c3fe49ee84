//! What the ledger must be told once.

use std::{net::IpAddr, time::Duration};

use serde::{Deserialize, Serialize};

use crate::record::{Include, Side};

/// The ledger's settings. A recording carries them, so that a replay judges alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Unique per start of the agent.
    pub start_id: String,
    /// The node's name in records.
    pub node: String,
    /// The agent's version in the start record.
    pub version: String,
    /// Names of proxy containers.
    pub proxy_containers: Vec<String>,
    /// Ports that make a process the proxy.
    pub mesh_listeners: Vec<u16>,
    /// The longest that a healthy proxy holds a line back.
    pub flush: Duration,
    /// How often the books are closed.
    pub interval: Duration,
    /// The state directory knows an earlier run of the agent.
    pub earlier_run: bool,
    /// What is expected to have no line, or to go past the sidecar.
    pub policy: Vec<PolicyRule>,
    /// The sinks and what each takes.
    pub sinks: Vec<(String, Include)>,
}

/// One rule of `mesh.policy`: what it names is expected. An absent field fits anything.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PolicyRule {
    /// What is expected.
    pub expect: Expectation,
    /// The side of the workload.
    pub side: Option<Side>,
    /// The port at the server end.
    pub port: Option<u16>,
    /// The remote address, as network and prefix length.
    pub network: Option<(IpAddr, u8)>,
    /// `namespace/pod`; a `*` at the end stands for the rest.
    pub workload: Option<String>,
    /// The request's method.
    pub method: Option<String>,
    /// The request's path; a `*` at the end stands for the rest.
    pub path: Option<String>,
    /// The response's status.
    pub status: Option<u16>,
}

/// What a policy rule expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expectation {
    /// Traffic past the sidecar.
    Direct,
    /// Exchanges without a line.
    Unlogged,
    /// Whatever the verdict would be.
    Outside,
}
