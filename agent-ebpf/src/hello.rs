//! How a direction begins: of TLS all is shipped until its hello is whole, of anything else that it
//! is no TLS. No more of it is looked at.
//!
//! What a socket sends comes in order. What it receives from a remote end does not, and packets of
//! one socket may run on two CPUs at once: each is shipped with its position, and put together
//! elsewhere. What the socket has not taken over was not checked, not even its checksum.

use agent_common::segment::SegmentHeader;
use aya_ebpf::{
    EbpfContext,
    bindings::{bpf_sock, bpf_tcp_sock},
    helpers::generated::{bpf_skb_cgroup_id, bpf_skb_load_bytes, bpf_tcp_sock},
    programs::SkBuffContext,
};

use crate::{
    account::Charged,
    block::{cut, load},
    context::field,
    egress::whole_socket,
    packet::Packet,
    ring,
    storage::{Received, Socket, boot_time, find, is_excluded},
    stream,
};

const SMALL: usize = SegmentHeader::CLASS_SMALL;
const LARGE: usize = SegmentHeader::CLASS_LARGE;
const MOST: u32 = SegmentHeader::HELLO_BYTES as u32;

// One record or two.
const _: () = assert!(SegmentHeader::HELLO_BYTES <= 2 * LARGE);

/// Packets with a part of a hello that are looked at: an attacker may send them again and again.
const MOST_PIECES: u32 = 16;

/// Ships what is next of the hello that a socket sends.
#[inline(always)]
pub(crate) fn sent(context: &SkBuffContext) {
    let Some(socket) = whole_socket(context).and_then(find) else {
        return;
    };
    let end = context.len();
    let left = end.wrapping_sub(socket.stream.cursor);
    // It is below `MOST`, or the hello is over.
    let at = (socket.facts.bytes_sent as u32).wrapping_sub(left);
    if at == 0 {
        socket.stream.hello_end = extent(context, socket.stream.cursor, left);
    }
    let wanted = socket.stream.hello_end.wrapping_sub(at).min(LARGE as u32);
    let Some((length, rest)) = cut(socket, end, wanted) else {
        return;
    };
    let is_over = at + length >= socket.stream.hello_end;
    let charged = Charged(socket.account);
    let header = SegmentHeader {
        cookie: socket.facts.cookie,
        cgroup: socket.facts.cgroup,
        time: 0,
        offset: u64::from(at),
        elided: u64::from(if is_over { rest } else { 0 }),
        index: socket.facts.segments,
        messages_before: socket.stream.messages(),
        account: charged.0,
        first_message: SegmentHeader::NO_MESSAGE,
        length,
        flags: socket.stream.flags,
    };
    let shipped = ship(context, socket.stream.cursor, charged, header);
    socket.facts.segments += 1;
    socket.stream.flags = 0;
    socket.stream.cursor += length;
    if is_over || !shipped {
        socket.stream.end_hello();
    } else if rest > 0 {
        stream::go(context, socket, stream::STAGE_HELLO);
    }
}

/// Ships that what a socket sends is no TLS.
#[inline(always)]
pub(crate) fn sends_plain(socket: &mut Socket) {
    socket.stream.end_hello();
    tell_plain(
        socket.facts.cookie,
        socket.facts.cgroup,
        Charged(socket.account),
        0,
    );
}

/// A packet comes in from elsewhere.
#[inline(always)]
pub(crate) fn received(context: &SkBuffContext, sk: *mut bpf_sock) {
    let Some(socket) = find(sk) else {
        return;
    };
    if socket.received.end == 0 {
        return;
    }
    let Some(packet) = Packet::parse(context) else {
        return;
    };
    take(context, sk, &packet, socket);
}

#[inline(always)]
fn take(context: &SkBuffContext, sk: *mut bpf_sock, packet: &Packet, socket: &mut Socket) {
    let received = &mut socket.received;
    let there = packet.length();
    let at = packet.sequence.wrapping_sub(received.first);
    let taken = taken_over(sk, received);
    if taken >= received.end || received.pieces >= MOST_PIECES {
        received.end = 0;
        return;
    }
    if there == 0 || at >= received.end || at.wrapping_add(there) <= taken {
        return;
    }
    // SAFETY: the context is the one of this run.
    let cgroup = unsafe { bpf_skb_cgroup_id(context.skb.skb) };
    if is_excluded(cgroup) {
        received.end = 0;
        return;
    }
    let charged = Charged::of(cgroup);
    if at == 0 {
        if first_byte(context, packet.payload) != SegmentHeader::HANDSHAKE {
            received.end = 0;
            tell_plain(
                socket.facts.cookie,
                cgroup,
                charged,
                SegmentHeader::RECEIVED,
            );
            return;
        }
        received.end = extent(context, packet.payload, there);
    }
    received.pieces += 1;
    let whole = there.min(received.end.wrapping_sub(at));
    let length = whole.min(LARGE as u32);
    let header = SegmentHeader {
        cookie: socket.facts.cookie,
        cgroup,
        time: 0,
        offset: u64::from(at),
        account: charged.0,
        first_message: SegmentHeader::NO_MESSAGE,
        length,
        flags: SegmentHeader::RECEIVED,
        ..SegmentHeader::default()
    };
    ship(context, packet.payload, charged, header);
    if whole > length {
        let header = SegmentHeader {
            offset: u64::from(at + length),
            length: whole - length,
            ..header
        };
        ship(context, packet.payload + length, charged, header);
    }
}

