//! Raw records into observations. The only file that knows the layouts.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use agent_common::{
    endpoint::Endpoint,
    flow::{FlowRecord, FlowsClosedRecord, RawSocketRecord},
    process,
    record::Header,
    segment::SegmentHeader,
    socket::{Facts, ListenerRecord, SocketRecord},
};
use aya::Pod;
use thiserror::Error;

use super::{
    FirstBytes, Flow, FlowPlace, Listener, ListenerClosed, Multipath, Observation, Opener, Peer,
    Phase, Process, RawSocket, Receiver, Segment, Socket, StreamTotals, clock::Clock,
};

/// A record that the kernel side of this build does not write.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum Malformed {
    #[error("a record of {length} bytes is too short, expected {expected}")]
    Short { length: usize, expected: usize },
    #[error("no record has kind {0}")]
    Kind(u32),
    #[error("no turn has number {0}")]
    Phase(u32),
    #[error("no answer about the peer has number {0}")]
    Peer(u32),
    #[error("the first message begins at {first} of {length} bytes")]
    FirstMessage { first: u32, length: u32 },
}

/// A record of the ring of sockets, and the account that it was charged to.
pub(super) fn socket(record: &[u8], clock: &Clock) -> Result<(u32, Observation), Malformed> {
    let header: Header = read(record)?;
    let observation = match header.kind {
        SocketRecord::KIND => Observation::Socket(socket_facts(&read(record)?, clock)?),
        ListenerRecord::KIND => listener(&read(record)?, clock),
        FlowRecord::KIND => Observation::Flow(flow(&read(record)?, clock)),
        FlowsClosedRecord::KIND => {
            let closed: FlowsClosedRecord = read(record)?;
            Observation::FlowsClosed {
                cookie: closed.cookie,
                time: clock.wall(closed.header.time),
            }
        }
        RawSocketRecord::KIND => Observation::RawSocket(raw_socket(&read(record)?, clock)),
        kind => return Err(Malformed::Kind(kind)),
    };
    Ok((header.account, observation))
}

/// The account to which a place of the ring of streams was charged that was given up.
pub(super) fn given_up(place: &[u8]) -> Result<u32, Malformed> {
    Ok(read::<SegmentHeader>(place)?.account)
}

/// A record of the ring of streams, and the account that it was charged to.
pub(super) fn segment(record: &[u8], clock: &Clock) -> Result<(u32, Observation), Malformed> {
    let header: SegmentHeader = read(record)?;
    let length = header.length;
    let bytes = usize::try_from(length)
        .ok()
        .and_then(|length| record.get(size_of::<SegmentHeader>()..)?.get(..length))
        .ok_or(Malformed::Short {
            length: record.len(),
            expected: size_of::<SegmentHeader>().saturating_add(length as usize),
        })?;
    let is = |flag| header.flags & flag != 0;
    if is(SegmentHeader::RECEIVED | SegmentHeader::PLAIN) {
        let observation = Observation::FirstBytes(FirstBytes {
            cookie: header.cookie,
            cgroup: header.cgroup,
            time: clock.wall(header.time),
            received: is(SegmentHeader::RECEIVED),
            offset: header.offset,
            bytes: (!is(SegmentHeader::PLAIN)).then(|| bytes.to_vec()),
        });
        return Ok((header.account, observation));
    }
    let first_message = match header.first_message {
        SegmentHeader::NO_MESSAGE => None,
        first if first < length => u16::try_from(first).ok(),
        first => return Err(Malformed::FirstMessage { first, length }),
    };
    let observation = Observation::Segment(Segment {
        cookie: header.cookie,
        cgroup: header.cgroup,
        time: clock.wall(header.time),
        index: header.index,
        offset: header.offset,
        bytes: bytes.to_vec(),
        elided: header.elided,
        messages_before: header.messages_before,
        first_message,
        after_gap: is(SegmentHeader::AFTER_GAP),
        joined: is(SegmentHeader::JOINED),
        http2: is(SegmentHeader::HTTP2),
    });
    Ok((header.account, observation))
}

