//! Blocks of HTTP/1, each looked at in a run of its own.

use agent_common::{
    framing::{Mode, Scan},
    segment::SegmentHeader,
};
use aya_ebpf::{EbpfContext, helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};

use crate::{
    account::{self, Charged},
    egress, peer, ring,
    scratch::{self, Scratch},
    storage::{Socket, Stream, boot_time, find},
    stream,
};

/// Ships the next block, and leaves out what of the rest of the packet is body.
#[inline(always)]
pub(crate) fn ship<const N: usize, const WORDS: usize>(context: &SkBuffContext) {
    let Some(socket) = egress::whole_socket(context).and_then(find) else {
        return;
    };
    let end = context.len();
    let Some((length, rest)) = cut(socket, end, N as u32) else {
        return;
    };
    let charged = Charged(socket.account);
    let Some(mut place) = ring::reserve::<N>(charged) else {
        socket.facts.segments += 1;
        stream::go(context, socket, stream::STAGE_REFUSED);
        return;
    };
    let record = place.as_mut_ptr();
    let time = boot_time();
    let messages_before = socket.stream.messages();
    // SAFETY: within the record.
    let bytes = unsafe { &raw mut (*record).bytes }.cast::<[u64; WORDS]>();
    let scan = match look(context, socket, bytes, length) {
        Some(scan) if !is_lost(socket) => scan,
        _ => {
            ring::give_up(charged, place);
            return;
        }
    };
    let scanned = u32::from(scan.scanned);
    let elided = pass(socket, length, rest, scanned);
    let header = SegmentHeader {
        cookie: socket.facts.cookie,
        cgroup: socket.facts.cgroup,
        time,
        offset: socket.facts.bytes_sent - u64::from(end - socket.stream.cursor),
        elided: u64::from(elided),
        index: socket.facts.segments,
        messages_before,
        account: charged.0,
        first_message: if scan.first_message == Scan::NO_MESSAGE {
            SegmentHeader::NO_MESSAGE
        } else {
            u32::from(scan.first_message)
        },
        length: scanned,
        flags: socket.stream.flags,
    };
    // SAFETY: within the record.
    unsafe { (*record).header = header };
    ring::submit(charged, place);
    socket.stream.flags = 0;
    socket.facts.segments += 1;
    settle(context, socket, &scan);
    socket.stream.cursor += scanned + elided;
    if socket.stream.cursor < end {
        stream::next_block(context, socket, end);
    }
}

/// Follows the next block without shipping it, and goes on so to the packet's end: the record
/// that was refused stands for all of that.
#[inline(always)]
pub(crate) fn follow(context: &SkBuffContext) {
    let Some(socket) = egress::whole_socket(context).and_then(find) else {
        return;
    };
    let end = context.len();
    let Some((length, rest)) = cut(socket, end, size_of::<[u64; scratch::WORDS]>() as u32) else {
        return;
    };
    let Some(scratch) = Scratch::claim(&mut socket.piece) else {
        stream::give_up(socket);
        return;
    };
    let scan = look(context, socket, scratch.words, length);
    scratch.give_back(&socket.piece);
    let Some(scan) = scan else {
        return;
    };
    if is_lost(socket) {
        return;
    }
    let scanned = u32::from(scan.scanned);
    let passed = match socket.stream.framing.mode() {
        // All of it is to be shipped, and is lost.
        Mode::Raw => end - socket.stream.cursor - scanned,
        _ => pass(socket, length, rest, scanned),
    };
    settle(context, socket, &scan);
    socket.stream.cursor += scanned + passed;
    if socket.stream.cursor >= end {
        return;
    }
    if socket.stream.protocol == Stream::UNKNOWN {
        stream::next_block(context, socket, end);
    } else {
        stream::go(context, socket, stream::STAGE_REFUSED);
    }
}

