//! What the kernel side saw, free of its raw layouts.

use std::{net::SocketAddr, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{FlowPlace, Refusal};
use crate::timestamp::Timestamp;

/// A socket's cookie: unique on a node until it reboots, never reused.
pub type Cookie = u64;

/// The inode of a cgroup v2 directory, which is the kernel's cgroup id.
pub type CgroupId = u64;

/// One thing that the kernel side reports.
///
/// The two rings behind it have no order between each other: a [`Segment`] may come before the
/// [`Socket`] that says whose it is, and a close before the last segment. [`StreamTotals`] tells
/// when a stream is complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A socket began to listen.
    Listener(Listener),
    /// A listening socket was closed by its last holder.
    ListenerClosed(ListenerClosed),
    /// The facts of a TCP socket, at a turn of its life.
    Socket(Socket),
    /// Bytes that a socket sent.
    Segment(Segment),
    /// How a direction of a connection with a remote end begins.
    FirstBytes(FirstBytes),
    /// The first datagram of a UDP flow.
    Flow(Flow),
    /// A UDP socket that had flows was closed by its last holder.
    FlowsClosed {
        /// The socket.
        cookie: Cookie,
        /// When.
        time: Timestamp,
    },
    /// A process made a raw socket.
    RawSocket(RawSocket),
    /// Something was not reported.
    Refused(Refused),
    /// The wall clock was set, by this many nanoseconds (negative: back).
    ClockStep {
        /// When it was noticed, on the new clock.
        time: Timestamp,
        /// New minus old, in nanoseconds.
        nanoseconds: i64,
    },
    /// All that was sent before this moment has been reported.
    Progress(Timestamp),
}

/// Records of one kind that were refused in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose; none for those that share one account because the table has no room for them.
    pub cgroup: Option<CgroupId>,
    /// What, and why.
    pub refusal: Refusal,
    /// Not before this moment.
    pub from: Timestamp,
    /// Not after this moment.
    pub to: Timestamp,
}

/// A socket that entered LISTEN, and the process that bound it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The listening socket.
    pub cookie: Cookie,
    /// When it began to listen.
    pub time: Timestamp,
    /// The cgroup in which it was created; sockets accepted from it carry the same.
    pub cgroup: CgroupId,
    /// Who bound it.
    pub process: Process,
    /// The address it is bound to.
    pub local: SocketAddr,
}

/// A listening socket that is no more. When a process ends, however it does, all of its are closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerClosed {
    /// The listening socket; none if it is older than the programs.
    pub cookie: Option<Cookie>,
    /// When.
    pub time: Timestamp,
    /// The cgroup of the process.
    pub cgroup: CgroupId,
    /// Who bound it; of one older than the programs, who closed it.
    pub process: Process,
}

/// The first datagram of a UDP flow, which is one socket's traffic with one remote address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The socket.
    pub cookie: Cookie,
    /// When it was seen.
    pub time: Timestamp,
    /// The socket's own cgroup.
    pub cgroup: CgroupId,
    /// Who made the socket; unknown if it is older than the programs.
    pub process: Option<Process>,
    /// The socket sent it; else it received it.
    pub sent: bool,
    /// It was sent within this network namespace.
    pub inside: bool,
    /// Of one that was sent within the namespace: the socket that receives it, if there is one.
    pub receiver: Option<Receiver>,
    /// The source in its headers; of one that was sent, after NAT.
    pub source: SocketAddr,
    /// The destination in its headers; of one that was sent, after NAT.
    pub destination: SocketAddr,
    /// The address that the socket is connected to, if it is: before NAT.
    pub connected: Option<SocketAddr>,
    /// The length of its payload.
    pub length: u32,
    /// The beginning of its payload, at most 32 bytes.
    pub payload: Vec<u8>,
    /// Where the flow is counted.
    pub place: FlowPlace,
}

/// The socket that receives a datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// The socket; none if it is older than the programs and sent nothing since.
    pub cookie: Option<Cookie>,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// Who made it; unknown if it is older than the programs.
    pub process: Option<Process>,
}

/// A raw socket of one of the internet families, as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSocket {
    /// The socket.
    pub cookie: Cookie,
    /// When.
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

/// A process as the kernel named it when it called `connect` or `bind`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The thread group, which user space calls the process id.
    pub pid: u32,
    /// Its user.
    pub user: u32,
    /// The name of the calling thread (`comm`): a hint, it proves nothing.
    pub command: Arc<str>,
}

/// The turns of a socket's life at which its facts are reported.
///
/// ```text
/// (created) ──▶ Settled ──▶ Released ──▶ Closed
///      └────────────┴───────────┴──────────▲
/// ```
///
/// Each may be missing: a connection that never sent has no `Settled`, and one older than the
/// programs has no `Closed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// It is established and the kernel has said who receives what it sends.
    Settled,
    /// Its last holder closed it; the FIN is still to come. The only end that a socket older
    /// than the programs shows.
    Released,
    /// It entered CLOSE; nothing of it is seen afterwards.
    Closed,
}

