//! Where the segments of one socket stand: their numbers, their offsets, their messages.

use super::{
    event::Gap,
    reader::{Direction, Reader},
};
use crate::capture::Segment;

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) reader: Reader,
    /// Messages that began, in the kernel side's count.
    pub(super) messages: u32,
    /// The index of the next segment.
    next_index: u32,
    /// The offset behind the last byte that was sent.
    position: u64,
    /// The last segment was marked as joined.
    joined: bool,
    /// Segments before this index were dropped here, for want of room.
    dropped_before: u32,
}

/// How a segment follows the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// It was read already.
    Stale,
    /// It is the next; so many bytes of body were left out before it.
    Next {
        /// Those bytes; none if it lies before the last, which cannot be.
        skipped: Option<u64>,
    },
    /// Segments before it are missing.
    AfterLoss {
        /// The bytes between, if it lies behind the last one.
        skipped: Option<u64>,
        /// Who lost them.
        cause: Gap,
    },
}

impl Stream {
    /// A stream whose segments before `dropped_before`, as far as they are missing, were dropped
    /// for want of room.
    pub(super) fn new(direction: Direction, dropped_before: u32) -> Self {
        Self {
            reader: Reader::new(direction),
            messages: 0,
            next_index: 0,
            position: 0,
            joined: false,
            dropped_before,
        }
    }

    /// No segment has come.
    pub(super) fn is_untouched(&self) -> bool {
        self.next_index == 0
    }

    /// The index of the next segment.
    pub(super) fn next_index(&self) -> u32 {
        self.next_index
    }

    /// This segment, which was not yet placed, gives a position to a stream that has none.
    ///
    /// The mark may stay on all segments of a joined stream: then only its coming counts.
    pub(super) fn is_joined_by(&self, segment: &Segment) -> bool {
        let loss = self.reader.loss();
        let needed = self.is_untouched() || loss.is_some() || self.reader.is_in_head();
        let contradicted = loss.is_some_and(|loss| !loss.trusting);
        needed && (segment.after_gap || (segment.joined && (!self.joined || contradicted)))
    }

    /// Its socket sent so many bytes in all. False if some are missing that are not body.
    pub(super) fn end(&mut self, sent: u64) -> bool {
        self.reader.skip(sent.saturating_sub(self.position))
    }

    /// Takes note of a segment.
    pub(super) fn place(&mut self, segment: &Segment) -> Placement {
        if segment.index < self.next_index {
            return Placement::Stale;
        }
        let skipped = segment.offset.checked_sub(self.position);
        let placement = if segment.index == self.next_index {
            Placement::Next { skipped }
        } else {
            let cause = if self.next_index < self.dropped_before {
                Gap::Evicted
            } else {
                Gap::RingLost
            };
            Placement::AfterLoss { skipped, cause }
        };
        self.next_index = segment.index.saturating_add(1);
        self.joined = segment.joined;
        self.position = segment
            .offset
            .saturating_add(segment.bytes.len() as u64)
            .saturating_add(segment.elided);
        placement
    }

    /// Messages that the kernel side counted and that never got here, up to its count `messages`.
    /// From here on its count is ours.
    pub(super) fn catch_up(&mut self, messages: u32) -> u32 {
        let lost = messages.saturating_sub(self.messages);
        self.messages = messages;
        lost
    }
}
