//! What the connections of a node did, free of packets.

use std::{borrow::Cow, net::SocketAddr};

use serde::{Deserialize, Serialize};

use super::{
    Headers,
    hello::{ClientHello, ServerHello},
};
use crate::{
    capture::{CgroupId, Cookie, Process},
    timestamp::Timestamp,
};

/// A connection: the cookie of the socket that opened it, or, where that socket was never seen,
/// of the one that accepted it.
pub type ConnectionId = Cookie;

/// One thing that a connection did. For each connection: `Opened`, then greetings and exchanges,
/// then `Closed`.
///
/// `Opened` comes as soon as both ends are known (or the far end is known to be remote), and at
/// the latest just before `Closed`. `Begun` of one direction come in the order of the stream.
#[derive(Clone, Debug, PartialEq)]
pub enum HttpEvent {
    /// Both ends of a connection are known.
    Opened(Connection),
    /// It is known how one of its ends began to speak.
    Greeted {
        /// The connection.
        connection: ConnectionId,
        /// When that was whole.
        time: Timestamp,
        /// How.
        greeting: Greeting,
    },
    /// The first byte of a request head was sent.
    Begun {
        /// The connection.
        connection: ConnectionId,
        /// Its exchanges counted from 0, without those that were lost.
        exchange: u32,
        /// The HTTP/2 stream that carries it (RFC 9113 section 5.1.1); none for HTTP/1, whose
        /// exchanges end in the order in which they began.
        stream: Option<u32>,
        /// When that byte was sent.
        time: Timestamp,
    },
    /// Both messages of an exchange ended, or its connection did.
    Ended(Exchange),
    /// Request heads that are known by number only.
    Lost {
        /// The connection.
        connection: ConnectionId,
        /// How many; 0 where there may be some that nobody counted, or that are still to come on
        /// a connection that is no longer followed.
        exchanges: u32,
        /// When that became known.
        time: Timestamp,
        /// Why they could not be read.
        cause: Gap,
    },
    /// Sockets were dropped before it was known what connection they are the ends of.
    Dropped {
        /// Whose.
        cgroup: CgroupId,
        /// When the first of it was seen.
        from: Timestamp,
        /// When it was dropped.
        to: Timestamp,
        /// Why.
        cause: Gap,
    },
    /// A connection ended.
    Closed(Closed),
}

/// How an end of a connection began to speak. What was not seen whole is not told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Greeting {
    /// The client, with a hello of TLS.
    Client(ClientHello),
    /// The server, with a hello of TLS.
    Server(ServerHello),
    /// The client, with something that is no TLS. Told where the other end is not in the pod.
    Plain,
}

/// Why a part of a stream could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gap {
    /// A ring buffer was full or its ration was used up.
    RingLost,
    /// The kernel side or this one could not follow the position.
    StreamGap,
    /// A response came without a request, or a message that is none.
    StreamMismatch,
    /// The bound of open connections or heads was reached.
    Evicted,
    /// Multipath TCP carries a part of the connection on another path (RFC 8684).
    Mptcp,
}

/// A TCP connection or a UDP flow inside a pod, or between a pod and elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Its identity.
    pub id: ConnectionId,
    /// When it was opened.
    pub time: Timestamp,
    /// The end that opened it; none where that end is not on this node's watched cgroups.
    pub client: Option<End>,
    /// The end that accepted it; none where that end is remote (or was never reached).
    pub server: Option<End>,
    /// The source of what the client end sends, after NAT: what the proxy's log calls the
    /// downstream remote address (outbound) or the upstream local address (inbound).
    pub source: SocketAddr,
    /// The destination of what the client end sends, after NAT.
    pub destination: SocketAddr,
    /// The destination that the client's process asked for, before NAT.
    pub asked: Option<SocketAddr>,
    /// The handshake was completed; of a UDP flow, a datagram passed.
    pub established: bool,
    /// It is older than the programs. A UDP flow is what is seen of it.
    pub preexisting: bool,
    /// It is a UDP flow. The end that sent first is the client.
    pub udp: Option<Udp>,
}

impl Connection {
    /// The server that the client asked for, before NAT where that is known.
    #[must_use]
    pub fn asked_for(&self) -> SocketAddr {
        self.asked.unwrap_or(self.destination)
    }
}

