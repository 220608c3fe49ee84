//! The ring of sockets.

use agent_common::{
    account::{RING_SOCKETS, Refusal, ring_bytes},
    endpoint::Endpoint,
    flow::{FlowRecord, FlowsClosedRecord, RawSocketRecord},
    process::Process,
    record::Header,
    socket::{ListenerRecord, SocketRecord},
};
use aya_ebpf::{btf_maps::RingBuf, macros::btf_map, maps::ring_buf::RingBufEntry};

use crate::{
    account::{Charged, Part},
    ring::{self, QUIET},
    storage::{Socket, boot_time},
    stream,
};

#[btf_map]
static SOCKETS: RingBuf<SocketRecord, { 1 << 20 }> = RingBuf::new();

/// Ships the facts of a socket; false if that was refused.
///
/// That one is settled can be told later, that it is closed only now.
#[inline(always)]
pub(crate) fn socket(socket: &mut Socket, phase: u32) -> bool {
    let charged = Charged::of(socket.charged_cgroup());
    stream::sum_up(socket);
    let part = match phase {
        SocketRecord::SETTLED => Part::Half,
        _ => Part::Whole,
    };
    ship(charged, part, |time| SocketRecord {
        header: Header {
            kind: SocketRecord::KIND,
            account: charged.0,
            time,
        },
        phase,
        reserved: 0,
        facts: socket.facts,
    })
}

/// Ships that a socket listens, or was closed.
#[inline(always)]
pub(crate) fn listener(socket: &Socket, closed: bool) {
    let charged = Charged::of(socket.origin);
    ship(charged, Part::Whole, |time| ListenerRecord {
        header: Header {
            kind: ListenerRecord::KIND,
            account: charged.0,
            time,
        },
        cookie: socket.facts.cookie,
        cgroup: socket.origin,
        process: socket.facts.process,
        local: socket.facts.local,
        closed: u32::from(closed),
    });
}

/// Ships that a process closed a listening socket of which nothing is known.
#[inline(always)]
pub(crate) fn old_listener(cgroup: u64, process: Process) {
    let charged = Charged::of(cgroup);
    ship(charged, Part::Whole, |time| ListenerRecord {
        header: Header {
            kind: ListenerRecord::KIND,
            account: charged.0,
            time,
        },
        cookie: 0,
        cgroup,
        process,
        local: Endpoint::default(),
        closed: 1,
    });
}

/// Ships that a UDP socket was closed.
#[inline(always)]
pub(crate) fn flows_closed(cgroup: u64, cookie: u64) {
    let charged = Charged::of(cgroup);
    ship(charged, Part::Whole, |time| FlowsClosedRecord {
        header: Header {
            kind: FlowsClosedRecord::KIND,
            account: charged.0,
            time,
        },
        cookie,
    });
}

/// Ships that a raw socket was made.
#[inline(always)]
pub(crate) fn raw_socket(cgroup: u64, record: impl FnOnce(Header) -> RawSocketRecord) {
    let charged = Charged::of(cgroup);
    ship(charged, Part::Whole, |time| {
        record(Header {
            kind: RawSocketRecord::KIND,
            account: charged.0,
            time,
        })
    });
}

/// Room for the first datagram of a flow, which is charged. A flood of them leaves half of the
/// ration for what connections do.
#[inline(always)]
pub(crate) fn flow_room(charged: Charged) -> Option<RingBufEntry<FlowRecord>> {
    let bytes = ring_bytes(size_of::<FlowRecord>());
    let used = ring::used(&raw const SOCKETS);
    if charged.exhausted(RING_SOCKETS, used, bytes, Part::Half) {
        return None;
    }
    let room = SOCKETS.reserve_untyped::<FlowRecord>(0)?;
    charged.charge(RING_SOCKETS, bytes);
    Some(room)
}

/// Hands over a record that is filled.
#[inline(always)]
pub(crate) fn hand_over<R>(room: RingBufEntry<R>) {
    room.submit(QUIET);
}

#[inline(always)]
fn ship<R: 'static>(charged: Charged, part: Part, record: impl FnOnce(u64) -> R) -> bool {
    let bytes = ring_bytes(size_of::<R>());
    if charged.exhausted(RING_SOCKETS, ring::used(&raw const SOCKETS), bytes, part) {
        charged.refuse(Refusal::SocketsRation);
        return false;
    }
    let Some(mut place) = SOCKETS.reserve_untyped::<R>(0) else {
        charged.refuse(Refusal::SocketsFull);
        return false;
    };
    charged.charge(RING_SOCKETS, bytes);
    place.write(record(boot_time()));
    place.submit(QUIET);
    true
}
