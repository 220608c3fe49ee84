//! What a socket sends, followed by its sequence numbers.
//!
//! [`advance`] finds the part of a packet that is new and not known to be body. That is cut into
//! blocks, each in a run of its own: they call each other, see [`next_block`].
//!
//! ```text
//! UNKNOWN ──▶ HTTP1 ──▶ UNKNOWN (101, or its peer answered 101) ──▶ HTTP2 or HTTP1
//!    ├──────▶ HTTP2
//!    └──────▶ TLS ────▶ HTTP1 (of which nothing is looked at), once its hello is whole
//! ```
//!
//! What goes to a remote end is looked at only so far as to know whether it is TLS.

use agent_common::{
    account::Refusal, frames::Frames, framing::Mode, segment::SegmentHeader, socket::Facts,
};
use aya_ebpf::{btf_maps::ProgramArray, macros::btf_map, programs::SkBuffContext};

use crate::{
    account::Charged,
    packet::Packet,
    ring,
    storage::{Socket, Stream},
};

/// The programs that look at a packet's bytes, in the order of the constants below. Filled by the
/// loader.
#[btf_map]
static STAGES: ProgramArray<12> = ProgramArray::new();

const STAGE_SMALL: u32 = 0;
const STAGE_LARGE: u32 = 1;
const STAGE_HUGE: u32 = 2;
pub(crate) const STAGE_REFUSED: u32 = 3;
const STAGE_IDENTIFY: u32 = 4;
const STAGE_FRAMES_TINY: u32 = 5;
const STAGE_FRAMES_SMALL: u32 = 6;
const STAGE_FRAMES_LARGE: u32 = 7;
const STAGE_FRAMES_HUGE: u32 = 8;
pub(crate) const STAGE_FRAMES_REFUSED: u32 = 9;
pub(crate) const STAGE_HELLO: u32 = 10;
const STAGE_DATAGRAM: u32 = 11;

/// The blocks of a packet that are at most large. With huge ones for the others, the 33 programs
/// that may call each other suffice for the longest packet (about 184 KiB).
const LARGE_BLOCKS: u32 = 10;
/// How many programs may call each other.
const CALLS: u32 = 33;

/// What a huge block of HTTP/2 follows at least.
const FRAMES_HUGE: usize = Frames::followed(SegmentHeader::CLASS_HUGE / 8);

/// Counts what a packet adds to the stream. True if a part of it has to be looked at: from
/// `cursor` on.
#[inline(always)]
pub(crate) fn advance(packet: &Packet, socket: &mut Socket) -> bool {
    let length = packet.length();
    let end = packet.sequence.wrapping_add(length);
    let new = end.wrapping_sub(socket.next_sequence);
    if (new as i32) < 0 {
        return false;
    }
    socket.next_sequence = end;
    socket.facts.bytes_sent += u64::from(new);
    if packet.has(Packet::FIN) {
        socket.set(Facts::FIN_SENT);
        // It takes a number of its own.
        socket.next_sequence = end.wrapping_add(1);
    }
    if new == 0 || !is_looked_at(socket) {
        return false;
    }
    if new > length {
        miss(&mut socket.stream, new - length);
        if !is_looked_at(socket) {
            return false;
        }
    }
    // Old bytes, sent again, stand before the new ones.
    socket.stream.cursor = packet.end - new.min(length);
    socket.stream.blocks = 0;
    if socket.stream.protocol == Stream::TLS {
        return true;
    }
    if socket.stream.protocol == Stream::HTTP2 {
        return pass_payload(packet.end, socket);
    }
    pass_body(packet.end, socket)
}

#[inline(always)]
fn is_looked_at(socket: &Socket) -> bool {
    // One path of several is no stream of messages.
    !socket.is(Facts::JOINS)
        && (socket.facts.peer != Facts::PEER_REMOTE || socket.stream.is_beginning())
}

/// Bytes were not seen. That is no loss if they are body.
#[inline(always)]
fn miss(stream: &mut Stream, bytes: u32) {
    if stream.protocol == Stream::TLS {
        stream.end_hello();
        return;
    }
    let bytes = u64::from(bytes);
    let http2 = stream.protocol == Stream::HTTP2;
    if http2 && stream.frames.skippable() >= bytes {
        stream.frames.skip(bytes);
        return;
    }
    if !http2 && stream.framing.skippable() >= bytes {
        stream.framing.skip(bytes);
        return;
    }
    stream.flags |= SegmentHeader::AFTER_GAP;
    if http2 || matches!(stream.framing.mode(), Mode::Framed | Mode::UntilClose) {
        join(stream);
    }
}

/// The position is not known: a message, or a frame, is looked for at the beginning of each
/// segment.
#[inline(always)]
pub(crate) fn join(stream: &mut Stream) {
    if stream.protocol == Stream::HTTP2 {
        stream.frames.lose();
    } else if stream.protocol == Stream::TLS {
        stream.end_hello();
    } else {
        stream.framing.rejoin();
    }
    stream.flags |= SegmentHeader::JOINED;
}

