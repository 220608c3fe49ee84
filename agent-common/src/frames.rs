//! Where HTTP/2 frames begin and end in a stream of bytes, for the kernel's loop.
//!
//! [`Frames`] follows one direction of a connection (RFC 9113 section 4.1) from frame header to
//! frame header and says which bytes have to be shipped: the compression of fields (RFC 7541)
//! needs every byte of every header block, in order. The payload of DATA, and frames that say
//! nothing of a request or a response, may be left out.
//!
//! # Use
//!
//! As with [`Framing`](crate::framing): a block is the 64-bit words in which it lies in memory, a
//! power of two of them. At each segment [`skip`](Frames::skip) first what of it is
//! [`skippable`](Frames::skippable), then [`walk`](Frames::walk) blocks of the rest:
//!
//! ```
//! use agent_common::frames::{Frames, Walk};
//!
//! // DATA on stream 1: a header and a payload of 1000 bytes, of which 91 are in this block.
//! let mut block = [0; 64];
//! block[0] = u64::from_le_bytes([0, 3, 232, 0, 0, 0, 0, 0]);
//! block[1] = 1;
//! let mut frames = Frames::default();
//! let walk = frames.walk(&block, 100);
//! assert_eq!((walk.walked, walk.first_frame, walk.needed), (100, 0, 9));
//! assert_eq!(frames.skippable(), 909);
//! ```
//!
//! The state should lie in a map, not on the stack, for the reason told there.
//!
//! # Which streams are HTTP/2
//!
//! [`Opening`] tells it of the first bytes of a direction. Where a position is not known,
//! [`join`](Frames::join) after [`Boundary`] has been found.

mod boundary;
mod header;
mod kind;
mod opening;
#[cfg(test)]
mod tests;

pub use self::{
    boundary::{Boundary, Evidence},
    header::Header,
    opening::Opening,
};

/// The position of one direction of a connection in its HTTP/2 frames.
///
/// All zeroes is the position before a frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frames {
    /// The first bytes of a header that is split, `held` of them.
    header: u64,
    /// Bytes of the payload still to come.
    remaining: u32,
    /// How many of these have to be shipped.
    wanted: u32,
    /// The highest stream that a client opened. Wider than it need be, so that the compiler does
    /// not know that and compares by subtraction.
    highest: u64,
    /// Streams that a client opened.
    streams: u32,
    /// How many bytes of a header are held: less than [`Header::LENGTH`].
    held: u8,
    /// 1: the position is not known.
    lost: u8,
    /// 1: the preface or the first header is not whole yet, so this may be no HTTP/2.
    unproven: u8,
    /// 1: a message ends with this payload.
    ends: u8,
}

const _: () = assert!(size_of::<Frames>() == 32);

/// What a block contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Bytes that were followed. If these are not all of the block, it is to be cut here: the
    /// next block begins with the byte behind.
    pub walked: u16,
    /// Where the first frame begins, or [`Walk::NO_FRAME`].
    pub first_frame: u16,
    /// Where the last byte ends that has to be shipped; 0 if none has to be.
    pub needed: u16,
}

impl Walk {
    /// No frame begins in the block.
    pub const NO_FRAME: u16 = u16::MAX;
}

