//! The two streams of a connection, read together.

use super::{
    event::{ConnectionId, Exchange, Gap, HttpEvent},
    pairing::Pairing,
    positions::{Placement, Positions},
    reader::{Direction, Loss},
    stream::Stream,
};
use crate::{
    capture::{Segment, StreamTotals},
    timestamp::Timestamp,
};

/// The HTTP/1 of a connection whose client end is known.
///
/// Bytes are counted, so what is missing is no loss as long as it is body. How a position is lost,
/// and found again:
///
/// | what happened | goes on at |
/// |---|---|
/// | a segment is missing, and not only body with it | the next message that the kernel side marks |
/// | a head beyond the limit; a response to an unknown request | the same |
/// | what was left out is not body here; the bytes are no HTTP | a position that the kernel side found anew |
/// | a tunnel, a protocol that never was HTTP, the last message | nowhere: nothing is lost there |
#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) requests: Stream,
    pub(super) responses: Stream,
    pub(super) pairing: Pairing,
    /// The request in progress was told as begun.
    pub(super) told: bool,
    /// No request follows the one in progress.
    pub(super) last_request: bool,
    /// No response follows the one in progress.
    pub(super) last_response: bool,
    /// The response in progress is an interim one.
    pub(super) interim: bool,
    /// The next request stands at a position found anew.
    pub(super) joined: bool,
    /// When the bytes that are no request were sent, with which the connection began.
    pub(super) unread: Option<Timestamp>,
    /// A line ended in them.
    pub(super) unread_line: bool,
    /// What one end sends turned out to be HTTP/2.
    pub(super) http2: bool,
    /// The request that made it so.
    pub(super) upgrade: Option<Exchange>,
}

/// What is known when a connection has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    /// When it did.
    pub(super) time: Timestamp,
    /// What the client end's stream came to; none if that end was never seen.
    pub(super) requests: Option<Sent>,
    /// What the server end's stream came to; none if that end was never seen.
    pub(super) responses: Option<Sent>,
    /// When the server end closed, if it sent a FIN.
    pub(super) server_fin: Option<Timestamp>,
}

/// What the kernel side says that an end sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    /// Bytes.
    pub(super) bytes: u64,
    /// Segments and messages.
    pub(super) totals: StreamTotals,
}

impl Conversation {
    /// `positions` are those of requests and of responses, `outstanding` the most open exchanges.
    pub(super) fn new(
        connection: ConnectionId,
        positions: [Positions; 2],
        outstanding: usize,
    ) -> Self {
        let [requests, responses] = positions;
        Self {
            requests: Stream::new(Direction::Requests, requests),
            responses: Stream::new(Direction::Responses, responses),
            pairing: Pairing::new(connection, outstanding),
            told: false,
            last_request: false,
            last_response: false,
            interim: false,
            joined: false,
            unread: None,
            unread_line: false,
            http2: false,
            upgrade: None,
        }
    }

    /// Reads a segment of one direction.
    pub(super) fn segment(
        &mut self,
        direction: Direction,
        segment: &Segment,
        events: &mut Vec<HttpEvent>,
    ) {
        let stream = self.stream(direction);
        let (first, joined) = (
            stream.positions.is_untouched(),
            stream.is_joined_by(segment),
        );
        let (skipped, missing) = match stream.positions.place(segment) {
            Placement::Stale => return,
            Placement::Next { skipped } => (skipped, None),
            Placement::AfterLoss { skipped, cause } => (skipped, Some(cause)),
        };
        if stream.reader.is_opaque() {
            self.note_unread_line(direction, segment);
            return;
        }
        let lost = stream.reader.loss().is_some();
        if joined {
            let cause = missing.unwrap_or(Gap::StreamGap);
            return self.join(direction, segment, first, cause, events);
        }
        // Nothing is lost if only body is missing, and the offsets say how much of it.
        if lost {
            self.resume(direction, segment, events);
        } else if skipped.is_some_and(|bytes| stream.reader.skip(bytes)) {
            stream.positions.messages = segment.messages_before;
            self.feed(direction, &segment.bytes, segment, events);
        } else if segment.joined || segment.after_gap {
            let cause = missing.unwrap_or(Gap::StreamGap);
            self.join(direction, segment, first, cause, events);
        } else if let Some(cause) = missing {
            let trusting = true;
            self.lose(direction, Loss { cause, trusting }, segment.time, events);
            self.resume(direction, segment, events);
        } else {
            self.lose(direction, STRAYED, segment.time, events);
        }
    }

