//! The two directions of a connection, read together.

use super::{
    exchange::{Open, Side},
    reader::Reader,
    step::Step,
    streams::Streams,
};
use crate::{
    capture::Segment,
    http::{
        conversation::{End, STRAYED},
        event::{ConnectionId, Exchange, Gap, HttpEvent},
        hpack::Decoder,
        positions::{Placement, Positions},
        reader::{Direction, Loss},
    },
    timestamp::Timestamp,
};

/// The HTTP/2 of a connection whose client end is known.
#[derive(Debug)]
pub(in crate::http) struct Conversation {
    pub(super) connection: ConnectionId,
    pub(super) requests: Half,
    pub(super) responses: Half,
    pub(super) streams: Streams,
    /// Exchanges begun so far.
    pub(super) begun: u32,
    /// The highest stream that the client is known to have opened.
    pub(super) highest: u32,
    /// Streams beyond `highest` may be older than what was seen.
    pub(super) unsure: bool,
    /// The highest stream on which the server spoke before the client opened it.
    pub(super) answered: u32,
    /// The stream above `highest` that was not told, as it may be such a one.
    pub(super) untold: Option<u32>,
    /// The next request stands at a position found anew.
    pub(super) joined: bool,
    /// Requests were lost, or may have been.
    pub(super) incomplete: bool,
    /// The last stream that the server looks at, if it said so.
    pub(super) last_accepted: Option<u32>,
    /// Since when the ends of responses may have been missed.
    pub(super) missing_since: Option<Timestamp>,
    /// When the client began to send, if that was before this was HTTP/2.
    asked: Option<Timestamp>,
    /// With what the client began, which is not the preface.
    not_http2: Option<Vec<u8>>,
}

/// What one end sends, and how far it was read.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) reader: Reader,
    pub(super) positions: Positions,
    pub(super) decoder: Decoder,
    /// The kernel side follows the frames too.
    followed: bool,
    /// Why the front of the last segment was not read, in which a stream may have been opened.
    pub(super) resumed: Option<Gap>,
}

/// What a connection was before it was HTTP/2.
#[derive(Debug)]
pub(in crate::http) struct Start {
    pub(in crate::http) connection: ConnectionId,
    /// Of requests and responses.
    pub(in crate::http) positions: [Positions; 2],
    /// Exchanges begun so far.
    pub(in crate::http) begun: u32,
    /// The most open exchanges.
    pub(in crate::http) outstanding: usize,
    /// The request that upgraded it, whose response comes on stream 1 (RFC 7540 section 3.2).
    pub(in crate::http) upgrade: Option<Exchange>,
    /// When the client sent the first byte of what is read now, if it has sent something.
    pub(in crate::http) asked: Option<Timestamp>,
}

impl Conversation {
    pub(in crate::http) fn new(start: Start) -> Self {
        let outstanding = start.outstanding;
        let [requests, responses] = start.positions;
        let mut conversation = Self {
            connection: start.connection,
            requests: Half::new(Direction::Requests, requests),
            responses: Half::new(Direction::Responses, responses),
            streams: Streams::new(outstanding),
            begun: start.begun,
            highest: 0,
            unsure: false,
            answered: 0,
            untold: None,
            joined: false,
            incomplete: false,
            last_accepted: None,
            missing_since: None,
            asked: start.asked,
            not_http2: None,
        };
        if let Some(exchange) = start.upgrade {
            conversation.highest = 1;
            let time = exchange.end;
            let mut open = Open::new(exchange);
            open.request = Side::Over;
            // There is nothing yet that could be evicted.
            conversation
                .streams
                .add(1, Box::new(open), time, &mut Vec::new());
        }
        conversation
    }

