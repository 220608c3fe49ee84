//! Where HTTP/1 messages begin and end in a stream of bytes, for the kernel's loop.
//!
//! [`Framing`] follows one direction of a connection (RFC 9112) just so far that it can prove
//! which bytes are message body and need not be looked at. Whatever is unusual (two lengths,
//! bare line feeds, folded lines, an unknown coding…) makes it give up ([`Mode::Raw`]) instead of
//! guessing: the exact parser is in user space, and is handed all bytes from there on.
//!
//! # Use
//!
//! A block is scanned as the 64-bit words in which it lies in memory, a power of two of them, so
//! that a masked index is its bounds check. One [`scan`](Framing::scan) a block, then
//! [`skip`](Framing::skip) what of the rest of the segment is body:
//!
//! ```
//! use agent_common::framing::{Framing, Mode, Scan};
//!
//! // What one block contributes to its record: `scan.scanned` bytes, and this.
//! struct Told { scan: Scan, elided: u64, ended: bool }
//!
//! /// `block` holds `length` bytes of a segment, `rest` follow in that segment.
//! fn look(framing: &mut Framing, block: &[u64; 256], length: usize, rest: u64) -> Told {
//!     let head_bits = 0; // of this socket's storage, set by its peer
//!     let scan = framing.scan(block, length, head_bits);
//!     // `scan.heads` holds HEAD requests to tell the peer, or bits of `head_bits` to clear.
//!     if usize::from(scan.scanned) < length {
//!         // Rare: the block is cut here, and what is behind comes in the next. Behind the head of
//!         // a 101 that is another protocol, which may be HTTP/2: see `frames`.
//!         return Told { scan, elided: 0, ended: false };
//!     }
//!     let elided = match framing.mode() {
//!         Mode::Framed | Mode::UntilClose => framing.skippable().min(rest),
//!         Mode::Opaque | Mode::Lost => rest,
//!         Mode::Raw => 0,
//!     };
//!     let ended = framing.skip(elided); // where nothing is skippable this does nothing
//!     Told { scan, elided, ended }
//! }
//!
//! let head = b"POST / HTTP/1.1\r\ncontent-length: 5000\r\n\r\n";
//! let mut block = [0; 256];
//! for (word, bytes) in block.iter_mut().zip(head.chunks(8)) {
//!     let mut whole = [0; 8];
//!     whole[..bytes.len()].copy_from_slice(bytes);
//!     *word = u64::from_ne_bytes(whole);
//! }
//! let mut framing = Framing::default();
//! let told = look(&mut framing, &block, head.len(), 4000);
//! assert_eq!((told.scan.first_message, told.elided, told.ended), (0, 4000, false));
//! assert_eq!((framing.messages(), framing.skippable()), (1, 1000));
//! ```
//!
//! At the next segment: `skip` first what of it is [`skippable`](Framing::skippable); if that is
//! the whole segment, there is no block to scan.
//!
//! The state should lie in a map, not on the stack: numbers that come from there are unknown to
//! the verifier, and turns of the loop that look alike are followed once.
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

mod classes;
mod effect;
mod table;
#[cfg(test)]
mod tests;
mod text;

use effect::{After, Effect, flag};

/// The position of one direction of a connection in its HTTP/1 messages.
///
/// All zeroes is the position before the first message, direction unknown.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Framing {
    /// Bytes of the body, or of the chunk, still to come; `state` is what comes after them.
    remaining: u64,
    /// What the digits of Content-Length, or of a chunk size, have come to.
    length: u64,
    /// Messages begun.
    messages: u32,
    /// Request heads, or heads of final responses, that ended.
    heads: u32,
    /// What is known of the connection and of this message.
    flags: u16,
    /// Row of the transition table.
    state: u8,
    _padding: [u8; 5],
}

const _: () = assert!(size_of::<Framing>() == 32);

