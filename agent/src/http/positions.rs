//! Where the segments of one socket stand: their numbers, their offsets, their messages.

use super::event::Gap;
use crate::capture::Segment;

/// The place of the next segment in what a socket sends.
#[derive(Clone, Debug)]
pub(super) struct Positions {
    /// Messages that began, in the kernel side's count; of a client's HTTP/2, streams.
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

impl Positions {
    /// Those of a socket whose segments before `dropped_before`, as far as they are missing, were
    /// dropped for want of room.
    pub(super) fn new(dropped_before: u32) -> Self {
        Self {
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

    /// This segment, which was not yet placed, is the first of those that are marked as joined.
    ///
    /// The mark may stay on all segments of a joined stream: then only its coming counts.
    pub(super) fn begins_joined(&self, segment: &Segment) -> bool {
        segment.joined && !self.joined
    }

    /// The bytes still to come of a socket that sent so many in all.
    pub(super) fn rest(&self, sent: u64) -> u64 {
        sent.saturating_sub(self.position)
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