    /// Reads a segment of one direction.
    pub(in crate::http) fn segment(
        &mut self,
        direction: Direction,
        segment: &Segment,
        events: &mut Vec<HttpEvent>,
    ) {
        self.end_missing(segment.time, events);
        let half = self.half(direction);
        let first = half.positions.is_untouched();
        let anew = half.positions.begins_joined(segment) || segment.after_gap;
        let (skipped, missing) = match half.positions.place(segment) {
            Placement::Stale => return,
            Placement::Next { skipped } => (skipped, None),
            Placement::AfterLoss { skipped, cause } => (skipped, Some(cause)),
        };
        if half.reader.is_opaque() {
            return;
        }
        half.followed = segment.http2;
        let resumed = half.resumed.take();
        let loss = half.reader.loss();
        let only_data = loss.is_none() && skipped.is_some_and(|bytes| half.reader.is_data(bytes));
        let contradicted = segment.joined && loss.is_some_and(|loss| !loss.trusting);
        if contradicted || (anew && (first || skipped == Some(0) || !only_data)) {
            let cause = missing.unwrap_or(Gap::StreamGap);
            self.join(direction, segment, first, cause, events);
        } else if loss.is_some() {
            self.resume(direction, segment, events);
        } else if let Some(cause) = missing
            && !only_data
        {
            let trusting = true;
            self.lose(direction, Loss { cause, trusting }, segment.time, events);
            self.resume(direction, segment, events);
        } else {
            let time = segment.time;
            if segment.http2 {
                self.count(direction, segment.messages_before, resumed, time, events);
            }
            if !skipped.is_some_and(|bytes| self.pass(direction, bytes, time, events)) {
                return self.lose(direction, STRAYED, time, events);
            }
            self.feed(direction, &segment.bytes, segment, events);
        }
    }

    /// Reads bytes whose segment was placed before.
    pub(in crate::http) fn read(
        &mut self,
        direction: Direction,
        mut input: &[u8],
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        while let Some(step) = self.half(direction).reader.advance(&mut input, time) {
            self.step(direction, step, time, events);
        }
    }

    /// When the client began, and with what, if that is not HTTP/2.
    pub(in crate::http) fn take_not_http2(&mut self) -> Option<(Timestamp, Vec<u8>)> {
        let bytes = self.not_http2.take()?;
        let began = self.asked.unwrap_or(self.requests.reader.began());
        Some((began, bytes))
    }

    /// Where the segments of requests and of responses stand.
    pub(in crate::http) fn positions(&self) -> [Positions; 2] {
        [&self.requests, &self.responses].map(|half| half.positions.clone())
    }

    /// Ends what is open.
    pub(in crate::http) fn close(&mut self, end: End, events: &mut Vec<HttpEvent>) {
        self.close_requests(end, events);
        let gap = self.close_responses(end, events);
        self.streams.change_all(0, events, |open| {
            if let Some(gap) = gap
                && open.response != Side::Over
            {
                open.mark(gap);
            }
            open.cut(end.time);
        });
    }

    /// Something on it is open, or was never seen to begin.
    pub(in crate::http) fn is_open(&self) -> bool {
        !self.knows_requests() || self.streams.is_waiting()
    }

    /// An exchange waits for its response.
    pub(in crate::http) fn is_waiting(&self) -> bool {
        self.streams.is_waiting()
    }

    /// The end of a response may have been missed.
    pub(in crate::http) fn may_have_missed(&self) -> bool {
        self.missing_since.is_some()
    }

    /// Ends the exchanges that are open, and reads on.
    pub(in crate::http) fn end_waiting(
        &mut self,
        cause: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        self.missing_since = None;
        self.streams.change_all(0, events, |open| {
            open.mark(cause);
            open.cut(time);
        });
    }

