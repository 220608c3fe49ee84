//! What a loss leaves known of HTTP/2, and where reading goes on.
//!
//! Payload of DATA is counted, so what is missing of it is no loss. How a position is lost, and
//! found again:
//!
//! | what happened | goes on at |
//! |---|---|
//! | a segment is missing, and not only payload of DATA with it | the next frame that the kernel side marks |
//! | what was left out is needed here | a position that the kernel side found anew |
//!
//! With a position of a direction go the header blocks that were sent in the meantime, and so all
//! that the direction's decoder had learned.

use super::{conversation::Conversation, exchange::Side};
use crate::{
    capture::Segment,
    http::{
        conversation::End,
        event::{Gap, HttpEvent},
        leg::SILENCE,
        reader::{Direction, Loss},
        requests::missed,
    },
    timestamp::Timestamp,
};

impl Conversation {
    /// The kernel side found the position anew; what it missed is due to `cause`.
    pub(super) fn join(
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

    /// The position was lost; goes on where the kernel side says that a frame begins.
    pub(super) fn resume(
        &mut self,
        direction: Direction,
        segment: &Segment,
        events: &mut Vec<HttpEvent>,
    ) {
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

    /// The position of a direction is lost from `time` on.
    pub(super) fn lose(
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
    pub(super) fn count(
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

    /// Ends the exchanges of whose responses nothing has come for long, since a part of what the
    /// server sent was missed.
    pub(super) fn end_missing(&mut self, now: Timestamp, events: &mut Vec<HttpEvent>) {
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

    /// The end of the client's direction: what was counted beyond what was read is lost.
    pub(super) fn close_requests(&mut self, end: End, events: &mut Vec<HttpEvent>) {
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
    pub(super) fn close_responses(&mut self, end: End, events: &mut Vec<HttpEvent>) -> Option<Gap> {
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

    /// The client opened so many streams above the highest that is known: each has an odd number
    /// of its own.
    fn passed_over(&mut self, streams: u32) {
        self.highest = self.highest.saturating_add(streams.saturating_mul(2));
    }
}
