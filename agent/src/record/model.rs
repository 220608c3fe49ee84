//! The record: one JSON object a line.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attributes, Envelope, Finding, Kind, Reason, Verdict, escape};
use crate::timestamp::Timestamp;

/// One record, its fields in the order in which they are written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Record {
    /// Start id and sequence number, joined by `-`.
    pub id: Arc<str>,
    /// The sequence number alone.
    #[serde(skip)]
    pub sequence: u64,
    /// First byte of the request head, establishment, START_TIME, or emission: see the contract.
    #[serde(serialize_with = "as_text")]
    pub time: Timestamp,
    /// What it speaks of.
    pub kind: Kind,
    /// The judgement, where the kind has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Why, in words of the closed list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<Reason>>,
    /// How many units of each side it covers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<Units>,
    /// The node.
    pub node: Arc<str>,
    /// Everything that depends on the kind.
    #[serde(flatten)]
    pub body: Body,
}

impl Record {
    /// The record as it goes to sinks; `buffer` is where it is written first, to be used again.
    ///
    /// # Errors
    /// Only if a value cannot be written as JSON, which no value built here is.
    pub fn seal(&self, buffer: &mut Vec<u8>) -> Result<Envelope, serde_json::Error> {
        buffer.clear();
        escape::to_writer(buffer, self)?;
        buffer.push(b'\n');
        Ok(Envelope {
            id: Arc::clone(&self.id),
            sequence: self.sequence,
            kind: self.kind,
            verdict: self.verdict,
            gap: match &self.body {
                Body::Lifecycle {
                    lifecycle: Lifecycle::Gap(gap),
                } => Some(Arc::new(gap.clone())),
                _ => None,
            },
            line: buffer.as_slice().into(),
        })
    }
}

/// The part of a record that depends on its kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Body {
    /// `http` and `connection`.
    Traffic(Box<Traffic>),
    /// `finding`.
    Finding(Box<Finding>),
    /// `ledger`.
    Ledger(Box<LedgerBody>),
    /// `lifecycle`.
    Lifecycle {
        /// What happened.
        lifecycle: Lifecycle,
    },
}

/// How many units a record covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Units {
    /// Exchanges and connections that the kernel saw.
    pub observed: u64,
    /// Lines that the proxy wrote.
    pub logged: u64,
}

impl Units {
    /// `observed` and `logged`.
    #[must_use]
    pub fn new(observed: u64, logged: u64) -> Self {
        Self { observed, logged }
    }

    /// Both sides added up.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self::new(self.observed + other.observed, self.logged + other.logged)
    }
}

/// Which leg of the mesh a record speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The pod's app opened the connection.
    Client,
    /// The pod's app accepted it.
    Server,
    /// The sidecar's own network leg.
    Proxy,
}

/// What `http` and `connection` records say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Traffic {
    /// Which leg; null for a line that does not tell.
    pub side: Option<Side>,
    /// Whose books it belongs to.
    pub workload: Workload,
    /// OpenTelemetry attributes.
    pub attributes: Attributes,
    /// Seconds from `time` to the unit's end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<f64>,
    /// The TCP connection, for kind `connection`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionBody>,
    /// What the proxy wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envoy: Option<EnvoyBody>,
    /// In what the two halves differ.
    pub differences: Vec<Difference>,
    /// The records that this one replaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub revises: Vec<Arc<str>>,
}

/// The pod, container and process of a record; absent parts are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Workload {
    /// Namespace.
    #[serde(rename = "k8s.namespace.name", skip_serializing_if = "Option::is_none")]
    pub namespace: Option<Arc<str>>,
    /// Pod.
    #[serde(rename = "k8s.pod.name", skip_serializing_if = "Option::is_none")]
    pub pod: Option<Arc<str>>,
    /// Pod uid.
    #[serde(rename = "k8s.pod.uid", skip_serializing_if = "Option::is_none")]
    pub pod_uid: Option<Arc<str>>,
    /// Container.
    #[serde(rename = "k8s.container.name", skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<str>>,
    /// The runtime's id of the container.
    #[serde(rename = "container.id", skip_serializing_if = "Option::is_none")]
    pub container_id: Option<Arc<str>>,
    /// Thread group.
    #[serde(rename = "process.pid", skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name at the time.
    #[serde(rename = "process.command", skip_serializing_if = "Option::is_none")]
    pub command: Option<Arc<str>>,
    /// Its user.
    #[serde(rename = "user.id", skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
}

/// The counters of a TCP connection, in the view of the workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionBody {
    /// `open` or `closed`.
    pub state: ConnectionState,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u32,
}

impl ConnectionBody {
    /// Takes what the client and the server sent, as one of the two sees it.
    pub fn count(&mut self, (client, server): (u64, u64), is_client: bool) {
        (self.bytes_sent, self.bytes_received) = match is_client {
            true => (client, server),
            false => (server, client),
        };
    }
}

