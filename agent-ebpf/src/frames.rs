//! Blocks of HTTP/2, each looked at in a run of its own.

use agent_common::{frames::Walk, segment::SegmentHeader};
use aya_ebpf::programs::SkBuffContext;

use crate::{
    account::Charged,
    block::{cut, load},
    egress, ring,
    scratch::{self, Scratch},
    storage::{Stream, boot_time, find},
    stream::{self, Expected},
};

/// Ships what is needed of the next block.
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
        stream::go(context, socket, stream::STAGE_FRAMES_REFUSED);
        return;
    };
    let record = place.as_mut_ptr();
    let time = boot_time();
    let messages_before = socket.stream.messages();
    // SAFETY: within the record.
    let bytes = unsafe { &raw mut (*record).bytes }.cast::<[u64; WORDS]>();
    let Some(walk) = look(context, &mut socket.stream, bytes, length) else {
        place.discard(ring::QUIET);
        return;
    };
    let needed = u32::from(walk.needed);
    let skipped = skip(&mut socket.stream, rest);
    if needed == 0 {
        place.discard(ring::QUIET);
    } else {
        let first = u32::from(walk.first_frame);
        let header = SegmentHeader {
            cookie: socket.facts.cookie,
            cgroup: socket.facts.cgroup,
            time,
            offset: socket.facts.bytes_sent - u64::from(end - socket.stream.cursor),
            elided: u64::from(length.wrapping_sub(needed).wrapping_add(skipped)),
            index: socket.facts.segments,
            messages_before,
            account: charged.0,
            first_message: if first < needed {
                first
            } else {
                SegmentHeader::NO_MESSAGE
            },
            length: needed,
            flags: socket.stream.flags | SegmentHeader::HTTP2,
        };
        // SAFETY: within the record.
        unsafe { (*record).header = header };
        ring::submit(charged, place);
        socket.stream.flags = 0;
        socket.facts.segments += 1;
    }
    socket.stream.cursor += length + skipped;
    if socket.stream.cursor < end {
        let expected = if skipped == 0 {
            Expected::Much
        } else {
            Expected::Little
        };
        stream::next_frames(context, socket, end, expected);
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
    let walk = look(context, &mut socket.stream, scratch.words, length);
    scratch.give_back(&socket.piece);
    if walk.is_none() {
        return;
    }
    socket.stream.cursor += length + skip(&mut socket.stream, rest);
    if socket.stream.cursor < end {
        stream::go(context, socket, stream::STAGE_FRAMES_REFUSED);
    }
}

/// Loads a block and walks through it; `None` if it cannot be loaded, which does not happen.
#[inline(always)]
fn look<const WORDS: usize>(
    context: &SkBuffContext,
    stream: &mut Stream,
    words: *mut [u64; WORDS],
    length: u32,
) -> Option<Walk> {
    let words = load(context, stream.cursor, words, length)?;
    Some(stream.frames.walk(words, length as usize))
}

/// Passes over what of the rest of the packet is payload that is not needed.
#[inline(always)]
fn skip(stream: &mut Stream, rest: u32) -> u32 {
    let payload = stream.frames.skippable().min(u64::from(rest));
    stream.frames.skip(payload);
    payload as u32
}
