//! The agent's configuration as a whole, and its small sections.

use std::{fs, io, net::SocketAddr, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de::Error};

use super::{capture::Capture, forward::Sink, logs::Logs, mesh::Mesh, redact::Redact, text};

/// What `run`, `watch` and `check` are told. All sections have defaults.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The node that this agent watches.
    pub node: Node,
    /// Whether findings accuse.
    pub mode: Mode,
    /// What the kernel side watches.
    pub capture: Capture,
    /// Where the sidecars' access logs are.
    pub logs: Logs,
    /// What makes a process the proxy.
    pub mesh: Mesh,
    /// What never goes out.
    pub redact: Redact,
    /// What outlives a restart.
    pub state: State,
    /// How often the books are closed.
    pub ledger: Ledger,
    /// Where the records go. `run` needs at least one.
    #[serde(deserialize_with = "sinks")]
    pub forward: Vec<Sink>,
    /// Metrics and health.
    pub telemetry: Telemetry,
}

/// The node that this agent watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    /// Its name in the records; none: the host name.
    #[serde(deserialize_with = "node_name")]
    pub name: Option<String>,
}

impl Node {
    /// The configured name, else the host name.
    ///
    /// # Errors
    ///
    /// If no name is configured and the kernel does not tell the host name.
    pub fn name_or_host(&self) -> io::Result<String> {
        match &self.name {
            Some(name) => Ok(name.clone()),
            None => {
                let name = fs::read_to_string("/proc/sys/kernel/hostname")?;
                Ok(name.trim_end().to_owned())
            }
        }
    }
}

/// Whether findings accuse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// They do.
    #[default]
    Enforce,
    /// They carry the state `observed` and stay out of the findings metric.
    Observe,
}

/// What outlives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// The directory of positions and start ids.
    #[serde(deserialize_with = "text::path")]
    pub dir: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        Self {
            dir: "/var/lib/meshwitness".into(),
        }
    }
}

/// How often the books are closed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// The time between two ledger records.
    #[serde(deserialize_with = "interval")]
    pub interval: Duration,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            // A loss is known within a minute, and a year of books is half a million records.
            interval: Duration::from_secs(60),
        }
    }
}

/// Metrics and health.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where `/metrics`, `/healthz` and `/readyz` are served.
    #[serde(deserialize_with = "listen")]
    pub listen: SocketAddr,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self {
            // Only this host: what the metrics tell of a node is not for everybody.
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
        }
    }
}

/// An address to listen at.
pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(|_| D::Error::custom("expected ADDRESS:PORT, such as `127.0.0.1:9464`"))
}

fn node_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?.filter(|name| !name.is_empty());
    match &name {
        Some(name) if !text::is_host_name(name) => Err(D::Error::custom(
            "expected the name of a node, of letters, digits, `-` and `.`",
        )),
        _ => Ok(name),
    }
}

/// Below a second the books would be longer than the records; above an hour nobody would notice
/// in time that they do not add up.
fn interval<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let interval = text::duration(deserializer)?;
    match (1..=3600).contains(&interval.as_secs()) && interval <= Duration::from_secs(3600) {
        true => Ok(interval),
        false => Err(D::Error::custom("expected `1s` to `1h`")),
    }
}

/// Each sink costs its queue and window in memory.
fn sinks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Sink>, D::Error> {
    let sinks = Option::<Vec<Sink>>::deserialize(deserializer)?.unwrap_or_default();
    match sinks.len() {
        0..=16 => Ok(sinks),
        _ => Err(D::Error::custom("expected at most 16 sinks")),
    }
}