fn socket_facts(record: &SocketRecord, clock: &Clock) -> Result<Socket, Malformed> {
    let facts = &record.facts;
    let is = |flag| facts.flags & flag != 0;
    Ok(Socket {
        cookie: facts.cookie,
        phase: match record.phase {
            SocketRecord::SETTLED => Phase::Settled,
            SocketRecord::RELEASED => Phase::Released,
            SocketRecord::CLOSED => Phase::Closed,
            phase => return Err(Malformed::Phase(phase)),
        },
        time: clock.wall(record.header.time),
        opened: clock.wall(facts.opened),
        cgroup: facts.cgroup,
        opener: if is(Facts::OPENED_HERE) {
            Opener::Here
        } else if is(Facts::OPENED_BY_PEER) {
            Opener::Peer
        } else {
            Opener::Unknown
        },
        process: known_process(&facts.process),
        asked: known(facts.asked),
        local: address(facts.local),
        remote: address(facts.remote),
        sent: known(facts.source).zip(known(facts.destination)),
        peer: peer(facts)?,
        established: is(Facts::ESTABLISHED),
        preexisting: is(Facts::PREEXISTING),
        multipath: match (is(Facts::MULTIPATH), is(Facts::JOINS)) {
            (false, _) => Multipath::No,
            (true, false) => Multipath::First,
            (true, true) => Multipath::Joined,
        },
        fin_sent: is(Facts::FIN_SENT),
        bytes_sent: facts.bytes_sent,
        bytes_received: facts.bytes_received,
        retransmits: facts.retransmits,
        stream: StreamTotals {
            segments: facts.segments,
            messages: facts.messages,
            followed: is(Facts::FOLLOWED),
        },
    })
}

fn listener(record: &ListenerRecord, clock: &Clock) -> Observation {
    let (time, cgroup) = (clock.wall(record.header.time), record.cgroup);
    let process = process(&record.process);
    if record.closed != 0 {
        return Observation::ListenerClosed(ListenerClosed {
            cookie: (record.cookie != 0).then_some(record.cookie),
            time,
            cgroup,
            process,
        });
    }
    Observation::Listener(Listener {
        cookie: record.cookie,
        time,
        cgroup,
        process,
        local: address(record.local),
    })
}

const fn peer(facts: &Facts) -> Result<Peer, Malformed> {
    let (cookie, cgroup) = (facts.peer_cookie, facts.peer_cgroup);
    Ok(match facts.peer {
        Facts::PEER_UNKNOWN => Peer::Unknown,
        Facts::PEER_LISTENER => Peer::Listener { cookie, cgroup },
        Facts::PEER_REMOTE => Peer::Remote,
        Facts::PEER_LOCAL => Peer::Local { cookie, cgroup },
        peer => return Err(Malformed::Peer(peer)),
    })
}

fn flow(record: &FlowRecord, clock: &Clock) -> Flow {
    let is = |flag| record.flags & flag != 0;
    let mut payload = Vec::with_capacity(FlowRecord::PAYLOAD);
    for word in record.payload {
        // The word stands in memory as it does in the datagram.
        payload.extend_from_slice(&word.to_ne_bytes());
    }
    payload.truncate(record.length as usize);
    Flow {
        cookie: record.cookie,
        time: clock.wall(record.header.time),
        cgroup: record.cgroup,
        process: known_process(&record.process),
        sent: is(FlowRecord::SENT),
        inside: is(FlowRecord::INSIDE),
        receiver: (record.peer_cgroup != 0).then(|| Receiver {
            cookie: (record.peer_cookie != 0).then_some(record.peer_cookie),
            cgroup: record.peer_cgroup,
            process: known_process(&record.peer_process),
        }),
        source: address(record.source),
        destination: address(record.destination),
        connected: known(record.connected),
        length: record.length,
        payload,
        place: FlowPlace {
            number: record.place,
            account: record.header.account,
        },
    }
}

fn raw_socket(record: &RawSocketRecord, clock: &Clock) -> RawSocket {
    RawSocket {
        cookie: record.cookie,
        time: clock.wall(record.header.time),
        cgroup: record.cgroup,
        process: process(&record.process),
        ipv6: record.family == u32::from(rustix::net::AddressFamily::INET6.as_raw()),
        protocol: record.protocol,
    }
}

fn known_process(known: &process::Process) -> Option<Process> {
    (known.thread_group != 0).then(|| process(known))
}

fn process(process: &process::Process) -> Process {
    let command = process.command.split(|byte| *byte == 0).next();
    Process {
        pid: process.thread_group,
        user: process.user,
        command: String::from_utf8_lossy(command.unwrap_or_default()).into(),
    }
}

fn known(endpoint: Endpoint) -> Option<SocketAddr> {
    (endpoint.known != 0).then(|| address(endpoint))
}

/// IPv4 in IPv4's own form.
fn address(endpoint: Endpoint) -> SocketAddr {
    let mut octets = [0; 16];
    for (four, word) in octets.chunks_exact_mut(4).zip(endpoint.address) {
        // The word stands in memory as it does in the packet.
        four.copy_from_slice(&word.to_ne_bytes());
    }
    let address = IpAddr::V6(Ipv6Addr::from(octets)).to_canonical();
    SocketAddr::new(address, endpoint.port)
}

/// The plain value at the beginning of a record, wherever that lies.
fn read<T: Pod>(record: &[u8]) -> Result<T, Malformed> {
    let expected = size_of::<T>();
    let bytes = record.get(..expected).ok_or(Malformed::Short {
        length: record.len(),
        expected,
    })?;
    // SAFETY: as many bytes as a `T` has, and any bytes are a `T`.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

#[cfg(test)]
mod tests;
