//! What a stream is, where that is not known: at its beginning, behind an upgrade, and where its
//! position was lost.

use agent_common::{
    frames::{Boundary, Evidence, Header, Opening},
    framing::Mode,
    segment::SegmentHeader,
    socket::Facts,
};
use aya_ebpf::{
    EbpfContext,
    bindings::{bpf_sock, bpf_tcp_sock},
    helpers::generated::{bpf_skb_load_bytes, bpf_tcp_sock},
    programs::SkBuffContext,
};

use crate::{
    block::bounded,
    context::field,
    egress, hello,
    storage::{Socket, Stream, find},
    stream::{self, Expected},
};

/// Looks at the next bytes of a packet, and goes on with the block that they begin.
#[inline(always)]
pub(crate) fn identify(context: &SkBuffContext) {
    let Some(sk) = egress::whole_socket(context) else {
        return;
    };
    let Some(socket) = find(sk) else {
        return;
    };
    let end = context.len();
    if socket.stream.frames.is_lost() || socket.stream.framing.joining() {
        if begins_frames(context, sk, socket, end) {
            socket.stream.frames.join();
            socket.stream.protocol = Stream::HTTP2;
        } else if !may_begin_text(context, socket) {
            return;
        }
    } else {
        open(context, socket, end);
    }
    match socket.stream.protocol {
        Stream::HTTP2 if socket.stream.frames.is_lost() => {}
        Stream::HTTP2 => stream::next_frames(context, socket, end, Expected::Little),
        Stream::TLS => stream::go(context, socket, stream::STAGE_HELLO),
        _ if socket.stream.framing.mode() == Mode::Opaque => {}
        _ => stream::next_messages(context, socket, end),
    }
}

/// Whether a message of HTTP/1 may begin with the next byte, or with the line break before one.
#[inline(always)]
fn may_begin_text(context: &SkBuffContext, socket: &Socket) -> bool {
    let byte = hello::first_byte(context, socket.stream.cursor);
    byte.is_ascii_graphic() || byte == b'\r' || byte == b'\n'
}

/// Judges a stream by its first bytes.
#[inline(always)]
fn open(context: &SkBuffContext, socket: &mut Socket, end: u32) {
    let is_first = socket.facts.bytes_sent == u64::from(end.wrapping_sub(socket.stream.cursor));
    let stream = &mut socket.stream;
    // One word more than is looked at: a power of two, for `bounded`.
    let mut first = [0_u64; 4];
    let most = size_of::<[u64; 3]>() as u32;
    stream.length = end.wrapping_sub(stream.cursor).min(most);
    // SAFETY: the socket's own state. As in `block::cut`.
    let length = unsafe { (&raw const stream.length).read_volatile() };
    if length == 0 {
        return;
    }
    let length = bounded(length, size_of_val(&first) as u32);
    // SAFETY: there is room for `length` bytes.
    unsafe {
        bpf_skb_load_bytes(
            context.as_ptr(),
            stream.cursor,
            first.as_mut_ptr().cast(),
            length,
        )
    };
    let [a, b, c, _] = first;
    if is_first && a.to_ne_bytes()[0] == SegmentHeader::HANDSHAKE {
        stream.protocol = Stream::TLS;
        return;
    }
    if socket.facts.peer == Facts::PEER_REMOTE {
        hello::sends_plain(socket);
        return;
    }
    let was_unproven = stream.frames.is_unproven();
    let was_in_preface = stream.frames.is_in_preface();
    if stream.frames.open([a, b, c], u64::from(length)) != Opening::Other {
        stream.protocol = Stream::HTTP2;
        return;
    }
    stream.protocol = Stream::HTTP1;
    if was_in_preface {
        // It may be a request of a method that begins like it.
        stream.framing.give_up();
    } else if was_unproven {
        stream.framing.hand_over();
    }
}

/// Whether frames begin with the next byte.
#[inline(always)]
fn begins_frames(context: &SkBuffContext, sk: *mut bpf_sock, socket: &Socket, end: u32) -> bool {
    let mut boundary = Boundary::default();
    let mut at = socket.stream.cursor;
    while !boundary.is_proven(Evidence::None) {
        let Some(header) = header(context, at, end) else {
            // What is visible does not contradict.
            return boundary.is_proven(evidence(sk, socket, end));
        };
        if !boundary.next(&header) {
            return false;
        }
        at = at.wrapping_add(Header::LENGTH as u32 + header.length() as u32);
    }
    true
}

/// The header at a position of the packet, if all of it is in there.
#[inline(always)]
fn header(context: &SkBuffContext, at: u32, end: u32) -> Option<Header> {
    if at.wrapping_add(Header::LENGTH as u32) > end {
        return None;
    }
    let mut bytes = [0_u64; 2];
    // SAFETY: there is room for a header.
    let failed = unsafe {
        bpf_skb_load_bytes(
            context.as_ptr(),
            at,
            bytes.as_mut_ptr().cast(),
            Header::LENGTH as u32,
        )
    };
    (failed == 0).then(|| Header::new(u64::from_le(bytes[0]), bytes[1].to_ne_bytes()[0]))
}

/// Whether everything before this packet was acknowledged.
#[inline(always)]
fn evidence(sk: *mut bpf_sock, socket: &Socket, end: u32) -> Evidence {
    // SAFETY: the socket is a whole one.
    let tcp = unsafe { bpf_tcp_sock(sk) };
    if tcp.is_null() {
        return Evidence::None;
    }
    let acknowledged = field!(tcp, bpf_tcp_sock, snd_una);
    let here = end.wrapping_sub(socket.stream.cursor);
    if socket.next_sequence.wrapping_sub(acknowledged) == here {
        Evidence::Write
    } else {
        Evidence::None
    }
}
