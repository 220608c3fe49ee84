//! The header of a frame.

/// The nine bytes of a frame's header (RFC 9113 section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Length, type, flags, and all but the last byte of the stream, as they stand in memory.
    first: u64,
    /// The last byte of the stream.
    last: u8,
}

impl Header {
    /// How long a header is.
    pub const LENGTH: u64 = 9;

    /// The header that begins eight bytes as they stand in memory; `last` is its ninth byte.
    #[inline(always)]
    #[must_use]
    pub const fn new(first: u64, last: u8) -> Self {
        Self { first, last }
    }

    /// A header of which `held` bytes (at most 8) were there before, in the low bytes of `before`,
    /// and what follows begins with `next` and `last`.
    #[expect(clippy::cast_possible_truncation, reason = "a byte of it")]
    #[inline(always)]
    pub(super) const fn joined(before: u64, held: u64, next: u64, last: u8) -> Self {
        let half = held << 2;
        // The byte of `next` that is the ninth of the header, if any was held.
        let tail = (next >> ((half << 1).wrapping_neg() & 63)) as u8;
        let none_held = (held.wrapping_sub(1) >> 63).wrapping_neg() as u8;
        Self {
            first: before | next << half << half,
            last: tail ^ (tail ^ last) & none_held,
        }
    }

    /// The first `count` bytes, less than nine.
    #[inline(always)]
    pub(super) const fn first(&self, count: u64) -> u64 {
        let half = count << 2;
        self.first & !(u64::MAX << half << half)
    }

    /// The length of the payload.
    #[inline(always)]
    #[must_use]
    pub const fn length(&self) -> u64 {
        // Without swapping: of that instruction, verifiers before 6.7 believe that it depends on
        // another register, which they then follow back through all turns of a loop.
        (self.first & 0xff) << 16 | self.first & 0xff00 | self.first >> 16 & 0xff
    }

    /// The type.
    #[expect(clippy::cast_possible_truncation, reason = "a byte of it")]
    #[inline(always)]
    #[must_use]
    pub const fn kind(&self) -> u8 {
        (self.first >> 24) as u8
    }

    /// The flags.
    #[expect(clippy::cast_possible_truncation, reason = "a byte of it")]
    #[inline(always)]
    #[must_use]
    pub const fn flags(&self) -> u8 {
        (self.first >> 32) as u8
    }

    /// The stream, without the reserved bit.
    #[inline(always)]
    #[must_use]
    pub const fn stream(&self) -> u64 {
        self.first >> 16 & 0x7f00_0000
            | self.first >> 32 & 0xff_0000
            | self.first >> 48 & 0xff00
            | self.last as u64
    }
}
