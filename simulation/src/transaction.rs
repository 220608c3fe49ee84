//! A request and its answer: what really went over a connection, how the capture tells it, and
//! what an honest proxy writes about it.

use std::{net::SocketAddr, time::Duration};

use meshwitness::{
    envoy::LogEntry,
    http::{Exchange, Gap, Headers, Request, RequestHead, Response},
    record::{Reason, Side},
    timestamp::Timestamp,
};

use crate::wire::Wire;

const MILLISECOND: u64 = 1_000_000;

/// As the kernel saw it. What the proxy makes of it stands in `logged`.
#[derive(Clone, Debug)]
pub(crate) struct Transaction {
    pub(crate) number: u32,
    /// The HTTP/2 stream that carries it.
    pub(crate) stream: Option<u32>,
    /// What of it is in no header list that was seen whole cannot be decoded.
    pub(crate) undecoded: bool,
    /// None: the head never ended.
    pub(crate) head: Option<Head>,
    pub(crate) request_bytes: u64,
    pub(crate) begun: Timestamp,
    pub(crate) request_ended: Option<Timestamp>,
    pub(crate) reply: Option<Reply>,
    /// When both messages had ended, or the connection.
    pub(crate) ended: Timestamp,
    /// The capture missed a part.
    pub(crate) gap: Option<Gap>,
    pub(crate) logged: Logged,
    /// With what reasons it is matched, and which fields differ all the same.
    pub(crate) reasons: Vec<Reason>,
    pub(crate) differences: Vec<&'static str>,
    /// The app of another pod of the node received it with the host with which it was sent.
    pub(crate) host_is_seen: bool,
    /// The connection ends with it.
    pub(crate) is_last: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) authority: String,
    pub(crate) request_id: Option<String>,
    pub(crate) forwarded_for: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) answered: Timestamp,
    pub(crate) status: u16,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) bytes: u64,
    pub(crate) upgraded: bool,
    pub(crate) grpc_status: Option<u32>,
}

/// What an honest proxy writes, in Istio's default format.
#[derive(Clone, Debug)]
pub(crate) struct Logged {
    pub(crate) started: Timestamp,
    pub(crate) method: Option<&'static str>,
    pub(crate) path: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) forwarded_for: Option<String>,
    pub(crate) request_bytes: u64,
    pub(crate) status: u16,
    pub(crate) response_bytes: u64,
    pub(crate) flags: Option<&'static str>,
    pub(crate) details: &'static str,
    pub(crate) protocol: &'static str,
    pub(crate) grpc_status: Option<u32>,
    /// It found an upstream.
    pub(crate) upstream: bool,
    /// The app of another pod of the node.
    pub(crate) upstream_host: Option<SocketAddr>,
    /// When it makes the line.
    pub(crate) made: Timestamp,
}

impl Transaction {
    /// How the capture tells it.
    pub(crate) fn exchange(&self, wire: &Wire) -> Exchange {
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
    pub(crate) fn likeness(&self) -> String {
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
    pub(crate) fn entry(&self, wire: &Wire) -> LogEntry {
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
pub(crate) fn unlogged(connection: u64, number: u32, begun: Timestamp) -> Exchange {
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
