//! What the ledger is fed: redacted, serialisable, with every moment in it.

use std::{borrow::Cow, net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    capture::{CgroupId, Cookie, Process},
    envoy::Sensitive,
    http::{Closed, Connection, ConnectionId, Gap, Greeting},
    ledger::settings::Reconfiguration,
    record::{Fingerprint, Shown, Side, SinkGap},
    timestamp::Timestamp,
    workload::WorkloadFact,
};

/// One input. The ledger's outputs follow from the sequence of its inputs alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Input {
    /// The programs are attached, and the pods that were there have been told.
    Started {
        /// When they were attached.
        time: Timestamp,
    },
    /// Something about the pods of this node.
    Workload(WorkloadFact),
    /// An earlier run learnt that a proxy takes a port for HTTP.
    SpeaksHttp(HttpPort),
    /// A socket began to listen.
    Listener(ListenerFact),
    /// A listening socket was closed.
    ListenerClosed(ListenerEnd),
    /// Both ends of a connection are known.
    Opened(Box<Connection>),
    /// It is known how one end of a connection began to speak.
    Greeted {
        /// The connection.
        connection: ConnectionId,
        /// When.
        time: Timestamp,
        /// How.
        greeting: Greeting,
    },
    /// The first byte of a request head was sent.
    Begun {
        /// The connection.
        connection: ConnectionId,
        /// Its exchanges counted from 0.
        exchange: u32,
        /// The HTTP/2 stream that carries it; none for HTTP/1.
        stream: Option<u32>,
        /// When.
        time: Timestamp,
    },
    /// An exchange ended.
    Ended(Box<Exchange>),
    /// Request heads known by number only.
    Lost {
        /// The connection.
        connection: ConnectionId,
        /// How many.
        exchanges: u32,
        /// When that became known.
        time: Timestamp,
        /// Why.
        cause: Gap,
    },
    /// The kernel side refused to report something; of which connection is not known.
    Refused {
        /// Whose; none: of one of many cgroups.
        cgroup: Option<CgroupId>,
        /// Not before this.
        from: Timestamp,
        /// Not after this.
        to: Timestamp,
        /// Why.
        cause: Gap,
    },
    /// A connection ended.
    Closed(Closed),
    /// What a UDP flow that goes on has carried so far.
    Carried {
        /// The flow.
        connection: ConnectionId,
        /// Payload bytes that the client end sent.
        client_bytes: u64,
        /// Payload bytes that the server end sent.
        server_bytes: u64,
    },
    /// UDP flows that the kernel side could not tell of.
    FlowsLost(FlowsLost),
    /// A process made a raw socket.
    RawSocket(RawSocketFact),
    /// A line of a proxy's log.
    Line(Box<Line>),
    /// How far a proxy's log was read.
    LogProgress {
        /// The pod.
        pod_uid: Arc<str>,
        /// Every line stamped before this was read.
        read_until: Timestamp,
    },
    /// What was read of a proxy's log is no longer there as it was.
    LogRewritten {
        /// The pod.
        pod_uid: Arc<str>,
        /// When that was noticed.
        time: Timestamp,
    },
    /// Everything that was sent before this moment was told.
    CaptureProgress(Timestamp),
    /// The wall clock was set.
    ClockStep {
        /// When it was noticed, on the new clock.
        time: Timestamp,
        /// New minus old.
        nanoseconds: i64,
    },
    /// Time passes: intervals close, patience ends.
    Tick(Timestamp),
    /// The configuration was read anew.
    Reconfigured {
        /// When.
        time: Timestamp,
        /// What is in force now.
        settings: Box<Reconfiguration>,
    },
    /// A sink lost records to its bounds.
    Overflow {
        /// When that was noticed.
        time: Timestamp,
        /// What it lost.
        gap: SinkGap,
    },
    /// The agent ends: everything pending is judged now.
    Stopped(Timestamp),
}

/// A port at which an exchange was matched with its line: the proxy takes it for HTTP.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HttpPort {
    /// The pod.
    pub pod_uid: String,
    /// Whether its app asks there, or answers.
    pub side: Side,
    /// The port.
    pub port: u16,
}

/// A listening socket and who bound it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerFact {
    /// The socket.
    pub cookie: Cookie,
    /// When it began to listen.
    pub time: Timestamp,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// Who bound it.
    pub process: Process,
    /// Its port.
    pub port: u16,
}

/// A listening socket that is no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerEnd {
    /// The socket; none if it is older than the programs.
    pub cookie: Option<Cookie>,
    /// When it was closed.
    pub time: Timestamp,
    /// Its process's cgroup.
    pub cgroup: CgroupId,
    /// The thread group that bound it, or, of one older than the programs, that closed it.
    pub pid: u32,
}