/// The facts of a TCP socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// The socket.
    pub cookie: Cookie,
    /// The turn at which this was reported.
    pub phase: Phase,
    /// When it was reported.
    pub time: Timestamp,
    /// When the connection began: `connect`, the accept of the handshake, or the first segment
    /// of a socket older than the programs.
    pub opened: Timestamp,
    /// The socket's own cgroup; 0 if it never sent a packet.
    pub cgroup: CgroupId,
    /// Which end opened the connection; unknown for one older than the programs.
    pub opener: Opener,
    /// Who called `connect`, or who bound the listener it was accepted from.
    pub process: Option<Process>,
    /// The destination that the process asked for, before any NAT.
    pub asked: Option<SocketAddr>,
    /// The socket's own address, in its own view.
    pub local: SocketAddr,
    /// Its peer, in its own view.
    pub remote: SocketAddr,
    /// Source and destination in the headers of what it sends, after NAT; none if it sent nothing.
    pub sent: Option<(SocketAddr, SocketAddr)>,
    /// Who receives what it sends.
    pub peer: Peer,
    /// The handshake was completed.
    pub established: bool,
    /// The connection is older than the programs.
    pub preexisting: bool,
    /// What the handshake said of Multipath TCP; nothing for a connection older than the programs.
    pub multipath: Multipath,
    /// It sent a FIN.
    pub fin_sent: bool,
    /// Payload bytes that it sent, each counted once.
    pub bytes_sent: u64,
    /// `bytes_received` of the kernel, without the FIN if one came; 0 before `Closed`.
    pub bytes_received: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// What its stream has come to so far.
    pub stream: StreamTotals,
}

/// The part that a TCP connection has in one of Multipath TCP (RFC 8684).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Multipath {
    /// None: both ends, or one of them, speak plain TCP.
    #[default]
    No,
    /// It is the first path, and the only one as long as no other joins.
    First,
    /// It joined another as a further path: what is sent comes here or there.
    Joined,
}

/// Which end opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Opener {
    /// This socket called `connect`.
    Here,
    /// This socket was accepted.
    Peer,
    /// The programs came later than the connection.
    Unknown,
}

/// Who receives what a socket sends, as the kernel's own lookup answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// It was not yet asked, or only found a listener and the handshake is still on.
    Unknown,
    /// Nobody in this network namespace: the other end is remote.
    Remote,
    /// A listener answered for the SYN; the connection was never settled.
    Listener {
        /// The listening socket.
        cookie: Cookie,
        /// Its cgroup.
        cgroup: CgroupId,
    },
    /// A socket in the same network namespace.
    Local {
        /// The receiving socket; 0 if it had sent nothing that was seen.
        cookie: Cookie,
        /// Its cgroup.
        cgroup: CgroupId,
    },
}

/// What a stream has come to: with these a reader knows whether it holds all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamTotals {
    /// Segments that were reported or refused: the index of the next one.
    pub segments: u32,
    /// Messages whose first byte was sent, reported or refused. Interim (1xx) responses count.
    pub messages: u32,
    /// The stream is followed as HTTP/1 up to here.
    pub followed: bool,
}

/// Bytes that a socket sent, in order, from anywhere in its stream.
///
/// What the kernel side proved to be body is left out: `elided` bytes follow `bytes`, and a
/// jump of `offset` between two segments of adjoining `index` was elided as well. A jump of
/// `index` is loss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The sending socket.
    pub cookie: Cookie,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// When it was sent.
    pub time: Timestamp,
    /// The count of segments before this one in its stream, refused ones included.
    pub index: u32,
    /// The position of the first byte in the stream (of one joined later: since it was joined).
    pub offset: u64,
    /// The bytes; empty where only progress is told.
    pub bytes: Vec<u8>,
    /// Body bytes directly behind them, sent at the same moment and left out.
    pub elided: u64,
    /// Messages begun before this segment, refused ones included; of a client's HTTP/2, streams
    /// that it opened.
    pub messages_before: u32,
    /// Where in `bytes` the first message begins, if one does; of HTTP/2, the first frame.
    pub first_message: Option<u16>,
    /// Bytes of the stream were not seen before this segment (a hole in the sequence numbers),
    /// and the position was found anew.
    pub after_gap: bool,
    /// The connection is older than the programs, or its position was given up and found anew
    /// at something that looks like a message.
    pub joined: bool,
    /// The bytes are HTTP/2 frames. What is left out then is the payload of DATA, or whole frames
    /// that say nothing of a request or a response (WINDOW_UPDATE, PING, PRIORITY, extensions).
    pub http2: bool,
}

/// How one direction of a connection with a remote end begins, where no [`Segment`] tells: what the
/// remote end sends, and of either direction that it is no TLS.
///
/// What is received comes in any order, also twice, and anybody on the network may have sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstBytes {
    /// The socket at this end.
    pub cookie: Cookie,
    /// Its cgroup.
    pub cgroup: CgroupId,
    /// When they were sent, or came.
    pub time: Timestamp,
    /// The remote end sent them.
    pub received: bool,
    /// The position of the first byte in the stream.
    pub offset: u64,
    /// The bytes; none if the first of the stream is not that of TLS.
    pub bytes: Option<Vec<u8>>,
}
