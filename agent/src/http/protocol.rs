//! Which HTTP a connection speaks.

use super::{
    conversation::{Conversation as Http1, End},
    event::{ConnectionId, Gap, HttpEvent},
    http2::{Conversation as Http2, Opening, Start},
    positions::Positions,
    reader::Direction,
};
use crate::{capture::Segment, timestamp::Timestamp};

/// The conversation of a connection whose client end is known.
///
/// ```text
///           preface, SETTINGS,
///           101 with Upgrade: h2c
/// ──▶ Http1 ─────────────────────▶ Http2
///       ▲                            │
///       └──── the client sends ──────┘
///             something else
/// ```
#[derive(Debug)]
pub(super) struct Protocol {
    connection: ConnectionId,
    /// The most open exchanges.
    outstanding: usize,
    spoken: Spoken,
}

#[derive(Debug)]
enum Spoken {
    Http1(Box<Http1>),
    Http2(Box<Http2>),
}

impl Protocol {
    /// `dropped` are the indices before which a segment of requests and of responses that is
    /// missing was dropped for want of room; `outstanding` is the most open exchanges.
    pub(super) fn new(connection: ConnectionId, dropped: [u32; 2], outstanding: usize) -> Self {
        let conversation = Http1::new(connection, dropped.map(Positions::new), outstanding);
        Self {
            connection,
            outstanding,
            spoken: Spoken::Http1(Box::new(conversation)),
        }
    }

    /// Reads a segment of one direction.
    pub(super) fn segment(
        &mut self,
        direction: Direction,
        segment: &Segment,
        events: &mut Vec<HttpEvent>,
    ) {
        if let Spoken::Http1(conversation) = &mut self.spoken {
            let may_be_http2 = match direction {
                Direction::Requests => !conversation.is_not_http(),
                // What a server sends to a client of HTTP/1 is no answer, whatever it is.
                Direction::Responses => conversation.may_be_http2(),
            };
            if segment.http2 && may_be_http2 && !may_be_other(direction, segment) {
                self.become_http2(segment.time, events);
                if direction == Direction::Requests {
                    self.become_http1(None, events);
                }
            } else {
                conversation.segment(direction, segment, events);
                if conversation.is_http2() {
                    self.become_http2(segment.time, events);
                    self.become_http1(None, events);
                }
                return;
            }
        }
        match &mut self.spoken {
            Spoken::Http1(conversation) => conversation.segment(direction, segment, events),
            Spoken::Http2(conversation) => {
                conversation.segment(direction, segment, events);
                let last = (direction == Direction::Requests).then_some(segment);
                self.become_http1(last, events);
            }
        }
    }

    /// Ends what is open.
    pub(super) fn close(&mut self, end: End, events: &mut Vec<HttpEvent>) {
        match &mut self.spoken {
            Spoken::Http1(conversation) => conversation.close(end, events),
            Spoken::Http2(conversation) => conversation.close(end, events),
        }
    }

    /// The end of a direction was not told: there may have been more.
    pub(super) fn lose_end(
        &mut self,
        direction: Direction,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        match &mut self.spoken {
            Spoken::Http1(conversation) => conversation.lose_end(direction, time, events),
            Spoken::Http2(conversation) => conversation.lose_end(direction, time, events),
        }
    }

    /// Something on it is open, or was never seen to begin.
    pub(super) fn is_open(&self) -> bool {
        match &self.spoken {
            Spoken::Http1(conversation) => conversation.is_open(),
            Spoken::Http2(conversation) => conversation.is_open(),
        }
    }

    /// An exchange waits for its response.
    pub(super) fn is_waiting(&self) -> bool {
        match &self.spoken {
            Spoken::Http1(conversation) => conversation.is_waiting(),
            Spoken::Http2(conversation) => conversation.is_waiting(),
        }
    }

    /// The end of a response may have been missed.
    pub(super) fn may_have_missed(&self) -> bool {
        match &self.spoken {
            // There responses come in order: the next one tells.
            Spoken::Http1(_) => false,
            Spoken::Http2(conversation) => conversation.may_have_missed(),
        }
    }

    /// Ends the exchanges that are open, and reads on.
    pub(super) fn end_waiting(&mut self, cause: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        match &mut self.spoken {
            Spoken::Http1(conversation) => conversation.end_waiting(cause, time, events),
            Spoken::Http2(conversation) => conversation.end_waiting(cause, time, events),
        }
    }

    /// Gives up what is open. Says how many messages of the client were accounted for, and how
    /// many more began that are lost.
    pub(super) fn evict(
        &mut self,
        cause: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> (u32, u32) {
        match &mut self.spoken {
            Spoken::Http1(conversation) => conversation.evict(cause, time, events),
            Spoken::Http2(conversation) => conversation.evict(cause, time, events),
        }
    }

    /// Whether it ends without a request, and why that is no wonder.
    pub(super) fn no_request(&self) -> NoRequest {
        match &self.spoken {
            Spoken::Http1(conversation) if conversation.has_no_request() => NoRequest::NoLine,
            Spoken::Http2(conversation) if conversation.has_no_request() => NoRequest::NoStream,
            Spoken::Http1(_) | Spoken::Http2(_) => NoRequest::No,
        }
    }

    /// Bytes that are kept for this connection.
    pub(super) fn held(&self) -> usize {
        match &self.spoken {
            Spoken::Http1(conversation) => conversation.held(),
            Spoken::Http2(conversation) => conversation.held(),
        }
    }

    fn become_http2(&mut self, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let Spoken::Http1(conversation) = &mut self.spoken else {
            return;
        };
        let upgrade = conversation.take_upgrade();
        let unread = [Direction::Requests, Direction::Responses]
            .map(|direction| (direction, conversation.take_unread(direction)));
        let [(_, requests), _] = &unread;
        let asked = (!requests.is_empty()).then(|| conversation.requests.reader.began());
        // What is open otherwise is open by mistake: the answer to it was not seen.
        conversation.end_waiting(Gap::StreamGap, time, events);
        let mut http2 = Box::new(Http2::new(Start {
            connection: self.connection,
            positions: conversation.positions(),
            begun: conversation.begun(),
            outstanding: self.outstanding,
            upgrade,
            asked,
        }));
        for (direction, bytes) in unread {
            http2.read(direction, &bytes, time, events);
        }
        self.spoken = Spoken::Http2(http2);
    }

    /// Goes back to HTTP/1 if what the client began with is no preface. `last` is its segment with
    /// the last of that, if it is read now.
    fn become_http1(&mut self, last: Option<&Segment>, events: &mut Vec<HttpEvent>) {
        let Spoken::Http2(conversation) = &mut self.spoken else {
            return;
        };
        let Some((began, bytes)) = conversation.take_not_http2() else {
            return;
        };
        let positions = conversation.positions();
        let mut conversation = Http1::new(self.connection, positions, self.outstanding);
        conversation.begin_late(began, &bytes, last, events);
        self.spoken = Spoken::Http1(Box::new(conversation));
    }
}

/// Whether a connection that ended carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoRequest {
    /// It did, or may have.
    No,
    /// No request line of HTTP/1 was complete.
    NoLine,
    /// It was HTTP/2, and no stream was opened.
    NoStream,
}

/// The kernel side takes a server's first bytes for HTTP/2 as long as they can be that.
fn may_be_other(direction: Direction, segment: &Segment) -> bool {
    direction == Direction::Responses
        && segment.offset == 0
        && !segment.joined
        && Opening::of(direction, &segment.bytes) == Opening::Partial
}
