//! `mesh`: what makes a process the proxy, and what is expected to differ.

use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::text;
use crate::record::{Cidr, Pattern, StatusPattern, WorkloadPattern};

/// What makes a process the proxy, and what is expected to differ.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mesh {
    /// The ports whose listener is the proxy.
    #[serde(deserialize_with = "text::ports")]
    pub listeners: Vec<u16>,
    /// The ports of the proxy's administration.
    #[serde(deserialize_with = "text::ports")]
    pub admin: Vec<u16>,
    /// What is expected; the first rule that fits holds.
    #[serde(deserialize_with = "policy")]
    pub policy: Vec<PolicyRule>,
}

impl Default for Mesh {
    fn default() -> Self {
        Self {
            // Istio's virtualOutbound and virtualInbound.
            listeners: vec![15001, 15006],
            admin: vec![15000],
            policy: Vec::new(),
        }
    }
}

/// Something that is expected. Conditions that are left out fit everything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// What is expected.
    pub expect: Expectation,
    /// As the pod sees it.
    #[serde(default)]
    pub direction: Option<Direction>,
    /// The port of the server.
    #[serde(default, deserialize_with = "text::optional_port")]
    pub port: Option<u16>,
    /// The address of the other end.
    #[serde(default, deserialize_with = "text::optional")]
    pub cidr: Option<Cidr>,
    /// The pod, as `namespace/name`.
    #[serde(default, deserialize_with = "text::optional")]
    pub workload: Option<WorkloadPattern>,
    /// The request's method, which is case-sensitive.
    #[serde(default, deserialize_with = "method")]
    pub method: Option<String>,
    /// The request's path, without its query.
    #[serde(default, deserialize_with = "text::optional")]
    pub path: Option<Pattern>,
    /// The response's status.
    #[serde(default, deserialize_with = "text::optional")]
    pub status: Option<StatusPattern>,
    /// Why it is expected, for the record.
    #[serde(default, deserialize_with = "reason")]
    pub reason: Option<String>,
}

/// What a policy rule expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expectation {
    /// The traffic does not pass the sidecar.
    Direct,
    /// The sidecar writes no line.
    Unlogged,
    /// Neither is to be judged.
    Outside,
}

/// Which way a connection was opened, as the pod sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the pod.
    Inbound,
    /// By the pod.
    Outbound,
}

/// Each rule is tried on units that would be accused, so their number is bounded.
fn policy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PolicyRule>, D::Error> {
    let rules = Vec::<PolicyRule>::deserialize(deserializer)?;
    match rules.len() {
        0..=1000 => Ok(rules),
        _ => Err(D::Error::custom("expected at most 1000 rules")),
    }
}

fn method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let method = Option::<String>::deserialize(deserializer)?;
    match &method {
        Some(method) if !text::is_token(method) => {
            Err(D::Error::custom("expected a method, such as `GET`"))
        }
        _ => Ok(method),
    }
}

fn reason<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let reason = Option::<String>::deserialize(deserializer)?;
    match &reason {
        Some(reason) if reason.len() > 256 || reason.contains(char::is_control) => {
            Err(D::Error::custom("expected one line of at most 256 bytes"))
        }
        _ => Ok(reason),
    }
}
