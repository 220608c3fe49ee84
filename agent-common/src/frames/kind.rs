//! What has to be shipped of a frame, by its type and flags.

use super::Header;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) mod flag {
    /// Of DATA and HEADERS.
    pub(super) const END_STREAM: u8 = 1;
    /// Of SETTINGS and PING.
    pub(in super::super) const ACK: u8 = 1;
    pub(in super::super) const PADDED: u8 = 1 << PADDED_AT;
    pub(super) const PADDED_AT: u32 = 3;
}

/// What has to be shipped of a frame, as numbers to calculate with: the verifier would follow each
/// branch in each turn of a loop.
pub(super) struct Wanted {
    /// All ones if the header has to be, or 0.
    pub(super) header: u64,
    /// How many of the first bytes of the payload.
    pub(super) payload: u64,
    /// 1 if a client opens a stream with it, if that is a new one; or 0.
    pub(super) opens: u64,
    /// 1 if a message ends with its payload; or 0.
    pub(super) ends: u64,
}

/// What has to be shipped of a frame with this header.
#[inline(always)]
pub(super) fn wanted(header: &Header) -> Wanted {
    let rule = &RULES[header.kind() as usize];
    let flags = u64::from(header.flags());
    // Subtracted from, not negated: for that the compiler puts in a branch.
    let kept = (mask(rule.acknowledges) & flags & u64::from(flag::ACK)).wrapping_sub(1);
    let padded = flags >> flag::PADDED_AT & mask(rule.pads) & 1;
    Wanted {
        header: mask(rule.header) & kept,
        payload: header.length() & mask(rule.payload) & kept | padded,
        opens: mask(rule.opens) & header.stream() & 1,
        ends: mask(rule.ends) & flags & u64::from(flag::END_STREAM),
    }
}

/// Of a type: -1 or 0, which the compiler cannot tell from other numbers.
#[derive(Clone, Copy)]
struct Rule {
    /// The header has to be shipped.
    header: i8,
    /// All of the payload has to be.
    payload: i8,
    /// None of it has to be if it is an acknowledgement.
    acknowledges: i8,
    /// The length of its padding has to be shipped.
    pads: i8,
    /// It may open a stream.
    opens: i8,
    /// It may end a message with a payload that is left out.
    ends: i8,
    _padding: [i8; 2],
}

#[inline(always)]
const fn mask(number: i8) -> u64 {
    (number as i64).cast_unsigned()
}

/// By type.
static RULES: [Rule; 256] = rules();

const fn rules() -> [Rule; 256] {
    let none = Rule {
        header: 0,
        payload: 0,
        acknowledges: 0,
        pads: 0,
        opens: 0,
        ends: 0,
        _padding: [0; 2],
    };
    let whole = Rule {
        header: -1,
        payload: -1,
        ..none
    };
    let mut rules = [none; 256];
    // With its padding: both tell how long the data is that is left out.
    rules[DATA as usize] = Rule {
        header: -1,
        pads: -1,
        ends: -1,
        ..none
    };
    rules[HEADERS as usize] = Rule { opens: -1, ..whole };
    rules[RST_STREAM as usize] = whole;
    rules[SETTINGS as usize] = Rule {
        acknowledges: -1,
        ..whole
    };
    rules[PUSH_PROMISE as usize] = whole;
    rules[GOAWAY as usize] = whole;
    rules[CONTINUATION as usize] = whole;
    rules
}
