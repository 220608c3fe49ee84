//! UDP flows: the table in which they are counted, and the records that tell of them and of raw
//! sockets.
//!
//! The table is an array in memory that both sides see, so the agent needs neither a system call
//! nor a capability for it. The kernel side claims a place for a flow at its first datagram and
//! adds to it; the agent looks for those that have gone quiet, ends them, and frees their places.
//! Two first datagrams at the same moment may claim two places for one flow: the agent adds them
//! up.

use crate::{endpoint::Endpoint, process::Process, record::Header};

/// The places of one bucket, which are searched together.
pub const FLOWS_PER_BUCKET: usize = 16;
/// The buckets to which flows are hashed, a power of two.
pub const FLOW_BUCKETS: usize = 4096;
/// The flows that may be there at once: half of the places, so that none is refused because
/// others happen to be in its bucket.
pub const MOST_FLOWS: u64 = (FLOW_BUCKETS * FLOWS_PER_BUCKET / 2) as u64;

/// What is counted of one flow: of one socket, with one remote address.
///
/// ```text
/// FREE ──(kernel: first datagram)──▶ OPEN ──(agent: idle or closed)──▶ ENDED ──(agent: read)──▶ FREE
/// ```
///
/// A datagram that comes when it is ENDED begins a new one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// The socket's cookie.
    pub cookie: u64,
    /// The remote address in the headers of its datagrams.
    pub remote: Endpoint,
    /// Zero.
    pub reserved: u32,
    /// `Flow::FREE` and the like.
    pub state: u64,
    /// When the last datagram passed, in nanoseconds since boot.
    pub last: u64,
    /// Payload bytes sent.
    pub bytes_sent: u64,
    /// Payload bytes received.
    pub bytes_received: u64,
}

const _: () = assert!(size_of::<Flow>() == 64 && align_of::<Flow>() == 8);

impl Flow {
    /// The place is free.
    pub const FREE: u64 = 0;
    /// Datagrams are counted here.
    pub const OPEN: u64 = 1;
    /// Nothing more is counted here.
    pub const ENDED: u64 = 2;
}

/// Flows that are searched together.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowBucket {
    /// The flows.
    pub flows: [Flow; FLOWS_PER_BUCKET],
}

const _: () = assert!(size_of::<FlowBucket>() == 1024);

/// The first datagram of a flow.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowRecord {
    /// `kind` is [`FlowRecord::KIND`].
    pub header: Header,
    /// The socket's cookie.
    pub cookie: u64,
    /// The socket's cgroup.
    pub cgroup: u64,
    /// The cookie of the socket here that receives it; 0 if unknown.
    pub peer_cookie: u64,
    /// The cgroup of that socket; 0 if there is none.
    pub peer_cgroup: u64,
    /// Where it is counted.
    pub place: u32,
    /// `FlowRecord::SENT` and the like.
    pub flags: u32,
    /// Who made the socket.
    pub process: Process,
    /// Who made the socket that receives it.
    pub peer_process: Process,
    /// The source in the datagram's headers; of one that was sent, after NAT.
    pub source: Endpoint,
    /// The destination in the datagram's headers; of one that was sent, after NAT.
    pub destination: Endpoint,
    /// The address that the socket is connected to, if it is.
    pub connected: Endpoint,
    /// The length of its payload.
    pub length: u32,
    /// The beginning of its payload, filled up with zeroes.
    pub payload: [u64; FlowRecord::PAYLOAD / 8],
}

const _: () = assert!(size_of::<FlowRecord>() == 200 && align_of::<FlowRecord>() == 8);

impl FlowRecord {
    /// The kind of this record.
    pub const KIND: u32 = 3;
    /// How many bytes of the payload are in it: a power of two. The header of QUIC up to its
    /// connection ids is no longer (RFC 9000 section 17.2).
    pub const PAYLOAD: usize = 32;

    /// The socket sent it; else it received it.
    pub const SENT: u32 = 1;
    /// It left by the loopback device: whoever receives it is in this network namespace.
    pub const INSIDE: u32 = 1 << 1;
}

/// A socket that had flows was closed by its last holder.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowsClosedRecord {
    /// `kind` is [`FlowsClosedRecord::KIND`].
    pub header: Header,
    /// The socket's cookie.
    pub cookie: u64,
}

const _: () = assert!(size_of::<FlowsClosedRecord>() == 24);

impl FlowsClosedRecord {
    /// The kind of this record.
    pub const KIND: u32 = 4;
}

/// A process made a raw socket of one of the internet families.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RawSocketRecord {
    /// `kind` is [`RawSocketRecord::KIND`].
    pub header: Header,
    /// The socket's cookie.
    pub cookie: u64,
    /// The cgroup of the process.
    pub cgroup: u64,
    /// Who made it.
    pub process: Process,
    /// The address family: `AF_INET` or `AF_INET6`.
    pub family: u32,
    /// The protocol that it was made for (IANA's protocol numbers).
    pub protocol: u32,
}

const _: () = assert!(size_of::<RawSocketRecord>() == 64);

impl RawSocketRecord {
    /// The kind of this record.
    pub const KIND: u32 = 5;
}
