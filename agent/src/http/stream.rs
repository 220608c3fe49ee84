//! One direction of a connection that carries HTTP/1.

use super::{
    positions::Positions,
    reader::{Direction, Reader},
};
use crate::capture::Segment;

/// What one end sends, and how far it was read.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) reader: Reader,
    pub(super) positions: Positions,
}

impl Stream {
    pub(super) fn new(direction: Direction, positions: Positions) -> Self {
        Self {
            reader: Reader::new(direction),
            positions,
        }
    }

    /// This segment, which was not yet placed, gives a position to a stream that has none.
    pub(super) fn is_joined_by(&self, segment: &Segment) -> bool {
        let loss = self.reader.loss();
        let needed = self.positions.is_untouched() || loss.is_some() || self.reader.is_in_head();
        let contradicted = loss.is_some_and(|loss| !loss.trusting);
        let joined = self.positions.begins_joined(segment) || (segment.joined && contradicted);
        needed && (segment.after_gap || joined)
    }

    /// Its socket sent so many bytes in all. False if some are missing that are not body.
    pub(super) fn end(&mut self, sent: u64) -> bool {
        self.reader.skip(self.positions.rest(sent))
    }
}
