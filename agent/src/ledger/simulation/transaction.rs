//! A request and its answer: what really went over a connection, how the capture tells it, and
//! what an honest proxy writes about it.

use std::{net::SocketAddr, time::Duration};

use super::wire::Wire;
use crate::{
    envoy::LogEntry,
    http::{Exchange, Gap, Headers, Request, RequestHead, Response},
    record::{Reason, Side},
    timestamp::Timestamp,
};

const MILLISECOND: u64 = 1_000_000;

/// As the kernel saw it. What the proxy makes of it stands in `logged`.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) number: u32,
    /// The HTTP/2 stream that carries it.
    pub(super) stream: Option<u32>,
    /// What of it is in no header list that was seen whole cannot be decoded.
    pub(super) undecoded: bool,
    /// None: the head never ended.
    pub(super) head: Option<Head>,
    pub(super) request_bytes: u64,
    pub(super) begun: Timestamp,
    pub(super) request_ended: Option<Timestamp>,
    pub(super) reply: Option<Reply>,
    /// When both messages had ended, or the connection.
    pub(super) ended: Timestamp,
    /// The capture missed a part.
    pub(super) gap: Option<Gap>,
    pub(super) logged: Logged,
    /// With what reasons it is matched, and which fields differ all the same.
    pub(super) reasons: Vec<Reason>,
    pub(super) differences: Vec<&'static str>,
    /// The app of another pod of the node received it with the host with which it was sent.
    pub(super) host_is_seen: bool,
    /// The connection ends with it.
    pub(super) is_last: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) authority: String,
    pub(super) request_id: Option<String>,
    pub(super) forwarded_for: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) answered: Timestamp,
    pub(super) status: u16,
    pub(super) ended: Option<Timestamp>,
    pub(super) bytes: u64,
    pub(super) upgraded: bool,
    pub(super) grpc_status: Option<u32>,
}

/// What an honest proxy writes, in Istio's default format.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub(super) started: Timestamp,
    pub(super) method: Option<&'static str>,
    pub(super) path: Option<String>,
    pub(super) authority: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) forwarded_for: Option<String>,
    pub(super) request_bytes: u64,
    pub(super) status: u16,
    pub(super) response_bytes: u64,
    pub(super) flags: Option<&'static str>,
    pub(super) details: &'static str,
    pub(super) protocol: &'static str,
    pub(super) grpc_status: Option<u32>,
    /// It found an upstream.
    pub(super) upstream: bool,
    /// The app of another pod of the node.
    pub(super) upstream_host: Option<SocketAddr>,
    /// When it makes the line.
    pub(super) made: Timestamp,
}

impl Transaction {
    /// How the capture tells it.
    pub(super) fn exchange(&self, wire: &Wire) -> Exchange {
        let mut head = self.head.as_ref().map(Head::told);
        if let Some(head) = &mut head {
            head.version = if self.stream.is_some() { "2" } else { "1.1" };
            if self.undecoded {
                (head.method, head.path, head.authority) = (None, None, None);
            }
        }
        Exchange {
            connection: wire.id,
            exchange: self.number,
            stream: self.stream,
            time: self.begun,
            end: self.ended,
            request: Request {
                head,
                ended: self.request_ended,
                body_bytes: self.request_bytes,
            },
            response: self.reply.as_ref().map(Reply::told),
            gap: self.gap,
            joined: false,
            undecoded: self.undecoded,
            refused: false,
        }
    }

    /// Whatever a line says of it but its times: exchanges of one connection with the same are
    /// interchangeable.
    pub(super) fn likeness(&self) -> String {
        let head = self.head.as_ref();
        format!(
            "{:?} {:?} {} {:?} {:?} {} {:?} {:?} {}",
            head.map(|head| head.method),
            self.logged.path,
            self.logged.request_bytes,
            head.and_then(|head| head.request_id.as_ref()),
            self.logged.flags,
            self.logged.status,
            self.logged.grpc_status,
            self.reasons,
            self.logged.response_bytes
        )
    }
}

