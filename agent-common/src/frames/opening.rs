//! What the first bytes of one direction of a connection say about its protocol.

use super::{Header, kind};

/// What the first bytes of one direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The preface of a client (RFC 9113 section 3.4); frames follow.
    Preface,
    /// The header of a SETTINGS frame, with which a server begins.
    Settings,
    /// The beginning of such a header.
    Unfinished,
    /// Not HTTP/2.
    Other,
}

impl Opening {
    /// What a client sends first.
    pub const PREFACE: &[u8; Self::PREFACE_LENGTH as usize] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    pub(super) const PREFACE_LENGTH: u32 = 24;

    /// Judges `length` bytes, in words as they stand in memory, and behind them zeroes; of a
    /// header whose first `held` bytes were in `before`.
    #[inline(always)]
    pub(super) const fn of(first: [u64; 3], length: u64, before: u64, held: u64) -> Self {
        let [a, b, c] = PREFACE_WORDS;
        if held == 0 && first[0] == a && first[1] == b && first[2] == c {
            return Self::Preface;
        }
        let header = Header::joined(
            before,
            held,
            u64::from_le(first[0]),
            first[1].to_ne_bytes()[0],
        );
        let there = length + held;
        if !header.may_open(there) {
            return Self::Other;
        }
        if there < Header::LENGTH {
            Self::Unfinished
        } else {
            Self::Settings
        }
    }
}

const PREFACE_WORDS: [u64; 3] = words(Opening::PREFACE);

const fn words(bytes: &[u8; 24]) -> [u64; 3] {
    let mut words = [[0; 8]; 3];
    let mut at = 0;
    while at < bytes.len() {
        words[at / 8][at % 8] = bytes[at];
        at += 1;
    }
    [
        u64::from_ne_bytes(words[0]),
        u64::from_ne_bytes(words[1]),
        u64::from_ne_bytes(words[2]),
    ]
}

/// The largest frame that may be sent before the other side has allowed more.
const LARGEST: u64 = 1 << 14;
/// The size of one setting.
const SETTING: u64 = 6;

impl Header {
    /// Whether this is that of a SETTINGS frame with which a direction may open, as far as its
    /// first `there` bytes tell; those behind are zero.
    #[inline(always)]
    const fn may_open(&self, there: u64) -> bool {
        let length = self.length();
        let known_length = there > 2;
        let known_kind = there > 3;
        length <= LARGEST
            && (!known_length || length.is_multiple_of(SETTING))
            && (!known_kind || self.kind() == kind::SETTINGS)
            && self.flags() == 0
            && self.stream() == 0
    }
}