/// UDP flows that the kernel side had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowsLost {
    /// Whose; none: of one of many cgroups.
    pub cgroup: Option<CgroupId>,
    /// How many.
    pub flows: u64,
    /// When that was noticed.
    pub time: Timestamp,
}

/// A raw socket of one of the internet families, and who made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RawSocketFact {
    /// The socket.
    pub cookie: Cookie,
    /// When it was made.
    pub time: Timestamp,
    /// The cgroup of the process.
    pub cgroup: CgroupId,
    /// Who made it.
    pub process: Process,
    /// Of the family IPv6; else IPv4.
    pub ipv6: bool,
    /// The protocol that it was made for (IANA's protocol numbers).
    pub protocol: u32,
}

/// A value that is compared, but not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ComparedPath {
    /// As it was written.
    pub raw: Fingerprint,
    /// Path normalised (RFC 3986 section 6.2.2), query as it was written.
    pub normalized: Fingerprint,
    /// As it was written, without the query.
    pub bare: Fingerprint,
    /// Normalised, without the query.
    pub bare_normalized: Fingerprint,
}

/// One HTTP exchange, redacted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// The connection.
    pub connection: ConnectionId,
    /// The number under which it began.
    pub exchange: u32,
    /// The HTTP/2 stream that carried it; none for HTTP/1.
    pub stream: Option<u32>,
    /// When the first byte of the request head was sent.
    pub time: Timestamp,
    /// When both messages had ended, or the connection did.
    pub end: Timestamp,
    /// The request's method; none if the head was never whole, or could not be decoded.
    pub method: Option<Cow<'static, str>>,
    /// The request's path.
    pub path: Option<ComparedPath>,
    /// The request's authority.
    pub authority: Option<Fingerprint>,
    /// `1.0`, `1.1` or `2`.
    pub version: Option<Cow<'static, str>>,
    /// `x-request-id` without its character 14, which carries Envoy's trace decision.
    pub request_id: Option<Fingerprint>,
    /// The request bore X-Forwarded-For.
    pub forwarded: bool,
    /// When the request ended; none if it was cut off.
    pub request_ended: Option<Timestamp>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// The response, if its head was begun.
    pub response: Option<ResponseFact>,
    /// A part could not be read.
    pub gap: Option<Gap>,
    /// Fields of it could not be decoded: what is absent may have been sent.
    pub undecoded: bool,
    /// Its stream was refused: nothing was done of it, and a line need not be there.
    pub refused: bool,
    /// What the record shows.
    pub shown: Arc<Shown>,
}

impl Exchange {
    /// Its head was never whole, or is none: of such a request the proxy knows no method.
    #[must_use]
    pub(super) fn is_unread(&self) -> bool {
        self.method.is_none() && self.gap.is_none() && !self.undecoded
    }

    /// Its line may name the address of X-Forwarded-For.
    pub(super) fn may_be_forwarded(&self) -> bool {
        self.forwarded || self.undecoded
    }
}

/// The response half of an exchange.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResponseFact {
    /// When its first byte was sent.
    pub time: Timestamp,
    /// The status; none if the head was never whole.
    pub status: Option<u16>,
    /// When the response ended; none if it was cut off.
    pub ended: Option<Timestamp>,
    /// Bytes of the response body.
    pub bytes: u64,
    /// The connection was handed over to another protocol.
    pub upgraded: bool,
    /// The `grpc-status` of the response, in its head or its trailers.
    pub grpc_status: Option<u32>,
}

/// One line of a proxy container's log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The pod.
    pub pod_uid: Arc<str>,
    /// The file, beneath the log root.
    pub file: Arc<str>,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// When the container runtime stamped it.
    pub time: Timestamp,
    /// What it is.
    pub content: LineContent,
    /// What an access log must not hold, and this line does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sensitive: Vec<Sensitive>,
}

impl Line {
    /// Whether it is an entry that speaks of an HTTP request or response.
    #[must_use]
    pub fn speaks_of_http(&self) -> bool {
        self.entry().is_some_and(Entry::speaks_of_http)
    }

    /// Whether its request began before a moment, if it says when.
    #[must_use]
    pub fn began_before(&self, moment: Timestamp) -> bool {
        let start = self.entry().and_then(|entry| entry.start_time);
        start.is_some_and(|start| start < moment)
    }

