//! One record: what tests ask for is read once, the rest on demand.

use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::books::Units;

/// The verdicts that accuse somebody. Clean traffic never gets one.
pub const ACCUSING: [&str; 4] = ["unlogged", "unseen", "mismatched", "bypassed"];

/// One record. A clone shares what it holds.
#[derive(Clone, Debug)]
pub struct Record {
    line: Arc<str>,
    parts: Arc<Parts>,
}

#[derive(Debug, Deserialize)]
struct Parts {
    id: String,
    kind: String,
    verdict: Option<String>,
    side: Option<String>,
    #[serde(default)]
    reasons: Vec<String>,
    #[serde(default)]
    revises: Vec<String>,
    units: Option<Units>,
    workload: Option<Workload>,
    attributes: Option<Attributes>,
    #[serde(default)]
    differences: Vec<Difference>,
}

#[derive(Debug, Deserialize)]
struct Workload {
    #[serde(rename = "k8s.pod.name")]
    pod: Option<String>,
    #[serde(rename = "k8s.container.name")]
    container: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Attributes {
    #[serde(rename = "http.request.method")]
    method: Option<String>,
    #[serde(rename = "url.path")]
    path: Option<String>,
    #[serde(rename = "http.response.status_code")]
    status: Option<u64>,
    #[serde(rename = "server.address")]
    server: Option<String>,
    #[serde(rename = "server.port")]
    server_port: Option<u16>,
}

#[derive(Debug, Deserialize)]
struct Difference {
    field: String,
}

impl Record {
    pub(super) fn parse(line: &str) -> Result<Self> {
        Ok(Self {
            parts: Arc::new(serde_json::from_str(line)?),
            line: line.into(),
        })
    }

    /// The line as it was received.
    #[must_use]
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The whole record.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_str(&self.line).unwrap_or_default()
    }

    /// A text in it, by JSON pointer; empty where there is none.
    #[must_use]
    pub fn text(&self, pointer: &str) -> String {
        let value = self.value();
        let text = value.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.parts.id
    }

    /// `http`, `connection`, `finding`, `ledger` or `lifecycle`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.parts.kind
    }

    /// The verdict; empty where there is none.
    #[must_use]
    pub fn verdict(&self) -> &str {
        or_empty(self.parts.verdict.as_ref())
    }

    /// `client`, `server`, `proxy`, or empty.
    #[must_use]
    pub fn side(&self) -> &str {
        or_empty(self.parts.side.as_ref())
    }

    /// The pod whose books it belongs to.
    #[must_use]
    pub fn pod(&self) -> &str {
        let workload = self.parts.workload.as_ref();
        or_empty(workload.and_then(|workload| workload.pod.as_ref()))
    }

    /// The container of that pod.
    #[must_use]
    pub fn container(&self) -> &str {
        let workload = self.parts.workload.as_ref();
        or_empty(workload.and_then(|workload| workload.container.as_ref()))
    }

    /// The request's method.
    #[must_use]
    pub fn method(&self) -> &str {
        or_empty(self.attributes().and_then(|found| found.method.as_ref()))
    }

    /// The request's path.
    #[must_use]
    pub fn path(&self) -> &str {
        or_empty(self.attributes().and_then(|found| found.path.as_ref()))
    }

    /// The response's status, if there is one.
    #[must_use]
    pub fn status(&self) -> Option<u64> {
        self.attributes().and_then(|found| found.status)
    }

    /// The server's address and port.
    #[must_use]
    pub fn server(&self) -> Option<(&str, u16)> {
        let attributes = self.attributes()?;
        Some((attributes.server.as_deref()?, attributes.server_port?))
    }

    /// Why it got its verdict.
    #[must_use]
    pub fn reasons(&self) -> Vec<&str> {
        self.parts.reasons.iter().map(String::as_str).collect()
    }

    /// Whether this is one of its reasons.
    #[must_use]
    pub fn has_reason(&self, reason: &str) -> bool {
        self.parts.reasons.iter().any(|found| found == reason)
    }

    /// The ids of the records that it replaces.
    pub fn revises(&self) -> impl Iterator<Item = &str> {
        self.parts.revises.iter().map(String::as_str)
    }

    /// The fields in which kernel and line differ.
    #[must_use]
    pub fn differing_fields(&self) -> Vec<&str> {
        let differences = self.parts.differences.iter();
        differences.map(|found| found.field.as_str()).collect()
    }

    /// How many units it covers.
    #[must_use]
    pub fn units(&self) -> Units {
        self.parts.units.unwrap_or_default()
    }

    /// Whether its verdict accuses somebody.
    #[must_use]
    pub fn accuses(&self) -> bool {
        ACCUSING.contains(&self.verdict())
    }

    /// One line for people.
    #[must_use]
    pub fn brief(&self) -> String {
        format!(
            "{} {} {} {:?} {} {} {} {:?} {:?} to {:?} {:?} differs {:?}",
            self.id(),
            self.kind(),
            self.verdict(),
            self.reasons(),
            self.pod(),
            self.side(),
            self.method(),
            self.path(),
            self.status(),
            self.server(),
            self.units(),
            self.differing_fields(),
        )
    }

    /// The start id and the sequence number.
    pub(crate) fn number(&self) -> Result<(&str, u64)> {
        let (start, number) = self
            .id()
            .rsplit_once('-')
            .with_context(|| format!("expected <start>-<number>, got {:?}", self.id()))?;
        Ok((start, number.parse()?))
    }

    fn attributes(&self) -> Option<&Attributes> {
        self.parts.attributes.as_ref()
    }
}

fn or_empty(text: Option<&String>) -> &str {
    text.map(String::as_str).unwrap_or_default()
}
