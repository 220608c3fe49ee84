//! What the ledger must be told once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{config::PolicyRule, record::Include};

/// What a reload of the configuration changes while the ledger runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reconfiguration {
    /// See [`Settings::flush`].
    pub flush: Duration,
    /// See [`Settings::interval`].
    pub interval: Duration,
    /// See [`Settings::policy`].
    pub policy: Vec<PolicyRule>,
    /// See [`Settings::sinks`]. One that is new gets the records from the `config` record on.
    pub sinks: Vec<(String, Include)>,
    /// Keys of the configuration that changed and are in force.
    pub changed: Vec<String>,
    /// Keys that changed and are in force from the next start on.
    pub at_next_start: Vec<String>,
}

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
    /// Ports of the proxies' administration.
    pub mesh_admin: Vec<u16>,
    /// The longest that a healthy proxy holds a line back.
    pub flush: Duration,
    /// How often the books are closed.
    pub interval: Duration,
    /// The state directory knows an earlier run of the agent.
    pub earlier_run: bool,
    /// Findings alarm nobody (`mode: observe`).
    #[serde(default)]
    pub observe: bool,
    /// What is expected to have no line, or to go past the sidecar.
    pub policy: Vec<PolicyRule>,
    /// The sinks and what each takes.
    pub sinks: Vec<(String, Include)>,
}
