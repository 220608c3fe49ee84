//! What an action does to [`Framing`](super::Framing), as numbers to calculate with.
//!
//! The verifier follows each path through the loop in each of its turns, and would take a branch
//! for every action a thousand times over. So the actions differ in numbers, not in code.
#![expect(
    clippy::cast_possible_truncation,
    reason = "constants that are far smaller; TryFrom is not const"
)]

use super::table::{self, action};

/// Bits of [`Framing`](super::Framing)'s flags; their positions are used below and by it. The
/// direction is numbered like the states that begin a message; those from `PLAUSIBLE` on belong
/// to one message.
pub(super) mod flag {
    pub(in super::super) const REQUESTS: u16 = 1 << 0;
    pub(in super::super) const RESPONSES: u16 = 1 << RESPONSES_AT;
    /// Since `rejoin`, no start line was seen whole.
    pub(in super::super) const JOINING: u16 = 1 << 2;
    /// What is there of the start line looks like HTTP: lenient servers may take it.
    pub(super) const PLAUSIBLE: u16 = 1 << 3;
    /// The request is HEAD.
    pub(super) const HEAD: u16 = 1 << HEAD_AT;
    /// HTTP/1.0
    pub(super) const VERSION_0: u16 = 1 << 5;
    /// Another response to the same request follows.
    pub(super) const INTERIM: u16 = 1 << INTERIM_AT;
    pub(super) const BODILESS: u16 = 1 << BODILESS_AT;
    /// CONNECT, or status 101: what follows is another protocol, or may be.
    pub(super) const HANDOVER: u16 = BODILESS << 1;
    pub(super) const LENGTH: u16 = BODILESS << 2;
    pub(super) const CHUNKED: u16 = BODILESS << 3;

    pub(in super::super) const DIRECTION: u16 = REQUESTS | RESPONSES;
    pub(super) const CONNECTION: u16 = DIRECTION | JOINING;

    pub(in super::super) const RESPONSES_AT: u32 = 1;
    pub(in super::super) const HEAD_AT: u32 = 4;
    pub(in super::super) const INTERIM_AT: u32 = 6;
    pub(super) const BODILESS_AT: u32 = 7;
}

/// What an action does.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Effect {
    /// Messages that begin: 1 or 0.
    pub(super) begins: u8,
    /// Not 0: framing fails.
    pub(super) fails: u8,
    /// What `length` is multiplied by.
    pub(super) scale: u8,
    /// Mask of the digit that is added to `length`.
    pub(super) digit: u8,
    /// Mask of the flags that stay.
    pub(super) keeps: u16,
    /// Flags that are set.
    pub(super) sets: u16,
    /// Flags with which framing fails, if they were set before.
    pub(super) conflicts: u16,
    /// Heads that end: 1 or 0.
    pub(super) ends_head: u16,
    /// One of `boundary`, or 0.
    boundary: u16,
    _padding: u16,
}

const EFFECTS: usize = 32;
static TABLE: [Effect; EFFECTS] = effects();

impl Effect {
    const NONE: Self = Self {
        begins: 0,
        fails: 0,
        scale: 1,
        digit: 0,
        keeps: u16::MAX,
        sets: 0,
        conflicts: 0,
        ends_head: 0,
        boundary: 0,
        _padding: 0,
    };

    /// The effect of an action.
    #[inline(always)]
    pub(super) fn of(action: u8) -> &'static Self {
        &TABLE[action as usize & (EFFECTS - 1)]
    }

    /// Where the first message begins: `first`, or here if that is still all ones and one does.
    #[inline(always)]
    pub(super) const fn first(&self, first: u64, here: u64) -> u64 {
        let begins = (first >> 63 & self.begins as u64).wrapping_neg();
        first ^ (first ^ here) & begins
    }

    /// Whether a head, a chunk's size or the trailers end.
    #[inline(always)]
    pub(super) const fn is_boundary(&self) -> bool {
        self.boundary != 0
    }

    const fn sets(sets: u16) -> Self {
        Self { sets, ..Self::NONE }
    }
}

const fn effects() -> [Effect; EFFECTS] {
    let none = Effect::NONE;
    let begin = Effect {
        begins: 1,
        keeps: flag::CONNECTION,
        ..none
    };
    let digit = Effect {
        digit: u8::MAX,
        ..none
    };
    let start_line = Effect {
        keeps: !flag::JOINING,
        ..none
    };
    let mut effects = [Effect { fails: 1, ..none }; EFFECTS];
    effects[0] = none;
    effects[action::BEGIN as usize] = begin;
    effects[action::BEGIN_FAIL as usize] = Effect { fails: 1, ..begin };
    effects[action::METHOD as usize] = Effect::sets(flag::PLAUSIBLE);
    effects[action::HEAD as usize] = Effect::sets(flag::PLAUSIBLE | flag::HEAD);
    effects[action::CONNECT as usize] = Effect::sets(flag::PLAUSIBLE | flag::HANDOVER);
    effects[action::VERSION_0 as usize] = Effect::sets(flag::PLAUSIBLE | flag::VERSION_0);
    effects[action::VERSION_1 as usize] = Effect::sets(flag::PLAUSIBLE);
    effects[action::INTERIM as usize] = Effect::sets(flag::INTERIM | flag::BODILESS);
    effects[action::SWITCHING as usize] = Effect::sets(flag::HANDOVER);
    effects[action::BODILESS as usize] = Effect::sets(flag::BODILESS);
    effects[action::REQUEST as usize] = Effect {
        sets: flag::REQUESTS,
        ..start_line
    };
    effects[action::RESPONSE as usize] = Effect {
        sets: flag::RESPONSES,
        ..start_line
    };
    effects[action::LENGTH as usize] = Effect {
        sets: flag::LENGTH,
        conflicts: flag::LENGTH | flag::CHUNKED,
        ..none
    };
    // A coding is not defined for 1.0 (RFC 9112 section 6.1).
    effects[action::CODING as usize] = Effect {
        sets: flag::CHUNKED,
        conflicts: flag::LENGTH | flag::CHUNKED | flag::VERSION_0,
        ..none
    };
    effects[action::DECIMAL as usize] = Effect { scale: 10, ..digit };
    effects[action::HEXADECIMAL as usize] = Effect { scale: 16, ..digit };
    effects[action::HEAD_END as usize] = Effect {
        ends_head: 1,
        boundary: boundary::HEAD,
        ..none
    };
    effects[action::CHUNK as usize] = Effect {
        boundary: boundary::CHUNK,
        ..none
    };
    effects[action::TRAILERS_END as usize] = Effect {
        boundary: boundary::TRAILERS,
        ..none
    };
    effects
}

