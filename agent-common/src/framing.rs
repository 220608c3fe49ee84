//! Where HTTP/1 messages begin and end in a stream of bytes, for the kernel's loop.
//!
//! [`Framing`] follows one direction of a connection (RFC 9112) just so far that it can prove
//! which bytes are message body and need not be looked at. Whatever is unusual (two lengths,
//! bare line feeds, folded lines, an unknown coding…) makes it give up ([`Mode::Raw`]) instead of
//! guessing: the exact parser is in user space, and is handed all bytes from there on.
//!
//! # Use
//!
//! One [`scan`](Framing::scan) a block, whose size is a power of two so that a masked index is
//! its bounds check, then [`skip`](Framing::skip) what of the rest of the segment is body:
//!
//! ```
//! use agent_common::framing::{Framing, Mode, Scan};
//!
//! // What one block contributes to its record.
//! struct Told { scan: Scan, elided: u64, ended: bool }
//!
//! /// `block` holds `length` bytes of a segment, `rest` follow in that segment.
//! fn block(framing: &mut Framing, block: &[u8; 2048], length: usize, rest: u64) -> Told {
//!     let head_bits = 0; // of this socket's storage, set by its peer
//!     let scan = framing.scan(block, length, head_bits);
//!     // `scan.heads` holds HEAD requests to tell the peer, or bits of `head_bits` to clear.
//!     let elided = match framing.mode() {
//!         Mode::Framed | Mode::UntilClose => framing.skippable().min(rest),
//!         Mode::Opaque | Mode::Lost => rest,
//!         Mode::Raw => 0,
//!     };
//!     let ended = framing.skip(elided); // in the other modes this does nothing
//!     Told { scan, elided, ended }
//! }
//!
//! let mut framing = Framing::default();
//! let mut bytes = [0; 2048];
//! let head = b"POST / HTTP/1.1\r\ncontent-length: 5000\r\n\r\n";
//! bytes[..head.len()].copy_from_slice(head);
//! let told = block(&mut framing, &bytes, head.len(), 4000);
//! assert_eq!((told.scan.first_message, told.elided, told.ended), (0, 4000, false));
//! assert_eq!((framing.messages(), framing.skippable()), (1, 1000));
//! ```
//!
//! At the next segment: `skip` first what of it is [`skippable`](Framing::skippable); if that is
//! the whole segment, there is no block to scan.
//!
//! # HEAD
//!
//! The response to HEAD has no body whatever it says. The n-th request head of one direction
//! (from 0) owns bit n & 63: a scan of requests returns the bits of HEAD requests in
//! [`Scan::heads`], for the storage of the peer socket; a scan of responses takes that storage as
//! `head_bits` and returns in [`Scan::heads`] the bits it has used, which are to be cleared. As
//! each bit is set and cleared in turn, atomic additions of `heads` and `heads.wrapping_neg()`
//! do both.
//!
//! # Positions that are not known
//!
//! After a gap, or on a connection older than the programs: [`Framing::rejoin`] at the beginning
//! of a segment, then scan. If that is no start of a message the mode is [`Mode::Lost`], and the
//! next segment may be tried. Ordinals do not agree with the peer's afterwards.

mod table;
#[cfg(test)]
mod tests;

use table::action;

/// The position of one direction of a connection in its HTTP/1 messages.
///
/// All zeroes is the position before the first message, direction unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Bytes of the body, or of the chunk, still to come.
    remaining: u64,
    /// What the digits of Content-Length, or of a chunk size, have come to.
    length: u64,
    /// Messages begun.
    messages: u32,
    /// Request heads, or heads of final responses, that ended.
    heads: u32,
    /// See [`flag`].
    flags: u16,
    /// Row of the transition table.
    state: u8,
    /// Digits in `length`.
    digits: u8,
    _padding: u32,
}

const _: () = assert!(size_of::<Framing>() == 32);

/// What a block contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Where the first message begins, or [`Scan::NO_MESSAGE`].
    pub first_message: u16,
    /// A message ended with the last byte of the block.
    pub ended: bool,
    /// In requests: bits of HEAD requests. In responses: bits that were used.
    pub heads: u64,
}

impl Scan {
    /// No message begins in the block.
    pub const NO_MESSAGE: u16 = u16::MAX;
}