/// How much of what is received the socket has taken over, in order.
#[inline(always)]
fn taken_over(sk: *mut bpf_sock, received: &Received) -> u32 {
    // SAFETY: the socket is a whole one.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return 0;
    }
    field!(tcp, bpf_tcp_sock, rcv_nxt).wrapping_sub(received.first)
}

/// Where the hello ends that begins at `from`, of which `there` bytes are there, counted from its
/// first byte; at most `MOST`, and that also where it cannot be told. What is none ends with the
/// packet.
#[inline(always)]
fn extent(context: &SkBuffContext, from: u32, there: u32) -> u32 {
    /// Of the record: type, version, length. Of the message: type, length.
    const HEADERS: u32 = 5 + 4;
    const CLIENT_HELLO: u64 = 1;
    const SERVER_HELLO: u64 = 2;
    if there < HEADERS {
        return MOST;
    }
    let mut bytes = [0_u64; 2];
    // SAFETY: there is room for the headers.
    unsafe { bpf_skb_load_bytes(context.as_ptr(), from, bytes.as_mut_ptr().cast(), HEADERS) };
    let first = u64::from_be(bytes[0]);
    let (major, kind) = (first >> 48 & 0xff, first >> 16 & 0xff);
    if major != 3 || kind != CLIENT_HELLO && kind != SERVER_HELLO {
        return there.min(MOST);
    }
    let record = (first >> 24) as u32 & 0xffff;
    let message = ((first as u32 & 0xffff) << 8) | u32::from(bytes[1].to_ne_bytes()[0]);
    if message + 4 > record {
        // It goes on in other records.
        return MOST;
    }
    (message + HEADERS).min(MOST)
}

/// The byte at `from`, or 0.
#[inline(always)]
pub(crate) fn first_byte(context: &SkBuffContext, from: u32) -> u8 {
    let mut byte = 0_u64;
    // SAFETY: there is room for a byte.
    unsafe { bpf_skb_load_bytes(context.as_ptr(), from, (&raw mut byte).cast(), 1) };
    byte.to_ne_bytes()[0]
}

/// Ships `header.length` bytes of the packet; false if there is no room in the ring.
#[inline(always)]
fn ship(context: &SkBuffContext, from: u32, charged: Charged, header: SegmentHeader) -> bool {
    if header.length <= SMALL as u32 {
        ship_of_class::<SMALL, { SMALL / 8 }>(context, from, charged, header)
    } else {
        ship_of_class::<LARGE, { LARGE / 8 }>(context, from, charged, header)
    }
}

#[inline(always)]
fn ship_of_class<const N: usize, const WORDS: usize>(
    context: &SkBuffContext,
    from: u32,
    charged: Charged,
    mut header: SegmentHeader,
) -> bool {
    let Some(mut place) = ring::reserve::<N>(charged) else {
        return false;
    };
    let record = place.as_mut_ptr();
    header.time = boot_time();
    // SAFETY: within the record.
    let words = unsafe { &raw mut (*record).bytes }.cast::<[u64; WORDS]>();
    if load(context, from, words, header.length).is_none() {
        ring::give_up(charged, place);
        return false;
    }
    // SAFETY: within the record.
    unsafe { (*record).header = header };
    ring::submit(charged, place);
    true
}

#[inline(always)]
fn tell_plain(cookie: u64, cgroup: u64, charged: Charged, flags: u32) {
    let Some(mut place) = ring::reserve::<0>(charged) else {
        return;
    };
    // SAFETY: within the record.
    unsafe {
        (*place.as_mut_ptr()).header = SegmentHeader {
            cookie,
            cgroup,
            time: boot_time(),
            account: charged.0,
            first_message: SegmentHeader::NO_MESSAGE,
            flags: flags | SegmentHeader::PLAIN,
            ..SegmentHeader::default()
        };
    }
    ring::submit(charged, place);
}