    /// The client's first bytes, which it began to send at `began`, were taken for HTTP/2; those of
    /// `last`, if that is given, are among them. If the server has sent something, that was not
    /// read, and what follows it is not.
    pub(super) fn begin_late(
        &mut self,
        began: Timestamp,
        bytes: &[u8],
        last: Option<&Segment>,
        events: &mut Vec<HttpEvent>,
    ) {
        if !self.responses.positions.is_untouched() {
            self.responses.reader.give_up();
        }
        let (first, rest) = bytes.split_at(bytes.len().min(1));
        self.read(Direction::Requests, first, began, events);
        match last {
            Some(segment) => self.feed(Direction::Requests, rest, segment, events),
            None => self.read(Direction::Requests, rest, began, events),
        }
        self.unread_line |= self.unread.is_some() && bytes.contains(&b'\n');
    }

    /// What comes is HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.http2
    }

    /// It may still turn out to be HTTP/2: no request of HTTP/1 began.
    pub(super) fn may_be_http2(&self) -> bool {
        self.pairing.begun() == 0 && !self.joined && !self.is_not_http()
    }

    /// The client began with what is no HTTP: nothing that follows is read by a server.
    pub(super) fn is_not_http(&self) -> bool {
        self.unread.is_some()
    }

    /// Where the segments of requests and of responses stand.
    pub(super) fn positions(&self) -> [Positions; 2] {
        [&self.requests, &self.responses].map(|stream| stream.positions.clone())
    }

    /// Exchanges begun so far.
    pub(super) fn begun(&self) -> u32 {
        self.pairing.begun()
    }

    /// The request that is answered in HTTP/2.
    pub(super) fn take_upgrade(&mut self) -> Option<Exchange> {
        self.upgrade.take()
    }

    /// What of a direction was not read as HTTP/1.
    pub(super) fn take_unread(&mut self, direction: Direction) -> Vec<u8> {
        self.stream(direction).reader.take_unread()
    }

    /// Ends what is open.
    pub(super) fn close(&mut self, end: End, events: &mut Vec<HttpEvent>) {
        self.close_requests(end, events);
        let gap = self.close_responses(end, events);
        self.pairing.request_content(self.requests.reader.content());
        self.pairing
            .response_content(self.responses.reader.content());
        self.pairing.finish(gap, end.time, events);
    }

    /// The end of a direction was not told: there may have been more.
    pub(super) fn lose_end(
        &mut self,
        direction: Direction,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let reader = &self.stream(direction).reader;
        if !reader.is_opaque() && reader.loss().is_none() {
            let (cause, trusting) = (Gap::RingLost, true);
            self.lose(direction, Loss { cause, trusting }, time, events);
        }
    }

    /// Something on it is open, or was never seen to begin.
    pub(super) fn is_open(&self) -> bool {
        let mut readers = [&self.requests.reader, &self.responses.reader].into_iter();
        !self.pairing.knows_requests()
            || self.pairing.is_waiting()
            || readers.any(|reader| !reader.is_at_boundary())
    }

    /// An exchange waits for its response.
    pub(super) fn is_waiting(&self) -> bool {
        self.pairing.is_waiting()
    }

    /// Ends the exchanges that are open, and reads on.
    pub(super) fn end_waiting(&mut self, cause: Gap, time: Timestamp, events: &mut Vec<HttpEvent>) {
        self.pairing.request_content(self.requests.reader.content());
        self.pairing
            .response_content(self.responses.reader.content());
        self.pairing.evict(cause, time, events);
    }

    /// Gives up what is open. Says how many messages of the client were accounted
    /// for, and how many more began that are lost.
    pub(super) fn evict(
        &mut self,
        cause: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> (u32, u32) {
        self.end_waiting(cause, time, events);
        let reader = &self.requests.reader;
        if reader.is_opaque() {
            // Nothing that comes is a request.
            return (u32::MAX, 0);
        }
        let untold = u32::from(reader.is_in_head() && !self.told);
        (
            self.requests.positions.messages.saturating_sub(untold),
            untold,
        )
    }

    /// No request line was complete, and none is missing.
    pub(super) fn has_no_request(&self) -> bool {
        !self.pairing.knows_requests() && !self.unread_line && self.requests.reader.loss().is_none()
    }

    /// Bytes that are kept for this connection.
    pub(super) fn held(&self) -> usize {
        self.requests.reader.held() + self.responses.reader.held() + self.pairing.held()
    }

    /// The position of a direction is lost from `time` on.
    pub(super) fn lose(
        &mut self,
        direction: Direction,
        loss: Loss,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let untold = direction == Direction::Responses || !self.told;
        let stream = self.stream(direction);
        if untold && stream.reader.is_in_head() {
            // Whether it was one is for the kernel side's count to say, in which it is missing.
            stream.positions.messages = stream.positions.messages.saturating_sub(1);
        }
        let content = stream.reader.content();
        stream.reader.lose(loss);
        match direction {
            Direction::Requests if untold => {}
            Direction::Requests => {
                self.pairing.request_content(content);
                self.pairing.request_cut(loss.cause, time, events);
            }
            Direction::Responses => {
                self.pairing.response_content(content);
                self.pairing.response_cut(loss.cause, time, events);
                if !loss.trusting {
                    self.pairing.responses_unreadable(loss.cause, time, events);
                }
            }
        }
    }

    /// The position was lost; goes on where the kernel side says that a message begins.
    fn resume(&mut self, direction: Direction, segment: &Segment, events: &mut Vec<HttpEvent>) {
        let stream = self.stream(direction);
        let (Some(loss), Some(start)) = (stream.reader.loss(), segment.first_message) else {
            return;
        };
        if !loss.trusting {
            return;
        }
        let missed = stream.positions.catch_up(segment.messages_before);
        stream.reader.restart();
        match direction {
            Direction::Requests => {
                self.pairing.request_cut(loss.cause, segment.time, events);
                if missed > 0 {
                    self.pairing
                        .requests_lost(missed, loss.cause, segment.time, events);
                }
            }
            Direction::Responses => {
                self.pairing.response_cut(loss.cause, segment.time, events);
                self.pairing.responses_lost(missed);
            }
        }
        let bytes = segment.bytes.get(usize::from(start)..).unwrap_or_default();
        self.feed(direction, bytes, segment, events);
    }

    /// The kernel side found the position anew; what it missed is due to `cause`.
    fn join(
        &mut self,
        direction: Direction,
        segment: &Segment,
        first: bool,
        cause: Gap,
        events: &mut Vec<HttpEvent>,
    ) {
        let trusting = true;
        let loss = Loss { cause, trusting };
        let stream = self.stream(direction);
        if first {
            // Before the first segment nothing is missing but what its index tells.
            if segment.index == 0 {
                stream.positions.messages = segment.messages_before;
            }
        } else if stream.reader.loss().is_none() {
            self.lose(direction, loss, segment.time, events);
        }
        let (pairing, time) = (&mut self.pairing, segment.time);
        match direction {
            Direction::Requests => {
                pairing.request_cut(cause, time, events);
                pairing.requests_joined(time, events);
                self.joined = true;
            }
            Direction::Responses if !first => {
                pairing.response_cut(cause, time, events);
                pairing.responses_joined(time, events);
            }
            Direction::Responses => {}
        }
        self.stream(direction).reader.lose(loss);
        self.resume(direction, segment, events);
    }

    fn feed(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        segment: &Segment,
        events: &mut Vec<HttpEvent>,
    ) {
        let time = segment.time;
        self.read(direction, bytes, time, events);
        if segment.elided > 0 {
            if self.stream(direction).reader.skip(segment.elided) {
                self.read(direction, &[], time, events);
            } else {
                self.lose(direction, STRAYED, time, events);
            }
        }
        self.note_unread_line(direction, segment);
    }

    pub(super) fn read(
        &mut self,
        direction: Direction,
        mut input: &[u8],
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        while let Some(step) = self.stream(direction).reader.advance(&mut input, time) {
            match direction {
                Direction::Requests => self.request_step(step, time, events),
                Direction::Responses => self.response_step(step, time, events),
            }
        }
    }

    /// A line that ends in what is no request was a line all the same.
    fn note_unread_line(&mut self, direction: Direction, segment: &Segment) {
        if direction == Direction::Requests && self.unread.is_some() && !self.unread_line {
            self.unread_line = segment.elided > 0 || segment.bytes.contains(&b'\n');
        }
    }

    fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Requests => &mut self.requests,
            Direction::Responses => &mut self.responses,
        }
    }
}

/// What was read and what the kernel side left out do not go together.
pub(super) const STRAYED: Loss = Loss {
    cause: Gap::StreamGap,
    trusting: false,
};
