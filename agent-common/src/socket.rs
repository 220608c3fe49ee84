//! Records of the ring of sockets.

use crate::{endpoint::Endpoint, process::Process, record::Header};

/// What is known of a socket. Kept in the kernel beside the socket, and shipped as it stands.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The socket's cookie.
    pub cookie: u64,
    /// When its connection began, in nanoseconds since boot; 0: it has none.
    pub opened: u64,
    /// Its own cgroup; 0 before its first packet.
    pub cgroup: u64,
    /// The cookie of who receives what it sends; 0 if unknown.
    pub peer_cookie: u64,
    /// The cgroup of who receives what it sends; 0 if unknown.
    pub peer_cgroup: u64,
    /// Payload bytes sent, each counted once: the position of the next.
    pub bytes_sent: u64,
    /// Payload bytes received, at the close.
    pub bytes_received: u64,
    /// Who connected or bound it.
    pub process: Process,
    /// The destination given to `connect`.
    pub asked: Endpoint,
    /// Its own address, in its own view.
    pub local: Endpoint,
    /// Its peer, in its own view.
    pub remote: Endpoint,
    /// The source in the headers of its packets, after NAT.
    pub source: Endpoint,
    /// The destination in the headers of its packets, after NAT.
    pub destination: Endpoint,
    /// Segments sent again, at the close.
    pub retransmits: u32,
    /// Records of its stream that were shipped or refused.
    pub segments: u32,
    /// Messages begun.
    pub messages: u32,
    /// `Facts::ESTABLISHED` and the like.
    pub flags: u32,
    /// `Facts::PEER_UNKNOWN` and the like.
    pub peer: u32,
}

const _: () = assert!(size_of::<Facts>() == 200 && align_of::<Facts>() == 8);

impl Facts {
    /// The handshake was completed.
    pub const ESTABLISHED: u32 = 1;
    /// The connection is older than the programs.
    pub const PREEXISTING: u32 = 1 << 1;
    /// A FIN was sent.
    pub const FIN_SENT: u32 = 1 << 2;
    /// It called `connect`.
    pub const OPENED_HERE: u32 = 1 << 3;
    /// It was accepted.
    pub const OPENED_BY_PEER: u32 = 1 << 4;
    /// The stream's position as HTTP/1 is known.
    pub const FOLLOWED: u32 = 1 << 5;
    /// Nothing of it is reported: its cgroup is left out.
    pub const EXCLUDED: u32 = 1 << 6;
    /// The state callbacks are on: its close will be told.
    pub const CALLBACKS: u32 = 1 << 7;
    /// It sent a packet.
    pub const SENT: u32 = 1 << 8;
    /// The sequence number to come is known.
    pub const SEQUENCE: u32 = 1 << 9;
    /// Nobody here was found as the receiver once, with the handshake completed.
    pub const PEER_ABSENT: u32 = 1 << 10;
    /// The far end closed its direction.
    pub const FIN_RECEIVED: u32 = 1 << 11;
    /// That it is settled was reported.
    pub const TOLD: u32 = 1 << 12;
    /// Both ends speak Multipath TCP.
    pub const MULTIPATH: u32 = 1 << 13;
    /// It joined a connection of Multipath TCP as a further path.
    pub const JOINS: u32 = 1 << 14;

    /// Nobody was found yet.
    pub const PEER_UNKNOWN: u32 = 0;
    /// A listener answered; the handshake is still on.
    pub const PEER_LISTENER: u32 = 1;
    /// Settled: the receiver is not in this network namespace.
    pub const PEER_REMOTE: u32 = 2;
    /// Settled: the receiver is in this network namespace.
    pub const PEER_LOCAL: u32 = 3;
}

/// A socket's facts at a turn of its life.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketRecord {
    /// `kind` is [`SocketRecord::KIND`].
    pub header: Header,
    /// `SocketRecord::SETTLED` and the like.
    pub phase: u32,
    /// Zero.
    pub reserved: u32,
    /// What is known.
    pub facts: Facts,
}

const _: () = assert!(size_of::<SocketRecord>() == 224 && align_of::<SocketRecord>() == 8);

impl SocketRecord {
    /// The kind of this record.
    pub const KIND: u32 = 1;

    /// Its receiver is known.
    pub const SETTLED: u32 = 0;
    /// Its last holder closed it.
    pub const RELEASED: u32 = 1;
    /// It entered CLOSE.
    pub const CLOSED: u32 = 2;
}

/// A socket began to listen, or was closed by its last holder.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ListenerRecord {
    /// `kind` is [`ListenerRecord::KIND`].
    pub header: Header,
    /// The listening socket; 0 if it is older than the programs.
    pub cookie: u64,
    /// The cgroup of the process.
    pub cgroup: u64,
    /// Who bound it; of one older than the programs, who closed it.
    pub process: Process,
    /// The address it is bound to, if that is known.
    pub local: Endpoint,
    /// 1: it was closed.
    pub closed: u32,
}

const _: () = assert!(size_of::<ListenerRecord>() == 80 && align_of::<ListenerRecord>() == 8);

impl ListenerRecord {
    /// The kind of this record.
    pub const KIND: u32 = 2;
}
