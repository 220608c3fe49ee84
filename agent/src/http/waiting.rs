//! Segments that wait until both ends of their connection are known.

use super::{bounds::Bounds, http2::sender_is_client, line::Line, reader::Direction};
use crate::capture::Segment;

/// The segments of a connection in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    segments: Vec<Kept>,
    /// Of each end.
    bytes: [usize; 2],
    /// Of each end, the index behind the last segment that was dropped.
    dropped: [u32; 2],
    /// The end that sends requests, by its bytes.
    client: Option<usize>,
}

#[derive(Debug)]
struct Kept {
    end: usize,
    order: u64,
    segment: Segment,
}

impl Waiting {
    /// Keeps a segment of one end, or drops it where there is no room: then it is lost like one
    /// that never came.
    pub(super) fn keep(&mut self, end: usize, order: u64, segment: Segment, bounds: &Bounds) {
        if self.client.is_none() {
            self.client = client(end, &segment);
        }
        let count = self.segments.iter().filter(|kept| kept.end == end).count();
        let bytes = self.bytes[end] + segment.bytes.len() + size_of::<Kept>();
        if count >= bounds.waiting_segments || bytes > bounds.waiting_bytes {
            self.dropped[end] = segment.index.saturating_add(1);
        } else {
            self.bytes[end] = bytes;
            self.segments.push(Kept {
                end,
                order,
                segment,
            });
        }
    }

    /// Takes in what waited at the other end, which was alone till now.
    pub(super) fn join(&mut self, other: Self) {
        self.bytes[1] = other.bytes[0];
        self.dropped[1] = other.dropped[0];
        self.client = self.client.or(other.client.map(|end| 1 - end));
        let more = other.segments.into_iter();
        self.segments
            .extend(more.map(|kept| Kept { end: 1, ..kept }));
        self.segments.sort_by_key(|kept| kept.order);
    }

    /// Gives out all segments with their ends.
    pub(super) fn take(&mut self) -> impl Iterator<Item = (usize, Segment)> + use<> {
        self.bytes = [0; 2];
        std::mem::take(&mut self.segments)
            .into_iter()
            .map(|kept| (kept.end, kept.segment))
    }

    /// The index before which what is missing of that end was dropped here.
    pub(super) fn dropped(&self, end: usize) -> u32 {
        self.dropped[end]
    }

    /// The end that sends requests, if what came says so.
    pub(super) fn client(&self) -> Option<usize> {
        self.client
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes[0] + self.bytes[1]
    }
}

/// The client's end, if these bytes of `end` begin a message that shows it.
fn client(end: usize, segment: &Segment) -> Option<usize> {
    if segment.http2 {
        return sender_is_client(segment).map(|is_client| if is_client { end } else { 1 - end });
    }
    let start = match segment.first_message {
        Some(start) => usize::from(start),
        None if segment.offset == 0 => 0,
        None => return None,
    };
    let bytes = segment.bytes.get(start..)?;
    let message = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let reads = |direction| {
        let mut line = Line::start(direction);
        line.read(&bytes[message..]);
        line
    };
    if matches!(
        reads(Direction::Responses),
        Line::Status(_) | Line::Reason | Line::Whole
    ) {
        Some(1 - end)
    } else if reads(Direction::Requests) == Line::Whole {
        Some(end)
    } else {
        None
    }
}