/// Whether a connection had ended when its record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// It goes on.
    Open,
    /// It ended.
    Closed,
}

/// Where the proxy's line stands and what in it has no OpenTelemetry name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EnvoyBody {
    /// The file, beneath the log root.
    #[serde(rename = "log.file")]
    pub file: Arc<str>,
    /// Where the line begins, in bytes.
    #[serde(rename = "log.offset")]
    pub offset: u64,
    /// The line's length in bytes, where its text cannot be shown.
    #[serde(rename = "log.length", skip_serializing_if = "Option::is_none")]
    pub length: Option<u64>,
    /// A keyed hash of the line, where its text cannot be shown.
    #[serde(rename = "log.hash", skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// `REQ(X-REQUEST-ID)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// `RESPONSE_FLAGS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_flags: Option<String>,
    /// `RESPONSE_CODE_DETAILS`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_code_details: Option<String>,
    /// `UPSTREAM_HOST`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_host: Option<String>,
    /// `UPSTREAM_CLUSTER`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream_cluster: Option<String>,
}

/// One field in which the kernel's and the proxy's account differ, redacted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The attribute's OpenTelemetry name.
    pub field: String,
    /// The kernel's value.
    pub kernel: Value,
    /// The line's value.
    pub log: Value,
}

/// The books of one interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LedgerBody {
    /// Begin of the interval.
    #[serde(serialize_with = "as_text")]
    pub from: Timestamp,
    /// End of the interval.
    #[serde(serialize_with = "as_text")]
    pub to: Timestamp,
    /// The node's account.
    #[serde(flatten)]
    pub account: AccountBody,
    /// First and last id of the interval, this record's own included.
    pub ids: (u64, u64),
    /// Records that each sink's `include` held back.
    pub filtered: BTreeMap<String, u64>,
    /// The account of each workload.
    pub workloads: Vec<WorkloadAccount>,
}

/// The account of one workload.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkloadAccount {
    /// Whose.
    pub workload: Workload,
    /// Its account.
    #[serde(flatten)]
    pub account: AccountBody,
}

/// Opening + new + withdrawn = Σ verdicts + closing, on each side.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AccountBody {
    /// Pending at the beginning.
    pub opening: Units,
    /// Come since.
    pub new: Units,
    /// Judged before, and now judged anew, by the verdict that was withdrawn.
    pub withdrawn: BTreeMap<Verdict, Units>,
    /// Judged.
    pub verdicts: BTreeMap<Verdict, Units>,
    /// Pending at the end.
    pub closing: Units,
    /// Of the `unverifiable`: by reason.
    pub lost: BTreeMap<Reason, Units>,
    /// Output of proxy containers that is no access log.
    pub other_lines: u64,
}

impl AccountBody {
    /// Adds the account of a workload to that of the node.
    pub fn add(&mut self, other: &Self) {
        self.opening = self.opening.plus(other.opening);
        self.new = self.new.plus(other.new);
        self.closing = self.closing.plus(other.closing);
        self.other_lines += other.other_lines;
        add_each(&mut self.withdrawn, &other.withdrawn);
        add_each(&mut self.verdicts, &other.verdicts);
        add_each(&mut self.lost, &other.lost);
    }
}

fn add_each<K: Ord + Copy>(sums: &mut BTreeMap<K, Units>, others: &BTreeMap<K, Units>) {
    for (key, units) in others {
        let sum = sums.entry(*key).or_default();
        *sum = sum.plus(*units);
    }
}

/// A turn in the agent's own life.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Lifecycle {
    /// The programs are attached.
    Start {
        /// The agent's version.
        version: String,
        /// What this version does not look at.
        not_covered: Vec<String>,
    },
    /// The agent ends, its books are closed.
    Stop,
    /// The configuration was read anew.
    Config {
        /// Keys that changed and are in force.
        changed: Vec<String>,
        /// Keys that changed and are in force from the next start on.
        at_next_start: Vec<String>,
    },
    /// Records that a sink lost to its bounds.
    Gap(SinkGap),
    /// The wall clock was set.
    ClockStep {
        /// New minus old, in seconds.
        seconds: f64,
    },
}

/// A run of records that one sink lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkGap {
    /// The sink's endpoint.
    pub sink: String,
    /// The first and the last id that was lost.
    pub ids: (String, String),
    /// How many records of this sink are told with it; its filter makes holes in the ids, and so
    /// does what was told before.
    pub records: u64,
    /// Which bound it was.
    pub cause: LossCause,
}

/// Which bound of a sink a loss is owed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossCause {
    /// They overflowed `queue` and were never sent.
    Queue,
    /// They were sent to a receiver that does not acknowledge, and had left `window` when its
    /// connection broke: it may not have read them.
    Window,
}

pub(super) fn as_text<S: serde::Serializer>(
    time: &Timestamp,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}