    /// The entry, also where some of its fields are in doubt.
    #[must_use]
    pub fn entry(&self) -> Option<&Entry> {
        match &self.content {
            LineContent::Entry(entry) | LineContent::Ambiguous(entry) => Some(entry),
            LineContent::Other | LineContent::Unknown | LineContent::Hole => None,
        }
    }
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum LineContent {
    /// An access-log entry.
    Entry(Entry),
    /// An entry that can be read in more than one way; what all readings agree on.
    Ambiguous(Entry),
    /// Other output of the container.
    Other,
    /// An access-log line, it seems, that no format reads.
    Unknown,
    /// Lines are missing here.
    Hole,
}

/// The fields of an access-log entry, redacted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// `START_TIME`.
    pub start_time: Option<Timestamp>,
    /// How exact that is.
    pub start_time_precision_nanoseconds: u64,
    /// The method.
    pub method: Option<Cow<'static, str>>,
    /// The path.
    pub path: Option<ComparedPath>,
    /// The format writes paths without their query.
    pub path_without_query: bool,
    /// The authority.
    pub authority: Option<Fingerprint>,
    /// `PROTOCOL`.
    pub protocol: Option<String>,
    /// The format can speak of HTTP.
    pub can_speak_http: bool,
    /// `RESPONSE_CODE`.
    pub response_code: Option<u16>,
    /// `RESPONSE_FLAGS`.
    pub response_flags: Option<String>,
    /// `RESPONSE_CODE_DETAILS`.
    pub response_code_details: Option<String>,
    /// `BYTES_RECEIVED`.
    pub bytes_received: Option<u64>,
    /// `BYTES_SENT`.
    pub bytes_sent: Option<u64>,
    /// `DURATION`.
    pub duration_milliseconds: Option<u64>,
    /// `x-request-id` without its character 14.
    pub request_id: Option<Fingerprint>,
    /// `UPSTREAM_CLUSTER`.
    pub upstream_cluster: Option<String>,
    /// `UPSTREAM_HOST`.
    pub upstream_host: Option<String>,
    /// `UPSTREAM_LOCAL_ADDRESS`.
    pub upstream_local_address: Option<SocketAddr>,
    /// `DOWNSTREAM_LOCAL_ADDRESS`.
    pub downstream_local_address: Option<SocketAddr>,
    /// `DOWNSTREAM_REMOTE_ADDRESS`.
    pub downstream_remote_address: Option<SocketAddr>,
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS`.
    pub downstream_direct_remote_address: Option<SocketAddr>,
    /// `REQUESTED_SERVER_NAME`, as it may be shown.
    pub requested_server_name: Option<String>,
    /// `GRPC_STATUS_NUMBER`.
    pub grpc_status: Option<u32>,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    pub attempts: Option<u32>,
    /// `ACCESS_LOG_TYPE`.
    pub access_log_type: Option<String>,
    /// `DOWNSTREAM_PEER_URI_SAN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub downstream_peer: Option<Arc<str>>,
    /// `UPSTREAM_PEER_URI_SAN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream_peer: Option<Arc<str>>,
    /// The whole entry: equal for a line that was written twice.
    pub whole: Option<Fingerprint>,
    /// `x-request-id` as the record shows it.
    pub shown_request_id: Option<String>,
    /// What the record shows of the rest.
    pub shown: Arc<Shown>,
}

impl Entry {
    /// Whether the entry speaks of an HTTP request or response: a TCP line has none of these.
    #[must_use]
    pub fn speaks_of_http(&self) -> bool {
        self.method.is_some()
            || self.path.is_some()
            || self.protocol.is_some()
            || self.response_code.is_some_and(|code| code != 0)
    }

    /// The proxy's physical peer, or what X-Forwarded-For made of it (port 0).
    #[must_use]
    pub fn downstream(&self) -> Option<SocketAddr> {
        self.downstream_direct_remote_address
            .or(self.downstream_remote_address)
    }

    /// Whether it counts more than one attempt.
    #[must_use]
    pub fn counts_retries(&self) -> bool {
        self.attempts.is_some_and(|attempts| attempts > 1)
    }

    /// Whether a flag of `RESPONSE_FLAGS` is set.
    #[must_use]
    pub fn has_flag(&self, flag: &str) -> bool {
        let mut flags = self.response_flags.iter().flat_map(|set| set.split(','));
        flags.any(|set| set == flag)
    }
}

#[cfg(test)]
mod tests {
    use super::Entry;
    use crate::{
        ledger::tests::{exchange, get},
        timestamp::Timestamp,
    };

    #[test]
    fn a_line_speaks_of_http_if_anything_in_it_does() {
        let speaks = |change: fn(&mut Entry)| {
            let mut entry = Entry {
                response_code: Some(0),
                ..Entry::default()
            };
            change(&mut entry);
            entry.speaks_of_http()
        };
        assert!(!speaks(|_| {}));
        assert!(!speaks(|entry| entry.response_code = None));
        assert!(speaks(|entry| entry.response_code = Some(400)));
        assert!(speaks(|entry| entry.method = Some("GET".into())));
        assert!(speaks(|entry| entry.protocol = Some("HTTP/1.1".into())));
        let now = Timestamp::default();
        let with_a_path = Entry {
            path: exchange(1, 0, now, now, &get("/")).path,
            ..Entry::default()
        };
        assert!(with_a_path.speaks_of_http());
    }
}