/// The length of the next block, at least 1 and at most `N`, and what is left behind it.
#[inline(always)]
pub(crate) fn cut(socket: &mut Socket, end: u32, most: u32) -> Option<(u32, u32)> {
    let left = end.wrapping_sub(socket.stream.cursor);
    if left as i32 <= 0 {
        return None;
    }
    // Through memory, so that the verifier forgets which of the two it is: it would follow what
    // comes once for a length of `most`, and once more for all others.
    socket.stream.length = left.min(most);
    // SAFETY: the socket's own state.
    let length = unsafe { (&raw const socket.stream.length).read_volatile() };
    // For the same reason not from `left`, of which it knows on which side of `most` it is.
    // SAFETY: the socket's own state.
    let cursor = unsafe { (&raw const socket.stream.cursor).read_volatile() };
    Some((length, end.wrapping_sub(cursor).wrapping_sub(length)))
}

/// Loads a block and follows it; `None` if it cannot be loaded, which does not happen.
#[inline(always)]
fn look<const WORDS: usize>(
    context: &SkBuffContext,
    socket: &mut Socket,
    words: *mut [u64; WORDS],
    length: u32,
) -> Option<Scan> {
    let words = load(context, socket.stream.cursor, words, length)?;
    let stream = &mut socket.stream;
    // SAFETY: the socket's own. The peer writes to it, hence volatile.
    let heads = unsafe { (&raw const stream.heads).read_volatile() };
    Some(stream.framing.scan(words, length as usize, heads))
}

/// `length`, which is from 1 to `most`, a power of two: in the way in which verifiers of before 6.2
/// see both. They learn nothing from a comparison with 0.
#[inline(always)]
pub(crate) const fn bounded(length: u32, most: u32) -> u32 {
    (length.wrapping_sub(1) & (most - 1)) + 1
}

/// Loads `length` bytes of the packet into memory of a map or a ring that this run has for itself.
#[inline(always)]
pub(crate) fn load<'a, const WORDS: usize>(
    context: &SkBuffContext,
    from: u32,
    words: *mut [u64; WORDS],
    length: u32,
) -> Option<&'a [u64; WORDS]> {
    let length = bounded(length, size_of::<[u64; WORDS]>() as u32);
    // SAFETY: `words` has room for `length` bytes.
    if unsafe { bpf_skb_load_bytes(context.as_ptr(), from, words.cast(), length) } != 0 {
        return None;
    }
    // SAFETY: such memory is never uninitialised, and nobody else has it.
    Some(unsafe { &*words })
}

/// Whether a message was looked for and not found. Its start line has to be in the first block:
/// almost any text could go on to be one.
#[inline(always)]
fn is_lost(socket: &mut Socket) -> bool {
    let lost = socket.stream.framing.joining();
    if lost {
        socket.stream.framing.rejoin();
    }
    lost
}

/// Passes over what of the packet need not be looked at behind a block of `length` bytes, if all
/// of that was followed: an intricate one may be followed by halves.
#[inline(always)]
fn pass(socket: &mut Socket, length: u32, rest: u32, scanned: u32) -> u32 {
    if scanned < length {
        return 0;
    }
    let framing = &mut socket.stream.framing;
    match framing.mode() {
        Mode::Framed | Mode::UntilClose => {
            let body = framing.skippable().min(u64::from(rest));
            framing.skip(body);
            body as u32
        }
        // Behind a 101: another protocol, which is looked at.
        Mode::Opaque if framing.responses() => 0,
        Mode::Opaque | Mode::Lost => rest,
        Mode::Raw => 0,
    }
}

/// Settles with the peer what one direction knows about the other.
#[inline(always)]
fn settle(context: &SkBuffContext, socket: &mut Socket, scan: &Scan) {
    let responses = socket.stream.framing.responses();
    socket.stream.protocol = Stream::HTTP1;
    if responses && socket.stream.framing.mode() == Mode::Opaque {
        // 101: what the peer sends is no HTTP/1 any more either.
        socket.stream.protocol = Stream::UNKNOWN;
        peer::tell(context, socket, |peer| peer.handed_over = 1);
    }
    let heads = scan.heads;
    if heads == 0 {
        return;
    }
    if responses {
        // SAFETY: the socket's own state. The bits that were used are taken back.
        unsafe { account::add(&raw mut socket.stream.heads, heads.wrapping_neg()) };
        return;
    }
    let told = peer::tell(context, socket, |peer| {
        // SAFETY: the peer's state, which is held. Each bit is set and taken back in turn.
        unsafe { account::add(&raw mut peer.heads, heads) };
    });
    if !told {
        socket.stream.untold_heads |= heads;
    }
}