/// How the bytes that follow are to be treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Messages follow each other; [`Framing::skippable`] says what is body.
    Framed,
    /// All that follows is the body of one response.
    UntilClose,
    /// The stream is not HTTP/1, or no longer.
    Opaque,
    /// It may be HTTP/1, but nothing about it is proven: only user space can tell.
    Raw,
    /// No message was found where [`Framing::rejoin`] was called.
    Lost,
}

/// What a byte meant. Several may hold at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u32);

impl Events {
    /// Nothing to act on.
    pub const NONE: Self = Self(0);
    /// It is the first byte of a message.
    pub const BEGAN: Self = Self(1);
    /// It is the last byte of a head.
    pub const HEAD_ENDED: Self = Self(2);
    /// It is the last byte of a message.
    pub const ENDED: Self = Self(4);
    /// It ends the head of a HEAD request, or the head of the response to one.
    pub const HEAD: Self = Self(8);
    /// Framing is over: the mode is `Opaque`, `Raw` or `Lost` now.
    pub const STOPPED: Self = Self(16);
    /// The message that began last was none, and is no longer counted.
    pub const WITHDRAWN: Self = Self(32);

    /// Whether one of `events` is among these.
    #[inline(always)]
    pub const fn has(self, events: Self) -> bool {
        self.0 & events.0 != 0
    }

    #[inline(always)]
    const fn and(self, events: Self) -> Self {
        Self(self.0 | events.0)
    }
}

/// Bits of [`Framing::flags`]. The first two are the direction, as numbered by the states that
/// begin a message; those from `PLAUSIBLE` on belong to one message.
mod flag {
    pub(super) const REQUESTS: u16 = 1;
    pub(super) const RESPONSES: u16 = 2;
    /// Since `rejoin`, no start line was seen whole.
    pub(super) const JOINING: u16 = 4;
    /// What is there of the start line looks like HTTP: lenient servers may take it.
    pub(super) const PLAUSIBLE: u16 = 8;
    pub(super) const HEAD: u16 = 16;
    /// HTTP/1.0
    pub(super) const VERSION_0: u16 = 32;
    /// Another response to the same request follows.
    pub(super) const INTERIM: u16 = 64;
    pub(super) const BODILESS: u16 = 128;
    /// CONNECT, or status 101: what follows is another protocol, or may be.
    pub(super) const HANDOVER: u16 = 256;
    pub(super) const LENGTH: u16 = 512;
    pub(super) const CHUNKED: u16 = 1024;

    pub(super) const DIRECTION: u16 = REQUESTS | RESPONSES;
    pub(super) const CONNECTION: u16 = DIRECTION | JOINING;
}

/// More digits than this are not counted: no body is a petabyte long, and nothing overflows.
const MOST_DIGITS: u8 = 15;

impl Framing {
    /// Follows the first `length` bytes of `block` (at most all of it).
    ///
    /// `head_bits` is what the peer has told of HEAD requests; only responses look at it.
    #[inline(always)]
    pub fn scan<const N: usize>(
        &mut self,
        block: &[u8; N],
        length: usize,
        head_bits: u64,
    ) -> Scan {
        const {
            assert!(N.is_power_of_two() && N <= Scan::NO_MESSAGE as usize);
        }
        let mut scan = Scan {
            first_message: Scan::NO_MESSAGE,
            ended: false,
            heads: 0,
        };
        let mut at = 0;
        // Each turn takes at least one byte, so that N of them suffice.
        for _ in 0..N {
            if at >= length {
                break;
            }
            if self.remaining != 0 {
                let body = self.remaining.min((length - at) as u64);
                scan.ended = self.skip(body);
                at += body as usize;
                continue;
            }
            let events = self.read(block[at & (N - 1)], head_bits);
            scan.ended = events.has(Events::ENDED);
            if events != Events::NONE {
                scan.note(events, at, self.heads);
                if events.has(Events::STOPPED) {
                    break;
                }
            }
            at += 1;
        }
        scan
    }

    /// Follows one byte.
    #[inline(always)]
    pub fn step(&mut self, byte: u8, head_bits: u64) -> Events {
        if self.remaining != 0 {
            return if self.skip(1) {
                Events::ENDED
            } else {
                Events::NONE
            };
        }
        self.read(byte, head_bits)
    }

    /// How many of the bytes that follow are body, and may be skipped. In [`Mode::UntilClose`]
    /// that is without bound.
    #[inline(always)]
    pub const fn skippable(&self) -> u64 {
        self.remaining
    }