/// What is known of a UDP flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Udp {
    /// It stays in its network namespace, whether anybody is there or not.
    pub inside: bool,
    /// Its first datagram is QUIC.
    pub quic: bool,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The socket.
    pub cookie: Cookie,
    /// The socket's own cgroup.
    pub cgroup: CgroupId,
    /// Who called `connect`, or who bound the listener.
    pub process: Option<Process>,
    /// The socket's address in its own view.
    pub local: SocketAddr,
    /// Its peer in its own view.
    pub remote: SocketAddr,
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closed {
    /// The connection.
    pub connection: ConnectionId,
    /// When.
    pub time: Timestamp,
    /// Payload bytes that the client end sent.
    pub client_bytes: u64,
    /// Payload bytes that the server end sent.
    pub server_bytes: u64,
    /// Both ends sent a FIN.
    pub both_fin: bool,
    /// The client end was done with it before the server end was.
    pub client_closed_first: bool,
    /// The handshake was completed.
    pub established: bool,
    /// The client end closed before the server end had sent a byte and before a request line
    /// was complete: what Envoy's listener filters drop without a line. Or it was HTTP/2 and the
    /// client opened no stream, of which Envoy has nothing to write.
    pub no_request: bool,
    /// The client end sent its FIN, and the server end reset without having sent a byte: at least a
    /// part of what it had received was never read. Envoy's listener filters do that, without a
    /// line, where the FIN is there before they have looked.
    pub unread: bool,
    /// Segments sent again, both ends together.
    pub retransmits: u32,
}

/// One HTTP exchange: a request and the response to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// The connection that carried it.
    pub connection: ConnectionId,
    /// The number under which it began.
    pub exchange: u32,
    /// The HTTP/2 stream that carried it; none for HTTP/1.
    pub stream: Option<u32>,
    /// When the first byte of the request head was sent.
    pub time: Timestamp,
    /// When both messages had ended, or the connection did.
    pub end: Timestamp,
    /// The request; its parts are absent where the head was never whole.
    pub request: Request,
    /// The final response; none if no response head was sent.
    pub response: Option<Response>,
    /// A part of it could not be read; what is here may be incomplete.
    pub gap: Option<Gap>,
    /// It was the first that was found on a connection older than the programs, or follows a
    /// position found anew.
    pub joined: bool,
    /// A field of a head or of the trailers stands in a part of the HPACK table that was never
    /// seen (RFC 7541 section 2.3): what is absent below may have been sent.
    pub undecoded: bool,
    /// The server end refused the stream before it did anything of it (RFC 9113 sections 6.8 and
    /// 8.7).
    pub refused: bool,
}

/// The request half of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The head, if it was seen whole and is well-formed.
    pub head: Option<RequestHead>,
    /// When the message ended; none if it was cut off.
    pub ended: Option<Timestamp>,
    /// Body bytes without framing, so far as they were sent.
    pub body_bytes: u64,
}

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// The method; none if it could not be decoded.
    pub method: Option<Cow<'static, str>>,
    /// The path with its query, as sent; of a target in absolute form only that part; `*` and an
    /// authority (CONNECT) stand as they are. None if it could not be decoded, or where CONNECT of
    /// HTTP/2 has none.
    pub path: Option<String>,
    /// The Host field, the authority of a target in absolute form, or `:authority`.
    pub authority: Option<String>,
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// Every header that was sent, names in lower case, in order.
    pub headers: Headers,
    /// Both Content-Length and Transfer-Encoding were there (RFC 9112 section 6.3).
    pub conflicting_length: bool,
}

/// The response half of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// When its first byte was sent.
    pub time: Timestamp,
    /// The status; none if the head was never whole.
    pub status: Option<u16>,
    /// Every header that was sent, names in lower case, in order.
    pub headers: Headers,
    /// The trailers of HTTP/2, in order; those of HTTP/1 are not read.
    pub trailers: Headers,
    /// When the message ended; none if it was cut off.
    pub ended: Option<Timestamp>,
    /// Body bytes without framing, so far as they were sent.
    pub body_bytes: u64,
    /// The connection was handed over: 101, or a CONNECT that succeeded.
    pub upgraded: bool,
}