    /// Gives up what is open. Says how many streams of the client were accounted for, and how
    /// many more began that are lost.
    pub(in crate::http) fn evict(
        &mut self,
        cause: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> (u32, u32) {
        self.end_waiting(cause, time, events);
        if self.requests.reader.is_opaque() {
            // Nothing that comes is a request.
            return (u32::MAX, 0);
        }
        let untold = u32::from(self.untold.is_some());
        (
            self.requests.positions.messages.saturating_sub(untold),
            untold,
        )
    }

    /// The client opened no stream, and all of it was seen.
    pub(in crate::http) fn has_no_request(&self) -> bool {
        !self.knows_requests() && !self.unsure && self.requests.reader.loss().is_none()
    }

    /// Bytes that are kept for this connection.
    pub(in crate::http) fn held(&self) -> usize {
        let of = |half: &Half| half.reader.held() + half.decoder.held();
        of(&self.requests) + of(&self.responses) + self.streams.held()
    }

    /// Tells that the client opened a stream.
    pub(super) fn tell(&mut self, stream: u32, time: Timestamp, events: &mut Vec<HttpEvent>) {
        let exchange = Exchange {
            connection: self.connection,
            exchange: self.begun,
            stream: Some(stream),
            time,
            end: time,
            request: Default::default(),
            response: None,
            // What answered it was no answer when it came.
            gap: (stream <= self.answered).then_some(Gap::StreamMismatch),
            joined: std::mem::take(&mut self.joined),
            undecoded: false,
            refused: false,
        };
        self.streams
            .add(stream, Box::new(Open::new(exchange)), time, events);
        events.push(HttpEvent::Begun {
            connection: self.connection,
            exchange: self.begun,
            stream: Some(stream),
            time,
        });
        self.begun = self.begun.wrapping_add(1);
        self.unsure = false;
    }

    /// Tells of requests that are lost; 0 where their number is not known.
    pub(super) fn requests_lost(
        &mut self,
        exchanges: u32,
        cause: Gap,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        self.incomplete = true;
        events.push(HttpEvent::Lost {
            connection: self.connection,
            exchanges,
            time,
            cause,
        });
    }

    /// Reads bytes, and passes over what was left out behind them.
    pub(super) fn feed(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        segment: &Segment,
        events: &mut Vec<HttpEvent>,
    ) {
        let time = segment.time;
        let reader = &mut self.half(direction).reader;
        let mut bytes = bytes;
        if reader.is_adrift() {
            match segment.first_message {
                Some(start) => {
                    reader.restart();
                    bytes = bytes.get(usize::from(start)..).unwrap_or_default();
                }
                None => bytes = &[],
            }
        }
        self.read(direction, bytes, time, events);
        if !self.pass(direction, segment.elided, time, events) {
            self.lose(direction, STRAYED, time, events);
        }
    }

    /// Passes over what was left out. False where it cannot have been.
    pub(super) fn pass(
        &mut self,
        direction: Direction,
        mut bytes: u64,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) -> bool {
        let half = self.half(direction);
        let frames = half.followed;
        while let Some(step) = self.half(direction).reader.pass(&mut bytes, frames) {
            self.step(direction, step, time, events);
        }
        bytes == 0
    }

    fn step(
        &mut self,
        direction: Direction,
        step: Step<'_>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        match (direction, step) {
            (_, Step::NotHttp2(bytes)) if self.begun == 0 => self.not_http2 = Some(bytes),
            (_, Step::NotHttp2(_)) => self.requests_lost(0, Gap::StreamMismatch, time, events),
            (Direction::Requests, step) => self.request_step(step, time, events),
            (Direction::Responses, step) => self.response_step(step, time, events),
        }
    }

    fn knows_requests(&self) -> bool {
        self.begun > 0 || self.incomplete
    }

    pub(super) fn half(&mut self, direction: Direction) -> &mut Half {
        match direction {
            Direction::Requests => &mut self.requests,
            Direction::Responses => &mut self.responses,
        }
    }
}

impl Half {
    fn new(direction: Direction, positions: Positions) -> Self {
        Self {
            reader: Reader::new(direction),
            positions,
            decoder: Decoder::new(),
            followed: false,
            resumed: None,
        }
    }
}
