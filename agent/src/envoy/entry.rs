//! What a line of a proxy's log says.

use std::{net::SocketAddr, sync::Arc};

use super::Sensitive;
use crate::timestamp::Timestamp;

/// One line of the proxy container's log, put together from its CRI parts.
#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    /// The pod whose proxy wrote it.
    pub pod_uid: Arc<str>,
    /// The file, beneath `logs.root`, under the name it had when it was opened.
    pub file: Arc<str>,
    /// Where the line begins in that file, in bytes.
    pub offset: u64,
    /// Its length in bytes, framing included.
    pub length: u64,
    /// When the container runtime read it from the proxy.
    pub time: Timestamp,
    /// What it is.
    pub content: Content,
    /// What an access log must not hold, and this line does.
    pub sensitive: Vec<Sensitive>,
}

/// What a line turned out to be.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// An access-log entry.
    Entry(Box<LogEntry>),
    /// An access-log entry whose fields cannot be told apart for sure: a hostile value in it
    /// imitates the format. Only fields that every reading agrees on are kept.
    Ambiguous(Box<LogEntry>),
    /// Other output of the container.
    Other,
    /// It looks like no other output, and no format reads it.
    Unknown,
    /// Part of the file is missing here: lines were lost before they could be read.
    Hole,
}

/// The fields of an access-log entry that this product uses, as the proxy wrote them.
/// A field that the format lacks, and one that is `-` or null, is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogEntry {
    /// `START_TIME`.
    pub start_time: Option<Timestamp>,
    /// How exact `start_time` is: 1 ms in the default formats.
    pub start_time_precision_nanoseconds: u64,
    /// `REQ(:METHOD)`.
    pub method: Option<String>,
    /// `REQ(X-ENVOY-ORIGINAL-PATH?:PATH)`, `PATH(…)` and the like.
    pub path: Option<String>,
    /// The format writes the path without its query.
    pub path_without_query: bool,
    /// `PROTOCOL`, for example `HTTP/1.1`.
    pub protocol: Option<String>,
    /// The format has a field for the protocol, the method or the path: it can speak of HTTP.
    pub can_speak_http: bool,
    /// `RESPONSE_CODE`; 0 where no response was sent.
    pub response_code: Option<u16>,
    /// `RESPONSE_FLAGS`, in their short form.
    pub response_flags: Option<String>,
    /// `RESPONSE_CODE_DETAILS`.
    pub response_code_details: Option<String>,
    /// `BYTES_RECEIVED`: of the request body, or of the connection.
    pub bytes_received: Option<u64>,
    /// `BYTES_SENT`: of the response body, or of the connection.
    pub bytes_sent: Option<u64>,
    /// `DURATION`, in milliseconds.
    pub duration_milliseconds: Option<u64>,
    /// `REQ(X-FORWARDED-FOR)`.
    pub x_forwarded_for: Option<String>,
    /// `REQ(USER-AGENT)`.
    pub user_agent: Option<String>,
    /// `REQ(X-REQUEST-ID)`.
    pub request_id: Option<String>,
    /// `REQ(:AUTHORITY)`.
    pub authority: Option<String>,
    /// `UPSTREAM_HOST`.
    pub upstream_host: Option<String>,
    /// `UPSTREAM_CLUSTER` or `UPSTREAM_CLUSTER_RAW`.
    pub upstream_cluster: Option<String>,
    /// `UPSTREAM_LOCAL_ADDRESS`.
    pub upstream_local_address: Option<SocketAddr>,
    /// `DOWNSTREAM_LOCAL_ADDRESS`: with REDIRECT the original destination.
    pub downstream_local_address: Option<SocketAddr>,
    /// `DOWNSTREAM_REMOTE_ADDRESS`; port 0 where it stems from X-Forwarded-For.
    pub downstream_remote_address: Option<SocketAddr>,
    /// `DOWNSTREAM_DIRECT_REMOTE_ADDRESS`: always the physical peer.
    pub downstream_direct_remote_address: Option<SocketAddr>,
    /// `REQUESTED_SERVER_NAME`: of TLS, or of what the sidecar read of it.
    pub requested_server_name: Option<String>,
    /// `UPSTREAM_TRANSPORT_FAILURE_REASON`.
    pub upstream_transport_failure_reason: Option<String>,
    /// `CONNECTION_TERMINATION_DETAILS`.
    pub connection_termination_details: Option<String>,
    /// `ROUTE_NAME`.
    pub route_name: Option<String>,
    /// `GRPC_STATUS_NUMBER`, or `GRPC_STATUS` as its number.
    pub grpc_status: Option<u32>,
    /// `UPSTREAM_REQUEST_ATTEMPT_COUNT`.
    pub attempts: Option<u32>,
    /// `ACCESS_LOG_TYPE`.
    pub access_log_type: Option<String>,
    /// `DOWNSTREAM_PEER_URI_SAN`: the identity in the client's certificate.
    pub downstream_peer: Option<String>,
    /// `UPSTREAM_PEER_URI_SAN`: that in the server's.
    pub upstream_peer: Option<String>,
}
