//! The two directions of a connection, read together.

use super::{
    exchange::{Open, Side},
    reader::{Reader, Step},
    streams::Streams,
};
use crate::{
    capture::Segment,
    http::{
        conversation::{End, STRAYED},
        event::{ConnectionId, Exchange, Gap, HttpEvent},
        hpack::Decoder,
        leg::SILENCE,
        positions::{Placement, Positions},
        reader::{Direction, Loss},
        requests::missed,
    },
    timestamp::Timestamp,
};

/// The HTTP/2 of a connection whose client end is known.
///
/// Payload of DATA is counted, so what is missing of it is no loss. How a position is lost, and
/// found again:
///
/// | what happened | goes on at |
/// |---|---|
/// | a segment is missing, and not only payload of DATA with it | the next frame that the kernel side marks |
/// | what was left out is needed here | a position that the kernel side found anew |
///
/// With a position of a direction go the header blocks that were sent in the meantime, and so all
/// that the direction's [`Decoder`] had learned.
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
    missing_since: Option<Timestamp>,
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
    resumed: Option<Gap>,
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

    /// What the client began with, if that is not HTTP/2, and where its segments stand.
    pub(in crate::http) fn take_not_http2(&mut self) -> Option<(Vec<u8>, [Positions; 2])> {
        let bytes = self.not_http2.take()?;
        let positions = [&self.requests, &self.responses].map(|half| half.positions.clone());
        Some((bytes, positions))
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

    /// The end of a direction was not told: there may have been more.
    pub(in crate::http) fn lose_end(
        &mut self,
        direction: Direction,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let reader = &self.half(direction).reader;
        if !reader.is_opaque() && reader.loss().is_none() {
            let (cause, trusting) = (Gap::RingLost, true);
            self.lose(direction, Loss { cause, trusting }, time, events);
        }
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

    /// Ends the exchanges of whose responses nothing has come for long, since a part of what the
    /// server sent was missed.
    fn end_missing(&mut self, now: Timestamp, events: &mut Vec<HttpEvent>) {
        let is_over = |since: Timestamp| since + SILENCE <= now;
        if !self.missing_since.is_some_and(is_over) {
            return;
        }
        let mut left = None;
        self.streams.change_all(0, events, |open| {
            match open.missing_since {
                Some(since) if is_over(since) => open.cut(now),
                since => left = left.into_iter().chain(since).min(),
            };
        });
        self.missing_since = left;
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

    /// The client opened so many streams above the highest that is known: each has an odd number
    /// of its own.
    fn passed_over(&mut self, streams: u32) {
        self.highest = self.highest.saturating_add(streams.saturating_mul(2));
    }

    /// The position of a direction is lost from `time` on.
    fn lose(
        &mut self,
        direction: Direction,
        loss: Loss,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let half = self.half(direction);
        half.reader.lose(loss);
        half.decoder.forget();
        match direction {
            Direction::Requests => {
                if self.untold.take().is_some() {
                    // Whether it was one is for the kernel side's count to say.
                    let messages = &mut self.requests.positions.messages;
                    *messages = messages.saturating_sub(1);
                }
                // Its SETTINGS may be among what is lost.
                self.responses.decoder.allow(u32::MAX);
                self.streams.change_all(0, events, |open| {
                    if open.request != Side::Over {
                        open.mark(loss.cause);
                        open.request = Side::Over;
                        open.reach(time);
                    }
                });
            }
            Direction::Responses => {
                self.requests.decoder.allow(u32::MAX);
                let mut is_missing = false;
                self.streams.change_all(0, events, |open| {
                    open.miss_response(loss.cause, time);
                    is_missing |= open.missing_since.is_some();
                });
                if is_missing {
                    self.missing_since.get_or_insert(time);
                }
            }
        }
    }

    /// Takes over the kernel side's count. Where the segment before was read from its middle on,
    /// a stream that is not told was opened in its front.
    fn count(
        &mut self,
        direction: Direction,
        messages: u32,
        resumed: Option<Gap>,
        time: Timestamp,
        events: &mut Vec<HttpEvent>,
    ) {
        let missed = self.half(direction).positions.catch_up(messages);
        if let (Direction::Requests, 1.., Some(cause)) = (direction, missed, resumed) {
            self.requests_lost(missed, cause, time, events);
        }
    }

    /// The position was lost; goes on where the kernel side says that a frame begins.
    fn resume(&mut self, direction: Direction, segment: &Segment, events: &mut Vec<HttpEvent>) {
        let half = self.half(direction);
        let (Some(loss), Some(start)) = (half.reader.loss(), segment.first_message) else {
            return;
        };
        if !loss.trusting || !segment.http2 {
            return;
        }
        let missed = half.positions.catch_up(segment.messages_before);
        half.reader.restart();
        half.resumed = (start > 0).then_some(loss.cause);
        if direction == Direction::Requests && missed > 0 {
            self.passed_over(missed);
            self.requests_lost(missed, loss.cause, segment.time, events);
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
        let (time, trusting) = (segment.time, true);
        self.lose(direction, Loss { cause, trusting }, time, events);
        let half = self.half(direction);
        if first && segment.index == 0 {
            // Before the first segment nothing is missing but what its index tells.
            half.positions.messages = segment.messages_before;
        }
        if direction == Direction::Requests {
            self.joined = true;
            self.unsure = true;
            if !first {
                let missed = self.requests.positions.catch_up(segment.messages_before);
                self.requests_lost(missed, cause, time, events);
            }
        }
        self.resume(direction, segment, events);
    }

    /// Reads bytes, and passes over what was left out behind them.
    fn feed(
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
    fn pass(
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

    /// The end of the client's direction: what was counted beyond what was read is lost.
    fn close_requests(&mut self, end: End, events: &mut Vec<HttpEvent>) {
        let totals = end.requests.unwrap_or_default().totals;
        self.end_direction(Direction::Requests, end, events);
        let Some(loss) = self.requests.reader.loss() else {
            let resumed = self.requests.resumed.take();
            return self.count(
                Direction::Requests,
                totals.messages,
                resumed,
                end.time,
                events,
            );
        };
        let counted = self.requests.positions.catch_up(totals.messages);
        let uncounted = !totals.followed || !loss.trusting;
        if counted > 0 || uncounted {
            self.requests_lost(counted, loss.cause, end.time, events);
        }
    }

    /// The end of the server's direction: why responses may be missing, if they may.
    fn close_responses(&mut self, end: End, events: &mut Vec<HttpEvent>) -> Option<Gap> {
        if end.responses.is_none() {
            return Some(Gap::StreamGap);
        }
        self.end_direction(Direction::Responses, end, events);
        self.responses.reader.loss().map(|loss| loss.cause)
    }

    /// A direction ended: what was sent behind the last segment was left out, or is lost.
    fn end_direction(&mut self, direction: Direction, end: End, events: &mut Vec<HttpEvent>) {
        let sent = match direction {
            Direction::Requests => end.requests,
            Direction::Responses => end.responses,
        };
        let half = self.half(direction);
        let (Some(sent), None, false) = (sent, half.reader.loss(), half.reader.is_opaque()) else {
            return;
        };
        let rest = half.positions.rest(sent.bytes);
        let refused = sent.totals.segments > half.positions.next_index();
        let may_be_left_out = half.reader.is_data(rest) || (!refused && sent.totals.followed);
        if !may_be_left_out || !self.pass(direction, rest, end.time, events) {
            let loss = missed(refused, sent.totals.followed);
            self.lose(direction, loss, end.time, events);
        }
    }

    fn knows_requests(&self) -> bool {
        self.begun > 0 || self.incomplete
    }

    fn half(&mut self, direction: Direction) -> &mut Half {
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