    /// Passes over `bytes` of body, at most [`Self::skippable`]. Returns whether the message
    /// ended with them.
    #[inline(always)]
    pub const fn skip(&mut self, bytes: u64) -> bool {
        if self.remaining == 0 || bytes < self.remaining {
            self.remaining = self.remaining.saturating_sub(bytes);
            return false;
        }
        self.remaining = 0;
        match self.state {
            table::BODY => {
                self.state = self.message_start();
                true
            }
            table::CHUNK_DATA => {
                self.state = table::CHUNK_DATA_CR;
                false
            }
            _ => false,
        }
    }

    /// How to treat what follows.
    #[inline(always)]
    pub const fn mode(&self) -> Mode {
        match self.state {
            table::UNTIL_CLOSE => Mode::UntilClose,
            table::OPAQUE => Mode::Opaque,
            table::RAW => Mode::Raw,
            table::LOST => Mode::Lost,
            _ => Mode::Framed,
        }
    }

    /// Messages begun so far, interim responses included. What turns out to be no message where
    /// none was before, or after [`Self::rejoin`], is not counted.
    #[inline(always)]
    pub const fn messages(&self) -> u32 {
        self.messages
    }

    /// Whether the direction is known, and it is that of responses.
    #[inline(always)]
    pub const fn responses(&self) -> bool {
        self.flags & flag::RESPONSES != 0
    }

    /// Whether no whole start line was seen since [`Self::rejoin`].
    #[inline(always)]
    pub const fn joining(&self) -> bool {
        self.flags & flag::JOINING != 0
    }

    /// Whether the next byte is the first of a message, as far as is known.
    #[inline(always)]
    pub const fn at_message_start(&self) -> bool {
        self.state <= table::START_RESPONSE
    }

    /// The position was lost: takes the next byte for the first of a message, and believes it
    /// once a start line is whole. Counts and direction stay.
    #[inline(always)]
    pub const fn rejoin(&mut self) {
        if self.joining() && table::in_start_line(self.state) {
            self.messages = self.messages.wrapping_sub(1);
        }
        self.remaining = 0;
        self.flags = self.flags & flag::DIRECTION | flag::JOINING;
        self.state = self.message_start();
    }

    /// Another protocol follows: [`Mode::Opaque`]. For the side that sends requests, when the
    /// other has answered 101.
    #[inline(always)]
    pub const fn hand_over(&mut self) {
        self.remaining = 0;
        self.state = table::OPAQUE;
    }

    /// Nothing is known for sure any more: [`Mode::Raw`].
    #[inline(always)]
    pub const fn give_up(&mut self) {
        self.remaining = 0;
        self.state = table::RAW;
    }

    /// Follows a byte that is not body.
    #[inline(always)]
    fn read(&mut self, byte: u8, head_bits: u64) -> Events {
        let class = table::CLASSES[byte as usize] as usize;
        let row = self.state as usize * table::COLUMNS;
        let cell = table::TRANSITIONS[(row | class) & (table::ROWS * table::COLUMNS - 1)];
        let [next, action] = cell.to_le_bytes();
        self.state = next;
        if action == 0 {
            return Events::NONE;
        }
        self.act(action, byte, head_bits)
    }

    #[inline(always)]
    fn act(&mut self, action: u8, byte: u8, head_bits: u64) -> Events {
        match action {
            action::BEGIN => self.begin(),
            action::BEGIN_FAIL => self.begin().and(self.fail()),
            action::METHOD | action::VERSION_1 => self.mark(flag::PLAUSIBLE),
            action::HEAD => self.mark(flag::PLAUSIBLE | flag::HEAD),
            action::CONNECT => self.mark(flag::PLAUSIBLE | flag::HANDOVER),
            action::VERSION_0 => self.mark(flag::PLAUSIBLE | flag::VERSION_0),
            action::INTERIM => self.mark(flag::INTERIM | flag::BODILESS),
            action::SWITCHING => self.mark(flag::HANDOVER),
            action::BODILESS => self.mark(flag::BODILESS),
            action::REQUEST => self.join(flag::REQUESTS),
            action::RESPONSE => self.join(flag::RESPONSES),
            action::LENGTH => self.field(flag::LENGTH, flag::LENGTH | flag::CHUNKED),
            action::CODING => {
                // A coding is not defined for 1.0 (RFC 9112 section 6.1).
                let conflicts = flag::LENGTH | flag::CHUNKED | flag::VERSION_0;
                self.field(flag::CHUNKED, conflicts)
            }
            action::DECIMAL => self.digit(byte, 10),
            action::HEXADECIMAL => self.digit(byte, 16),
            action::HEAD_END => self.end_head(head_bits),
            action::CHUNK => self.chunk(),
            action::TRAILERS_END => self.end_message(),
            _ => self.fail(),
        }
    }