/// Passes over what is known to be body. True if more is left.
#[inline(always)]
fn pass_body(end: u32, socket: &mut Socket) -> bool {
    let stream = &mut socket.stream;
    if stream.handed_over != 0 && matches!(stream.framing.mode(), Mode::Framed) {
        stream.framing.hand_over();
        stream.protocol = Stream::UNKNOWN;
    }
    if stream.protocol == Stream::UNKNOWN {
        return true;
    }
    match stream.framing.mode() {
        Mode::Opaque => return false,
        Mode::Raw => return true,
        Mode::Framed | Mode::UntilClose | Mode::Lost => {}
    }
    let left = u64::from(end - stream.cursor);
    let body = stream.framing.skippable().min(left);
    let ended = stream.framing.skip(body);
    stream.cursor += body as u32;
    if body < left {
        return true;
    }
    if ended {
        // Nothing follows that would tell that the message ended.
        ring::progress(socket, end);
    }
    false
}

/// Passes over what is known to be payload that is not needed. True if more is left.
#[inline(always)]
fn pass_payload(end: u32, socket: &mut Socket) -> bool {
    let stream = &mut socket.stream;
    let left = u64::from(end - stream.cursor);
    let payload = stream.frames.skippable().min(left);
    let ended = stream.frames.skip(payload);
    stream.cursor += payload as u32;
    if ended {
        // What follows may be left out too.
        ring::progress(socket, end);
    }
    payload < left
}

/// Goes on with the next block of the packet, in another program. Does not return.
#[inline(always)]
pub(crate) fn next_block(context: &SkBuffContext, socket: &mut Socket, end: u32) {
    let stream = &socket.stream;
    if stream.protocol == Stream::UNKNOWN || stream.frames.is_lost() || stream.frames.is_unproven()
    {
        socket.stream.blocks += 1;
        go(context, socket, STAGE_IDENTIFY);
    } else if stream.protocol == Stream::TLS {
        go(context, socket, STAGE_HELLO);
    } else if stream.protocol == Stream::HTTP2 {
        next_frames(context, socket, end, Expected::Little);
    } else {
        next_messages(context, socket, end);
    }
}

/// Goes on with a block of HTTP/1.
///
/// A packet that needs more blocks than programs may call each other in a row is too intricate:
/// its position is given up.
#[inline(always)]
pub(crate) fn next_messages(context: &SkBuffContext, socket: &mut Socket, end: u32) {
    let left = end.wrapping_sub(socket.stream.cursor);
    let stage = if left <= SegmentHeader::CLASS_SMALL as u32 {
        STAGE_SMALL
    } else if socket.stream.blocks < LARGE_BLOCKS {
        STAGE_LARGE
    } else {
        STAGE_HUGE
    };
    socket.stream.blocks += 1;
    go(context, socket, stage);
}

/// How much of what follows will have to be shipped, as it seems.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Perhaps only the header of a frame.
    Little,
    /// All of it.
    Much,
}

/// Goes on with a block of HTTP/2. It is no huge one as long as huge ones can look at
/// the rest.
#[inline(always)]
pub(crate) fn next_frames(
    context: &SkBuffContext,
    socket: &mut Socket,
    end: u32,
    expected: Expected,
) {
    let left = end.wrapping_sub(socket.stream.cursor);
    let calls = CALLS.saturating_sub(socket.stream.blocks + 1);
    let stage = if left > calls * FRAMES_HUGE as u32 {
        STAGE_FRAMES_HUGE
    } else if left <= SegmentHeader::CLASS_TINY as u32 || expected == Expected::Little {
        STAGE_FRAMES_TINY
    } else if left <= SegmentHeader::CLASS_SMALL as u32 {
        STAGE_FRAMES_SMALL
    } else {
        STAGE_FRAMES_LARGE
    };
    socket.stream.blocks += 1;
    go(context, socket, stage);
}

/// Goes on in a certain stage.
#[inline(always)]
pub(crate) fn go(context: &SkBuffContext, socket: &mut Socket, stage: u32) {
    // SAFETY: nothing here waits to be dropped.
    unsafe { STAGES.tail_call(context, stage) };
    give_up(socket);
}

/// Goes on with a packet of UDP.
#[inline(always)]
pub(crate) fn go_to_datagram(context: &SkBuffContext) {
    // SAFETY: nothing here waits to be dropped.
    unsafe { STAGES.tail_call(context, STAGE_DATAGRAM) };
}

/// The rest of the packet cannot be followed: its position is given up.
#[inline(always)]
pub(crate) fn give_up(socket: &mut Socket) {
    Charged(socket.account).refuse(Refusal::Intricate);
    socket.facts.segments += 1;
    socket.stream.flags |= SegmentHeader::AFTER_GAP;
    join(&mut socket.stream);
}

/// Brings the facts up to date with the stream.
#[inline(always)]
pub(crate) fn sum_up(socket: &mut Socket) {
    let stream = &socket.stream;
    socket.facts.messages = stream.messages();
    socket.facts.flags &= !Facts::FOLLOWED;
    let followed = if stream.protocol == Stream::HTTP2 {
        !stream.frames.is_lost()
    } else if stream.protocol == Stream::TLS {
        false
    } else {
        matches!(stream.framing.mode(), Mode::Framed | Mode::UntilClose)
            && !stream.framing.joining()
    };
    if followed && socket.facts.peer != Facts::PEER_REMOTE {
        socket.facts.flags |= Facts::FOLLOWED;
    }
}
