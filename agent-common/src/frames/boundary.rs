//! Whether a frame begins where one might.

use super::{
    Header,
    kind::{self, flag},
};

/// Frames that tile, from a position where one might begin.
///
/// ```text
/// Boundary ──▶ next() where the frame before ends ──▶ … ──▶ is_proven()
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Boundary {
    /// How many there are so far.
    frames: u32,
    /// The stream whose header block is not whole, 0 if none.
    open_block: u64,
}

/// What speaks for a boundary besides the frames themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Nothing.
    None,
    /// Whatever was sent before was acknowledged: this is likely to be the beginning of a write.
    Write,
}

impl Boundary {
    /// Frames in a row that are believed.
    const ENOUGH: u32 = 3;

    /// Takes the frame with this header for the next one. False if it cannot be that: there is
    /// no boundary.
    #[inline(always)]
    pub const fn next(&mut self, header: &Header) -> bool {
        if !header.is_legal() || !self.is_in_order(header) {
            return false;
        }
        self.frames += 1;
        let begins = matches!(header.kind(), kind::HEADERS | kind::PUSH_PROMISE);
        if begins || header.kind() == kind::CONTINUATION {
            self.open_block = if header.flags() & END_HEADERS == 0 {
                header.stream()
            } else {
                0
            };
        }
        true
    }

    /// Whether it is believed, with what else speaks for it.
    #[inline(always)]
    #[must_use]
    pub const fn is_proven(&self, evidence: Evidence) -> bool {
        match evidence {
            Evidence::None => self.frames >= Self::ENOUGH,
            Evidence::Write => self.frames > 0,
        }
    }

    /// A header block is not interrupted (RFC 9113 section 6.10), and nothing is understood of one
    /// from its middle on.
    #[inline(always)]
    const fn is_in_order(&self, header: &Header) -> bool {
        if header.kind() == kind::CONTINUATION {
            self.open_block != 0 && header.stream() == self.open_block
        } else {
            self.open_block == 0
        }
    }
}

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 1 << 2;
const PRIORITY: u8 = 1 << 5;

impl Header {
    /// Whether there may be a frame with this header (RFC 9113 section 6), of a known type.
    #[inline(always)]
    #[must_use]
    pub const fn is_legal(&self) -> bool {
        let (kind, flags, length) = (self.kind(), self.flags(), self.length());
        let on_connection = self.stream() == 0;
        match kind {
            kind::DATA => !on_connection && flags & !(END_STREAM | flag::PADDED) == 0,
            kind::HEADERS => {
                !on_connection
                    && length > 0
                    && flags & !(END_STREAM | END_HEADERS | flag::PADDED | PRIORITY) == 0
            }
            kind::PRIORITY => !on_connection && length == 5 && flags == 0,
            kind::RST_STREAM => !on_connection && length == 4 && flags == 0,
            kind::SETTINGS => {
                on_connection
                    && flags & !flag::ACK == 0
                    && length.is_multiple_of(6)
                    && (flags == 0 || length == 0)
            }
            kind::PUSH_PROMISE => {
                !on_connection && length > 4 && flags & !(END_HEADERS | flag::PADDED) == 0
            }
            kind::PING => on_connection && length == 8 && flags & !flag::ACK == 0,
            kind::GOAWAY => on_connection && length >= 8 && flags == 0,
            kind::WINDOW_UPDATE => length == 4 && flags == 0,
            kind::CONTINUATION => !on_connection && flags & !END_HEADERS == 0,
            _ => false,
        }
    }
}
