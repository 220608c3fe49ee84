//! The ring of streams.

use agent_common::{
    account::{RING_STREAMS, Refusal, ring_bytes},
    segment::{SegmentHeader, SegmentRecord},
};
use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_NO_WAKEUP},
    btf_maps::RingBuf,
    helpers::generated::bpf_ringbuf_query,
    macros::btf_map,
    maps::ring_buf::RingBufEntry,
};

use crate::{
    account::{Charged, Part},
    storage::{Socket, Stream, boot_time},
};

/// The agent polls, so records wake nobody.
pub(crate) const QUIET: u64 = BPF_RB_NO_WAKEUP as u64;

/// Its size is set by the loader.
#[btf_map]
static STREAMS: RingBuf<SegmentHeader, 4096> = RingBuf::new();

/// Room for a record with `N` bytes; if there is none, that is booked.
#[inline(always)]
pub(crate) fn reserve<const N: usize>(charged: Charged) -> Option<RingBufEntry<SegmentRecord<N>>> {
    let bytes = ring_bytes(size_of::<SegmentRecord<N>>());
    if charged.exhausted(RING_STREAMS, used(&raw const STREAMS), bytes, Part::Whole) {
        charged.refuse(Refusal::StreamsRation);
        return None;
    }
    let place = STREAMS.reserve_untyped::<SegmentRecord<N>>(0);
    if place.is_none() {
        charged.refuse(Refusal::StreamsFull);
    }
    place
}

/// Hands over a record that is filled.
#[inline(always)]
pub(crate) fn submit<const N: usize>(charged: Charged, place: RingBufEntry<SegmentRecord<N>>) {
    charged.charge(RING_STREAMS, ring_bytes(size_of::<SegmentRecord<N>>()));
    place.submit(QUIET);
}

/// Gives a place up. It is charged all the same: it takes up room until the agent has passed it.
#[inline(always)]
pub(crate) fn give_up<const N: usize>(charged: Charged, mut place: RingBufEntry<SegmentRecord<N>>) {
    // SAFETY: within the record.
    unsafe { (*place.as_mut_ptr()).header.account = charged.0 };
    charged.charge(RING_STREAMS, ring_bytes(size_of::<SegmentRecord<N>>()));
    place.discard(QUIET);
}

/// How many bytes of a ring are not free.
#[inline(always)]
pub(crate) fn used<R>(ring: *const R) -> u64 {
    // SAFETY: the map lives as long as the program; the verifier checks that it is a ring.
    unsafe { bpf_ringbuf_query(ring.cast_mut().cast(), u64::from(BPF_RB_AVAIL_DATA)) }
}

/// Ships that a message ended where the cursor is, in a packet that ends at `end`.
#[inline(always)]
pub(crate) fn progress(socket: &mut Socket, end: u32) {
    let charged = Charged(socket.account);
    let http2 = if socket.stream.protocol == Stream::HTTP2 {
        SegmentHeader::HTTP2
    } else {
        0
    };
    if let Some(mut place) = reserve::<0>(charged) {
        place.write(SegmentRecord {
            header: SegmentHeader {
                cookie: socket.facts.cookie,
                cgroup: socket.facts.cgroup,
                time: boot_time(),
                offset: socket.facts.bytes_sent - u64::from(end - socket.stream.cursor),
                elided: 0,
                index: socket.facts.segments,
                messages_before: socket.stream.messages(),
                account: charged.0,
                first_message: SegmentHeader::NO_MESSAGE,
                length: 0,
                flags: socket.stream.flags | http2,
            },
            bytes: [],
        });
        submit(charged, place);
        socket.stream.flags = 0;
    }
    socket.facts.segments += 1;
}