/// Kinds of boundary, placed where they stand in the index of [`AFTER`].
mod boundary {
    pub(super) const HEAD: u16 = 1 << 6;
    pub(super) const CHUNK: u16 = 2 << 6;
    pub(super) const TRAILERS: u16 = 3 << 6;
}

const KEYS: usize = 256;
/// The state in the low byte, [`BODY`] and [`STOPS`] in the high one. Not in the state's own bits:
/// what the verifier learned of them here it would know of the state, and would follow the turns
/// behind a boundary once more than others.
static AFTER: [u16; KEYS] = after_boundaries();
/// The length that was read is to be passed over before the state.
const BODY: u8 = 1 << 0;
/// No message follows in that state.
const STOPS: u8 = 1 << 1;

/// What comes after a boundary.
pub(super) struct After {
    pub(super) state: u8,
    /// A mask of the length that remains before it.
    pub(super) body: u64,
    /// No message follows in that state.
    pub(super) stops: bool,
}

impl After {
    #[inline(always)]
    pub(super) fn of(effect: &Effect, flags: u16, bodiless: u16, length: u64) -> Self {
        // Lengths are far below 2^63.
        let some = (length.wrapping_add(u64::MAX >> 1) >> 63) as u16;
        let body = flags >> flag::BODILESS_AT & 15 | bodiless;
        let response = flags >> flag::RESPONSES_AT & 1;
        // Added, so that the mask below stays: see `table::transition`.
        let key = effect
            .boundary
            .wrapping_add(some << 5 | response << 4 | body);
        let [state, rest] = AFTER[key as usize & (KEYS - 1)].to_le_bytes();
        Self {
            state,
            body: u64::from(rest & BODY).wrapping_neg(),
            stops: rest & STOPS != 0,
        }
    }
}

const fn after_boundaries() -> [u16; KEYS] {
    let mut cells = [0; KEYS];
    let mut key = 0;
    while key < KEYS {
        let response = key >> 4 & 1 != 0;
        let some = key >> 5 & 1 != 0;
        let flags = (key as u16 & 15) << flag::BODILESS_AT;
        let start = if response {
            table::START_RESPONSE
        } else {
            table::START_REQUEST
        };
        let (state, body) = match key as u16 & boundary::TRAILERS {
            boundary::HEAD => after_head(flags, response, some, start),
            boundary::CHUNK if some => (table::CHUNK_DATA_CR, BODY),
            boundary::CHUNK => (table::TRAILER, 0),
            _ => (start, 0),
        };
        let stops = if state >= table::UNTIL_CLOSE {
            STOPS
        } else {
            0
        };
        cells[key] = u16::from_le_bytes([state, body | stops]);
        key += 1;
    }
    cells
}

/// RFC 9112 section 6.3, so far as it is plain.
const fn after_head(flags: u16, response: bool, some: bool, start: u8) -> (u8, u8) {
    if flags & flag::HANDOVER != 0 {
        // Whether CONNECT succeeds is for the other side to say.
        return (if response { table::OPAQUE } else { table::RAW }, 0);
    }
    if flags & flag::BODILESS != 0 {
        return (start, 0);
    }
    if flags & flag::CHUNKED != 0 {
        return (table::CHUNK_SIZE, 0);
    }
    if some {
        return (start, BODY);
    }
    if response && flags & flag::LENGTH == 0 {
        return (table::UNTIL_CLOSE, 0);
    }
    (start, 0)
}

const OUTCOMES: usize = 16;
/// By the flags up to `PLAUSIBLE`: the state in the low bits, [`WITHDRAWN`] if the message that
/// began last was none.
static FAILURES: [u8; OUTCOMES] = failures();
const WITHDRAWN: u8 = 1 << 7;

/// The state after a failure, and how many messages (1 or 0) it takes back.
#[inline(always)]
pub(super) fn failure(flags: u16) -> (u8, u32) {
    let cell = FAILURES[flags as usize & (OUTCOMES - 1)];
    (cell & !WITHDRAWN, u32::from(cell >> 7))
}

const fn failures() -> [u8; OUTCOMES] {
    let mut cells = [0; OUTCOMES];
    let mut flags = 0;
    while flags < OUTCOMES {
        cells[flags] = if flags as u16 & flag::JOINING != 0 {
            table::LOST | WITHDRAWN
        } else if flags as u16 & (flag::DIRECTION | flag::PLAUSIBLE) != 0 {
            table::RAW
        } else {
            table::OPAQUE | WITHDRAWN
        };
        flags += 1;
    }
    cells
}

const _: () = assert!(table::LOST < WITHDRAWN);
