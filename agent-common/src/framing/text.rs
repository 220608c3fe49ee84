//! Runs of bytes that do not change the state, eight at a time.

use super::classes::DELETE;

/// Bytes from a certain one on, except DEL.
#[derive(Clone, Copy)]
pub(super) struct Text {
    least: u8,
}

const ONES: u64 = 0x0101_0101_0101_0101;
const TOPS: u64 = ONES << 7;

impl Text {
    /// No byte.
    pub(super) const NONE: Self = Self { least: 0 };

    /// Bytes from `least` on, which is at most 128.
    pub(super) const fn from(least: u8) -> Self {
        assert!(least != 0 && least <= 128);
        Self { least }
    }

    #[inline(always)]
    pub(super) const fn is_some(self) -> bool {
        self.least != 0
    }

    /// How many bytes of a word are text, from the lowest on; none if all are. The lowest `taken`
    /// bytes were shifted out before.
    #[inline(always)]
    pub(super) const fn count(self, rest: u64, taken: u64) -> Option<u64> {
        // Ones are text.
        let word = rest | !(u64::MAX >> (taken << 3 & 63));
        // In each byte the top bit: borrowed from, though not set before. The lowest such byte is
        // really less; of those above, the borrow may have come from below.
        let less = word.wrapping_sub(ONES.wrapping_mul(self.least as u64)) & !word;
        let differing = word ^ ONES.wrapping_mul(DELETE as u64);
        let equal = differing.wrapping_sub(ONES) & !differing;
        let ends = (less | equal) & TOPS;
        if ends == 0 {
            return None;
        }
        // A one for each byte below the lowest, added up in the top byte.
        let below = (ends.wrapping_sub(1) & !ends & TOPS) >> 7;
        Some(below.wrapping_mul(ONES) >> 56)
    }
}