/// What a block contained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scan {
    /// Bytes that were followed. If these are not all of the block, it is to be cut here: the
    /// next block begins with the byte behind.
    pub scanned: u16,
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

impl Framing {
    /// Follows the first `length` bytes of `block` (at most all of it). Bytes behind them may be
    /// anything.
    ///
    /// `head_bits` is what the peer has told of HEAD requests; only responses look at it.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "positions within a block fit; of words one byte is meant"
    )]
    #[inline(always)]
    pub fn scan<const WORDS: usize>(
        &mut self,
        block: &[u64; WORDS],
        length: usize,
        head_bits: u64,
    ) -> Scan {
        const {
            assert!(WORDS.is_power_of_two() && WORDS * 8 < Scan::NO_MESSAGE as usize);
        }
        if self.state >= table::UNTIL_CLOSE {
            return Scan {
                scanned: length as u16,
                first_message: Scan::NO_MESSAGE,
                ended: false,
                heads: 0,
            };
        }
        let length = length as u64;
        let zero = table::unknown_zero(self.state);
        let mut heads = zero;
        // All ones until a message begins.
        let mut first_message = zero.wrapping_sub(1);
        // Where the next byte is that is not body; it may be beyond `length`.
        let mut at = self.remaining;
        for _ in 0..turns(WORDS) {
            if is_beyond(at, length) {
                break;
            }
            let word = u64::from_le(block[(at >> 3) as usize & (WORDS - 1)]);
            let mut rest = word >> (at << 3 & 63);
            if let Some(text) = table::text(self.state) {
                let Some(count) = text.count(rest, at & 7) else {
                    at = (at | 7).wrapping_add(1);
                    continue;
                };
                at = at.wrapping_add(count);
                rest >>= count << 3 & 63;
                if is_beyond(at, length) {
                    break;
                }
            }
            let byte = rest as u8;
            let (next, action) = table::transition(self.state, byte);
            self.state = next;
            if action != 0 {
                let effect = Effect::of(action);
                first_message = effect.first(first_message, at);
                if self.take(effect, byte) {
                    first_message |= self.fail();
                    at = length;
                    break;
                }
                if effect.is_boundary() {
                    let (head, body, stops) = self.pass_boundary(effect, head_bits);
                    heads |= head;
                    at = at.wrapping_add(body);
                    if stops {
                        // What follows is for others to look at, or is all alike.
                        at = if self.state == table::OPAQUE {
                            at.wrapping_add(1)
                        } else {
                            length
                        };
                        break;
                    }
                }
            }
            at = at.wrapping_add(1);
        }
        // Text may have been taken for longer than it is, which does not matter: it is no body,
        // and what follows in that state is text as well, or will be seen.
        let beyond = at.saturating_sub(length);
        self.remaining = if table::text(self.state).is_some() {
            0
        } else {
            beyond
        };
        let scanned = at.min(length);
        Scan {
            scanned: scanned as u16,
            first_message: first_message as u16,
            ended: scanned != 0 && self.message_ended(),
            heads,
        }
    }

    /// How many of the bytes that follow are body, and may be skipped. In [`Mode::UntilClose`]
    /// that is without bound.
    #[inline(always)]
    pub const fn skippable(&self) -> u64 {
        if self.state == table::UNTIL_CLOSE {
            return u64::MAX;
        }
        self.remaining
    }

    /// Passes over `bytes` of body, at most [`Self::skippable`]. Returns whether the message
    /// ended with them.
    #[inline(always)]
    pub const fn skip(&mut self, bytes: u64) -> bool {
        if bytes == 0 || self.remaining == 0 {
            return false;
        }
        self.remaining = self.remaining.saturating_sub(bytes);
        self.message_ended()
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
        self.remaining == 0 && self.state <= table::START_AGAIN
    }

    /// The position was lost: takes the next byte for the first of a message, and believes it
    /// once a start line is whole. Counts and direction stay.
    #[inline(always)]
    pub const fn rejoin(&mut self) {
        if self.joining() && table::in_start_line(self.state) {
            self.messages = self.messages.wrapping_sub(1);
        }
        self.flags = self.flags & flag::DIRECTION | flag::JOINING;
        self.jump((self.flags & flag::DIRECTION) as u8);
    }

    /// Another protocol follows: [`Mode::Opaque`]. For the side that sends requests, when the
    /// other has answered 101, and for what turns out not to be HTTP at all.
    #[inline(always)]
    pub const fn hand_over(&mut self) {
        self.jump(table::OPAQUE);
    }

    /// Nothing is known for sure any more: [`Mode::Raw`].
    #[inline(always)]
    pub const fn give_up(&mut self) {
        self.jump(table::RAW);
    }

    #[inline(always)]
    const fn jump(&mut self, state: u8) {
        self.remaining = 0;
        self.length = 0;
        self.state = state;
    }

    /// Whether the byte before this position was the last of a message, if there was one.
    #[inline(always)]
    const fn message_ended(&self) -> bool {
        self.remaining == 0
            && (self.state == table::START_REQUEST || self.state == table::START_RESPONSE)
    }

    /// Takes what a byte says into account. Returns whether framing fails over it.
    #[inline(always)]
    fn take(&mut self, effect: &Effect, byte: u8) -> bool {
        self.messages = self.messages.wrapping_add(u32::from(effect.begins));
        let conflicts = self.flags & effect.conflicts;
        self.flags = self.flags & effect.keeps | effect.sets;
        // As a digit: letters are 9 past their low four bits.
        let value = (byte & 15).wrapping_add((byte >> 6).wrapping_mul(9)) & effect.digit;
        self.length = self
            .length
            .wrapping_mul(u64::from(effect.scale))
            .wrapping_add(u64::from(value));
        u64::from(effect.fails) | u64::from(conflicts) | self.length >> LENGTH_BITS != 0
    }

    /// Gives up, with regard to what was known. All ones if the message that began last was none.
    #[inline(always)]
    fn fail(&mut self) -> u64 {
        let (state, withdrawn) = effect::failure(self.flags);
        self.state = state;
        self.messages = self.messages.wrapping_sub(withdrawn);
        u64::from(withdrawn).wrapping_neg()
    }

    /// The end of a head, of a chunk's size or of the trailers. Returns the HEAD bit that was set
    /// or used, if one was, how many bytes of body follow, and whether no message does.
    #[expect(clippy::cast_possible_truncation, reason = "only one bit is used")]
    #[inline(always)]
    fn pass_boundary(&mut self, effect: &Effect, head_bits: u64) -> (u64, u64, bool) {
        let response = self.flags >> flag::RESPONSES_AT & 1;
        let ordinal = self.heads & 63;
        let last = effect.ends_head & !(self.flags >> flag::INTERIM_AT);
        let head = (self.flags >> flag::HEAD_AT | (head_bits >> ordinal) as u16 & response) & last;
        self.heads = self.heads.wrapping_add(u32::from(last));

        let after = After::of(effect, self.flags, head & response, self.length);
        self.state = after.state;
        let body = self.length & after.body;
        self.length = 0;
        (u64::from(head) << ordinal, body, after.stops)
    }
}

/// How often a scan looks at a byte that may matter, or at a word of text. Heads of the usual
/// kind take a turn for each four bytes; for each the verifier follows some 600 instructions.
const fn turns(words: usize) -> usize {
    if words > 128 { 384 } else { words * 3 }
}

/// Whether `at` is not within `length`. Compared like this, the verifier does not learn a bound of
/// `at` on some paths only, and does not tell the turns of the loop apart by it.
#[inline(always)]
const fn is_beyond(at: u64, length: u64) -> bool {
    length.wrapping_sub(at).wrapping_sub(1) >> 63 != 0
}

/// No body is longer than 2^49 bytes, and nothing overflows on the way there.
const LENGTH_BITS: u32 = 49;
