//! Blocks of HTTP/2, each looked at in a run of its own.

use agent_common::{frames::Walk, segment::SegmentHeader};
use aya_ebpf::programs::SkBuffContext;

use crate::{
    account::Charged,
    block::{cut, load},
    egress, ring,
    scratch::{self, Scratch},
    storage::{GLANCE, Socket, Stream, boot_time, find},
    stream::{self, Expected},
};

/// Ships what is needed of the next block, a tiny one: it is looked at before a place in the ring is
/// taken for it.
#[inline(always)]
pub(crate) fn glance(context: &SkBuffContext) {
    let Some(socket) = egress::whole_socket(context).and_then(find) else {
        return;
    };
    let end = context.len();
    let Some((length, rest)) = cut(socket, end, SegmentHeader::CLASS_TINY as u32) else {
        return;
    };
    let messages_before = socket.stream.messages();
    let words = &raw mut socket.stream.glance;
    let Some(walk) = look(context, &mut socket.stream, words, length) else {
        return;
    };
    let block = Block::passed(&mut socket.stream, &walk, messages_before, length, rest);
    if walk.needed == 0 {
        block.go_on(context, socket, end);
        return;
    }
    let charged = Charged(socket.account);
    let Some(mut place) = ring::reserve::<{ SegmentHeader::CLASS_TINY }>(charged) else {
        socket.facts.segments += 1;
        socket.stream.cursor += block.behind;
        if socket.stream.cursor < end {
            stream::go(context, socket, stream::STAGE_FRAMES_REFUSED);
        }
        return;
    };
    let record = place.as_mut_ptr();
    let time = boot_time();
    // SAFETY: within the record.
    let bytes = unsafe { &raw mut (*record).bytes };
    // SAFETY: as many bytes, aligned like the record.
    unsafe { bytes.cast::<[u64; GLANCE]>().write(socket.stream.glance) };
    // SAFETY: within the record.
    unsafe { (*record).header = block.header(socket, end, charged, time) };
    ring::submit(charged, place);
    socket.stream.flags = 0;
    socket.facts.segments += 1;
    block.go_on(context, socket, end);
}

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
    let words = unsafe { &raw mut (*record).bytes }.cast::<[u64; WORDS]>();
    let Some(walk) = look(context, &mut socket.stream, words, length) else {
        ring::give_up(charged, place);
        return;
    };
    let block = Block::passed(&mut socket.stream, &walk, messages_before, length, rest);
    if walk.needed == 0 {
        ring::give_up(charged, place);
    } else {
        // SAFETY: within the record.
        unsafe { (*record).header = block.header(socket, end, charged, time) };
        ring::submit(charged, place);
        socket.stream.flags = 0;
        socket.facts.segments += 1;
    }
    block.go_on(context, socket, end);
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
    let Some(walk) = walk else {
        return;
    };
    socket.stream.cursor += Block::passed(&mut socket.stream, &walk, 0, length, rest).behind;
    if socket.stream.cursor < end {
        stream::go(context, socket, stream::STAGE_FRAMES_REFUSED);
    }
}

/// A block that was walked through.
struct Block {
    messages_before: u32,
    /// Where in it the first frame begins, as a segment's header says it.
    first_frame: u32,
    /// How many of its bytes have to be shipped.
    needed: u32,
    /// Where the next block begins, counted from this one.
    behind: u32,
    /// A part of the packet behind the block was passed over.
    skipped: bool,
}

impl Block {
    /// Passes over what of the rest of the packet, behind a block of `length` bytes, is payload that
    /// is not needed.
    #[inline(always)]
    fn passed(
        stream: &mut Stream,
        walk: &Walk,
        messages_before: u32,
        length: u32,
        rest: u32,
    ) -> Self {
        let walked = u32::from(walk.walked);
        let payload = if walked < length {
            0
        } else {
            stream.frames.skippable().min(u64::from(rest))
        };
        stream.frames.skip(payload);
        let (first, needed) = (u32::from(walk.first_frame), u32::from(walk.needed));
        Self {
            messages_before,
            first_frame: if first < needed {
                first
            } else {
                SegmentHeader::NO_MESSAGE
            },
            needed,
            behind: walked + payload as u32,
            skipped: payload != 0,
        }
    }

    #[inline(always)]
    fn header(&self, socket: &Socket, end: u32, charged: Charged, time: u64) -> SegmentHeader {
        SegmentHeader {
            cookie: socket.facts.cookie,
            cgroup: socket.facts.cgroup,
            time,
            offset: socket.facts.bytes_sent - u64::from(end - socket.stream.cursor),
            elided: u64::from(self.behind - self.needed),
            index: socket.facts.segments,
            messages_before: self.messages_before,
            account: charged.0,
            first_message: self.first_frame,
            length: self.needed,
            flags: socket.stream.flags | SegmentHeader::HTTP2,
        }
    }

    /// Goes on with what is behind it.
    #[inline(always)]
    fn go_on(&self, context: &SkBuffContext, socket: &mut Socket, end: u32) {
        socket.stream.cursor += self.behind;
        if socket.stream.cursor >= end {
            return;
        }
        let expected = if self.skipped {
            Expected::Little
        } else {
            Expected::Much
        };
        stream::next_frames(context, socket, end, expected);
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
