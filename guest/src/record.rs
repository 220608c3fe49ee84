//! What is compared, on each kernel with the truth and between kernels: nothing in it is by chance.

use std::net::SocketAddr;

use meshwitness::http::Gap;

/// All that was told, in the order of its addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) connections: Vec<Connection>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) flows: Vec<Flow>,
    pub(crate) raw_sockets: Vec<RawSocket>,
}

/// A connection, told by one or both of its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Connection {
    pub(crate) destination: SocketAddr,
    /// The destination that the client asked for; none where the client end was not seen.
    pub(crate) asked: Option<SocketAddr>,
    /// None where that end is elsewhere.
    pub(crate) client: Option<End>,
    pub(crate) server: Option<End>,
    pub(crate) established: bool,
    pub(crate) exchanges: Vec<Exchange>,
    /// Requests of which nothing is known.
    pub(crate) lost: u32,
    pub(crate) client_bytes: u64,
    pub(crate) server_bytes: u64,
    pub(crate) both_fin: bool,
    pub(crate) client_closed_first: bool,
}

/// A UDP flow, told by one or both of its ends.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Flow {
    pub(crate) destination: SocketAddr,
    /// None where that end is elsewhere.
    pub(crate) client: Option<End>,
    pub(crate) server: Option<End>,
    pub(crate) inside: bool,
    pub(crate) quic: bool,
    pub(crate) client_bytes: u64,
    pub(crate) server_bytes: u64,
}

/// A raw socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RawSocket {
    pub(crate) owner: End,
    pub(crate) ipv6: bool,
    pub(crate) protocol: u32,
}

/// Whose an end of a connection is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) cgroup: String,
    pub(crate) process: Option<u32>,
}

/// A request and its response.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Exchange {
    /// The stream, if it is HTTP/2.
    pub(crate) stream: Option<u32>,
    pub(crate) method: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) authority: Option<String>,
    pub(crate) request_bytes: u64,
    pub(crate) status: Option<u16>,
    pub(crate) response_bytes: u64,
    /// Both messages ended.
    pub(crate) whole: bool,
    pub(crate) gap: Option<Gap>,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Listener {
    pub(crate) local: SocketAddr,
    pub(crate) owner: End,
    pub(crate) closed: bool,
}