    #[inline(always)]
    const fn begin(&mut self) -> Events {
        self.flags &= flag::CONNECTION;
        self.length = 0;
        self.digits = 0;
        self.messages = self.messages.wrapping_add(1);
        Events::BEGAN
    }

    #[inline(always)]
    const fn mark(&mut self, flags: u16) -> Events {
        self.flags |= flags;
        Events::NONE
    }

    /// A start line is whole: this is HTTP, in this direction.
    #[inline(always)]
    const fn join(&mut self, direction: u16) -> Events {
        self.flags = self.flags & !flag::JOINING | direction;
        Events::NONE
    }

    /// A field that says where the body ends.
    #[inline(always)]
    const fn field(&mut self, found: u16, conflicts: u16) -> Events {
        if self.flags & conflicts != 0 {
            return self.fail();
        }
        self.mark(found)
    }

    #[inline(always)]
    const fn digit(&mut self, byte: u8, radix: u64) -> Events {
        // Letters are 9 past their low four bits.
        let value = (byte & 15) + 9 * (byte >> 6);
        self.length = self.length.wrapping_mul(radix).wrapping_add(value as u64);
        self.digits = self.digits.wrapping_add(1);
        if self.digits > MOST_DIGITS {
            return self.fail();
        }
        Events::NONE
    }

    /// RFC 9112 section 6.3, so far as it is plain.
    #[inline(always)]
    const fn end_head(&mut self, head_bits: u64) -> Events {
        let response = self.flags & flag::RESPONSES != 0;
        let mut events = Events::HEAD_ENDED;
        let mut bodiless = self.flags & flag::BODILESS != 0;
        if self.flags & flag::INTERIM == 0 {
            let head = if response {
                head_bits >> (self.heads & 63) & 1 != 0
            } else {
                self.flags & flag::HEAD != 0
            };
            if head {
                events = events.and(Events::HEAD);
                bodiless |= response;
            }
            self.heads = self.heads.wrapping_add(1);
        }
        if self.flags & flag::HANDOVER != 0 {
            // Whether CONNECT succeeds is for the other side to say.
            self.state = if response { table::OPAQUE } else { table::RAW };
            return events.and(Events::STOPPED);
        }
        if bodiless {
            return events.and(self.end_message());
        }
        if self.flags & flag::CHUNKED != 0 {
            self.state = table::CHUNK_SIZE;
            return events;
        }
        if self.length != 0 {
            self.remaining = self.length;
            self.state = table::BODY;
            return events;
        }
        if response && self.flags & flag::LENGTH == 0 {
            self.remaining = u64::MAX;
            self.state = table::UNTIL_CLOSE;
            return events;
        }
        events.and(self.end_message())
    }

    /// A chunk, or the last one, whose size is 0.
    #[inline(always)]
    const fn chunk(&mut self) -> Events {
        self.remaining = self.length;
        if self.length == 0 {
            self.state = table::TRAILER;
        }
        self.length = 0;
        self.digits = 0;
        Events::NONE
    }

    #[inline(always)]
    const fn end_message(&mut self) -> Events {
        self.state = self.message_start();
        Events::ENDED
    }

    #[inline(always)]
    const fn message_start(&self) -> u8 {
        (self.flags & flag::DIRECTION) as u8
    }

    #[inline(always)]
    const fn fail(&mut self) -> Events {
        if self.flags & flag::JOINING != 0 {
            self.state = table::LOST;
        } else if self.flags & (flag::DIRECTION | flag::PLAUSIBLE) != 0 {
            self.state = table::RAW;
            return Events::STOPPED;
        } else {
            self.state = table::OPAQUE;
        }
        self.messages = self.messages.wrapping_sub(1);
        Events::STOPPED.and(Events::WITHDRAWN)
    }
}

impl Scan {
    #[inline(always)]
    const fn note(&mut self, events: Events, at: usize, heads: u32) {
        if events.has(Events::BEGAN) && self.first_message == Self::NO_MESSAGE {
            self.first_message = at as u16;
        }
        if events.has(Events::WITHDRAWN) {
            // It was the only one.
            self.first_message = Self::NO_MESSAGE;
        }
        if events.has(Events::HEAD) {
            self.heads |= 1 << (heads.wrapping_sub(1) & 63);
        }
    }
}
