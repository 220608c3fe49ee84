//! Of a stored record what rules are made of.

use std::net::IpAddr;

use serde::Deserialize;

use crate::{
    record::{Units, Verdict, WorkloadPattern},
    timestamp::Timestamp,
};

/// A record, read back. What else it says is passed over.
#[derive(Clone, Debug, Deserialize)]
pub struct StoredRecord {
    pub(super) id: String,
    #[serde(deserialize_with = "time")]
    pub(super) time: Timestamp,
    pub(super) kind: String,
    #[serde(default)]
    pub(super) verdict: Option<Verdict>,
    #[serde(default)]
    pub(super) reasons: Vec<String>,
    #[serde(default)]
    pub(super) units: Units,
    #[serde(default)]
    pub(super) side: Option<String>,
    #[serde(default)]
    pub(super) workload: StoredWorkload,
    #[serde(default)]
    pub(super) attributes: StoredAttributes,
    #[serde(default)]
    pub(super) revises: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct StoredWorkload {
    #[serde(rename = "k8s.namespace.name")]
    pub(super) namespace: Option<String>,
    #[serde(rename = "k8s.pod.name")]
    pub(super) pod: Option<String>,
    #[serde(rename = "process.command")]
    pub(super) command: Option<String>,
    #[serde(rename = "user.id")]
    pub(super) user: Option<u32>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct StoredAttributes {
    #[serde(rename = "client.address")]
    pub(super) client_address: Option<IpAddr>,
    #[serde(rename = "server.address")]
    pub(super) server_address: Option<IpAddr>,
    #[serde(rename = "server.port")]
    pub(super) server_port: Option<u16>,
    #[serde(rename = "http.request.method")]
    pub(super) method: Option<String>,
    #[serde(rename = "url.path")]
    pub(super) path: Option<String>,
    #[serde(rename = "http.response.status_code")]
    pub(super) status: Option<u16>,
}

/// Letters and digits and little else: what may stand in a comment as it is.
pub(super) fn is_plain(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_letter)
}

/// The pod and those that its controller makes beside it: of a name what is chance becomes `*`.
/// None if the names are none that Kubernetes gives.
pub(super) fn workload_pattern(namespace: &str, pod: &str) -> Option<String> {
    // What Kubernetes draws names from.
    const CHANCE: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let is_chance = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|byte| CHANCE.contains(&byte))
    };
    let name = match pod.rsplit_once('-') {
        Some((rest, last)) if is_chance(last, 5..=5) => match rest.rsplit_once('-') {
            // Of a Deployment: the hash of its template stands before.
            Some((rest, hash)) if is_chance(hash, 8..=10) => format!("{rest}-*"),
            _ => format!("{rest}-*"),
        },
        _ => pod.to_owned(),
    };
    let pattern = format!("{namespace}/{name}");
    pattern.parse::<WorkloadPattern>().ok().map(|_| pattern)
}

fn time<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    let moment: jiff::Timestamp = text.parse().map_err(serde::de::Error::custom)?;
    let nanoseconds = u64::try_from(moment.as_nanosecond()).map_err(serde::de::Error::custom)?;
    Ok(Timestamp(nanoseconds))
}
