//! What the first bytes of one direction of a connection say about its protocol.

use super::{Header, kind, unaligned};

/// What the first bytes of one direction are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The preface of a client (RFC 9113 section 3.4); frames follow.
    Preface,
    /// The beginning of a preface, as far as tells it from the methods in use.
    PrefaceBegun,
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
    /// header whose first `held` bytes were in `before`, or of a preface whose first `known` bytes
    /// were there.
    #[inline(always)]
    pub(super) fn of(first: [u64; 3], length: u64, before: u64, held: u64, known: u64) -> Self {
        /// `PRI` is a method that nobody may use (RFC 9113 section 11.6).
        const TELLING: u64 = 3;
        if held == 0 && goes_on_with_preface(first, length, known) {
            let there = length + known;
            if there >= u64::from(Self::PREFACE_LENGTH) {
                return Self::Preface;
            }
            if there >= TELLING {
                return Self::PrefaceBegun;
            }
        }
        if known != 0 {
            return Self::Other;
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

/// The preface, and behind it zeroes.
static PREFACE_WORDS: [u64; 8] = words(Opening::PREFACE);

const fn words(bytes: &[u8; 24]) -> [u64; 8] {
    let mut words = [0; 8];
    let mut at = 0;
    while at < bytes.len() {
        words[at / 8] |= (bytes[at] as u64) << (at % 8 * 8);
        at += 1;
    }
    let mut index = 0;
    while index < words.len() {
        words[index] = u64::from_le(words[index]);
        index += 1;
    }
    words
}

/// Whether `length` bytes are those of the preface from its byte `known` on, as far as it goes.
#[inline(always)]
fn goes_on_with_preface(first: [u64; 3], length: u64, known: u64) -> bool {
    let left = u64::from(Opening::PREFACE_LENGTH).wrapping_sub(known);
    let compared = length.min(left);
    let mut at = 0_u64;
    let mut differs = 0;
    for word in first {
        let (expected, _) = unaligned(&PREFACE_WORDS, known.wrapping_add(at));
        differs |= (u64::from_le(word) ^ expected) & low_bytes(compared.saturating_sub(at));
        at += 8;
    }
    differs == 0
}

/// Ones in the first `count` bytes of a word, or in all of them.
#[inline(always)]
const fn low_bytes(count: u64) -> u64 {
    let half = if count < 8 { count << 2 } else { 32 };
    !(u64::MAX << half << half)
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