impl Head {
    fn told(&self) -> RequestHead {
        let mut headers = vec![("host".to_owned(), self.authority.clone())];
        let mut header = |name: &str, value: &Option<String>| {
            headers.extend(value.iter().map(|value| (name.to_owned(), value.clone())));
        };
        header("x-request-id", &self.request_id);
        header("x-forwarded-for", &self.forwarded_for);
        RequestHead {
            method: Some(self.method.into()),
            path: Some(self.path.clone()),
            authority: Some(self.authority.clone()),
            version: "1.1",
            headers: headers.into_iter().collect(),
            conflicting_length: false,
        }
    }
}

impl Reply {
    fn told(&self) -> Response {
        let status = self.grpc_status.iter();
        let trailers = status.map(|status| ("grpc-status".to_owned(), status.to_string()));
        Response {
            time: self.answered,
            status: Some(self.status),
            headers: Headers::default(),
            trailers: trailers.collect(),
            ended: self.ended,
            body_bytes: self.bytes,
            upgraded: self.upgraded,
        }
    }
}

impl Logged {
    pub(super) fn entry(&self, wire: &Wire) -> LogEntry {
        let outbound = wire.side == Side::Client;
        let cluster = match (self.upstream, outbound) {
            (false, _) => None,
            (true, true) => Some(format!("outbound|{}||backend", wire.port())),
            (true, false) => Some(format!("inbound|{}||", wire.port())),
        };
        let (upstream_host, upstream_local) = match outbound {
            true => (wire.network.1, wire.network.0),
            false => (wire.destination, wire.source),
        };
        let upstream_host = self.upstream_host.unwrap_or(upstream_host);
        let peer = match outbound {
            true => wire.source,
            false => wire.network.1,
        };
        let forwarded = self.forwarded_for.as_ref();
        let remote = forwarded.map_or(peer, |address| format!("{address}:0").parse().unwrap());
        let lasted = self.made.since(self.started);
        LogEntry {
            start_time: Some(Timestamp(self.started.0 / MILLISECOND * MILLISECOND)),
            start_time_precision_nanoseconds: MILLISECOND,
            method: self.method.map(str::to_owned),
            path: self.path.clone(),
            protocol: Some(self.protocol.into()),
            grpc_status: self.grpc_status,
            can_speak_http: true,
            response_code: Some(self.status),
            response_flags: self.flags.map(str::to_owned),
            response_code_details: Some(self.details.to_owned()),
            bytes_received: Some(self.request_bytes),
            bytes_sent: Some(self.response_bytes),
            duration_milliseconds: Some(whole_milliseconds(lasted)),
            x_forwarded_for: self.forwarded_for.clone(),
            request_id: self.request_id.clone(),
            authority: self.authority.clone(),
            upstream_host: self.upstream.then(|| upstream_host.to_string()),
            upstream_cluster: cluster,
            upstream_local_address: self.upstream.then_some(upstream_local),
            downstream_local_address: Some(wire.asked),
            downstream_remote_address: Some(remote),
            ..LogEntry::default()
        }
    }
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

/// An exchange of which no line is expected.
pub(super) fn unlogged(connection: u64, number: u32, begun: Timestamp) -> Exchange {
    let answered = begun + Duration::from_micros(300);
    Exchange {
        connection,
        exchange: number,
        stream: None,
        time: begun,
        end: answered,
        request: Request {
            head: None,
            ended: Some(begun),
            body_bytes: 0,
        },
        response: Some(Response {
            time: answered,
            status: Some(200),
            headers: Headers::default(),
            trailers: Headers::default(),
            ended: Some(answered),
            body_bytes: 2,
            upgraded: false,
        }),
        gap: None,
        joined: false,
        undecoded: false,
        refused: false,
    }
}