impl Frames {
    /// Follows the first `length` bytes of `block` (at most all of it). Bytes behind them may be
    /// anything.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "positions within a block fit, and so does the rest of a frame"
    )]
    #[inline(always)]
    pub fn walk<const WORDS: usize>(&mut self, block: &[u64; WORDS], length: usize) -> Walk {
        const {
            assert!(WORDS.is_power_of_two() && WORDS * 8 < Walk::NO_FRAME as usize);
        }
        let length = length as u64;
        // Where the next frame begins, and where the last byte ends that has to be shipped. They
        // may be beyond `length`.
        let mut at = u64::from(self.remaining);
        let mut needed = u64::from(self.wanted);
        if self.held != 0 {
            let held = u64::from(self.held) & 15;
            let (first, ninth) = unaligned(block, 0);
            let header = Header::joined(self.header, held, first, ninth);
            let missing = Header::LENGTH.wrapping_sub(held);
            if length < missing {
                return self.hold(&header, held.wrapping_add(length), length);
            }
            self.held = 0;
            // What has begun to be shipped is shipped whole.
            needed = missing;
            (at, needed) = self.take(&header, missing, needed);
        }
        let first_frame = at;
        for _ in 0..turns(WORDS) {
            let payload = at.wrapping_add(Header::LENGTH);
            if is_below(length, payload) != 0 {
                break;
            }
            let (first, ninth) = unaligned(block, at);
            (at, needed) = self.take(&Header::new(first, ninth), payload, needed);
        }
        if at < length && length.wrapping_sub(at) < Header::LENGTH {
            let (first, ninth) = unaligned(block, at);
            let held = length.wrapping_sub(at);
            let walk = self.hold(&Header::new(first, ninth), held, length);
            return Walk {
                first_frame: first_frame as u16,
                ..walk
            };
        }
        self.remaining = at.saturating_sub(length) as u32;
        self.wanted = needed.saturating_sub(length) as u32;
        Walk {
            walked: at.min(length) as u16,
            first_frame: if first_frame < length {
                first_frame as u16
            } else {
                Walk::NO_FRAME
            },
            needed: needed.min(length) as u16,
        }
    }

    /// Keeps the first bytes of a header that goes on behind a block of `length` bytes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "less than nine, and a block's length"
    )]
    #[inline(always)]
    const fn hold(&mut self, header: &Header, held: u64, length: u64) -> Walk {
        self.held = held as u8;
        self.header = header.first(held);
        self.remaining = 0;
        self.wanted = 0;
        Walk {
            walked: length as u16,
            first_frame: Walk::NO_FRAME,
            needed: length as u16,
        }
    }

    /// Takes a frame into account whose payload begins at `payload`. Returns where the next frame
    /// begins, and where the last byte ends that has to be shipped.
    #[expect(clippy::cast_possible_truncation, reason = "1 or 0")]
    #[inline(always)]
    fn take(&mut self, header: &Header, payload: u64, needed: u64) -> (u64, u64) {
        let wanted = kind::wanted(header);
        let opens = wanted.opens & is_below(self.highest, header.stream());
        self.highest = replace(self.highest, header.stream(), opens.wrapping_neg());
        self.streams = self.streams.wrapping_add(opens as u32);
        self.ends = wanted.ends as u8;
        (
            payload.wrapping_add(header.length()),
            replace(needed, payload.wrapping_add(wanted.payload), wanted.header),
        )
    }

    /// How many bytes of a block of so many words are followed, even if all frames are empty.
    #[must_use]
    pub const fn followed(words: usize) -> usize {
        let frames = turns(words) * HEADER_LENGTH;
        if frames < words * 8 {
            frames
        } else {
            words * 8
        }
    }

    /// How many of the bytes that follow need not be shipped.
    #[inline(always)]
    pub const fn skippable(&self) -> u64 {
        if self.wanted == 0 {
            self.remaining as u64
        } else {
            0
        }
    }

    /// Passes over `bytes` of a payload, at most [`Self::skippable`]. True if a message ended with
    /// them (END_STREAM of a DATA frame).
    #[expect(
        clippy::cast_possible_truncation,
        reason = "no more than what remains of a frame"
    )]
    #[inline(always)]
    pub const fn skip(&mut self, bytes: u64) -> bool {
        self.remaining = self.remaining.saturating_sub(bytes as u32);
        bytes > 0 && self.remaining == 0 && self.ends != 0
    }

    /// Streams that a client opened, as far as was seen: HEADERS of an odd stream beyond those
    /// before (RFC 9113 section 5.1.1).
    #[inline(always)]
    pub const fn streams(&self) -> u32 {
        self.streams
    }

    /// Whether the position is not known.
    #[inline(always)]
    pub const fn is_lost(&self) -> bool {
        self.lost != 0
    }

    /// Whether the preface or the first frame header is not whole yet: see [`Self::open`].
    #[inline(always)]
    pub const fn is_unproven(&self) -> bool {
        self.unproven != 0
    }

    /// Whether it is the preface that is not whole yet.
    #[inline(always)]
    pub const fn is_in_preface(&self) -> bool {
        self.unproven != 0 && self.held == 0
    }

    /// Judges the first bytes of a direction, or those that come when it is
    /// [unproven](Self::is_unproven). Takes the position for the one before them if they are
    /// HTTP/2, or may be.
    #[inline(always)]
    pub fn open(&mut self, first: [u64; 3], length: u64) -> Opening {
        let known = if self.is_in_preface() {
            Opening::PREFACE_LENGTH.wrapping_sub(self.remaining)
        } else {
            0
        };
        let held = u64::from(self.held);
        let opening = Opening::of(first, length, self.header, held, u64::from(known));
        if known == 0 && matches!(opening, Opening::Preface | Opening::PrefaceBegun) {
            // Followed like the payload of a frame.
            self.remaining = Opening::PREFACE_LENGTH;
            self.wanted = Opening::PREFACE_LENGTH;
        }
        self.unproven = u8::from(matches!(
            opening,
            Opening::PrefaceBegun | Opening::Unfinished
        ));
        opening
    }

    /// The position is not known any more. Counts stay.
    #[inline(always)]
    pub const fn lose(&mut self) {
        self.begin();
        self.lost = 1;
    }

    /// A frame begins with the next byte.
    #[inline(always)]
    pub const fn join(&mut self) {
        self.begin();
    }

    #[inline(always)]
    const fn begin(&mut self) {
        *self = Self {
            header: 0,
            remaining: 0,
            wanted: 0,
            highest: self.highest,
            streams: self.streams,
            held: 0,
            lost: 0,
            unproven: 0,
            ends: 0,
        };
    }
}

const HEADER_LENGTH: usize = 9;
const _: () = assert!(HEADER_LENGTH as u64 == Header::LENGTH);

/// How many frames of a block are followed: all of them, but of the largest block only as many as
/// it has if they are of 16 bytes.
const fn turns(words: usize) -> usize {
    if words > 512 {
        words / 2
    } else {
        words * 8 / HEADER_LENGTH + 1
    }
}

/// The nine bytes from `at` on: eight, and one. Those beyond the block are whatever.
#[expect(clippy::cast_possible_truncation, reason = "masked, and a byte")]
#[inline(always)]
fn unaligned<const WORDS: usize>(block: &[u64; WORDS], at: u64) -> (u64, u8) {
    let word = (at >> 3) as usize;
    let low = u64::from_le(block[word & (WORDS - 1)]);
    let high = u64::from_le(block[(word + 1) & (WORDS - 1)]);
    let shift = at << 3 & 63;
    let first = low >> shift | high << 1 << (63 - shift);
    (first, (high >> shift) as u8)
}

/// 1 if `a` is below `b`, or 0. In numbers, so that the verifier has no branch to follow; both are
/// far below 2^63.
#[inline(always)]
const fn is_below(a: u64, b: u64) -> u64 {
    a.wrapping_sub(b) >> 63
}

/// `new` if `replaces` is all ones, `old` if it is 0.
#[inline(always)]
const fn replace(old: u64, new: u64, replaces: u64) -> u64 {
    old ^ (old ^ new) & replaces
}
